"""A circuit is known from its last change alone, however many there were before."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from application.circuit_breaker import CircuitBreakerConfig
from application.operations import Operations
from domain.circuit import Circuit, CircuitStatus
from domain.event import EventContext, Metadata, acting
from interface.clock import RandomIds
from system.persistence.memory import MemoryPersistence
from system.testing import VirtualClock

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CONTEXT = EventContext(Metadata("c", source="test"), NOW)
CHANGES = st.lists(
    st.tuples(st.sampled_from(CircuitStatus), st.booleans(), st.booleans()), min_size=1, max_size=8
)


def changed(changes: list[tuple[CircuitStatus, bool, bool]]) -> Circuit:
    """A circuit that went through changes: to which state, after a failure, by an operator."""
    circuit = Circuit.watch("paytabs")
    for number, (state, has_failed, is_forced) in enumerate(changes):
        moment = NOW + timedelta(minutes=number)
        if is_forced:
            circuit.force(state, "operator", moment, {"error_threshold": number})
            continue
        circuit.change(
            state,
            error_rate=50.0,
            request_count=2,
            failure_count=1,
            last_failure_time=moment if has_failed else None,
            next_retry_time=moment,
            configuration={"error_threshold": number},
            changed_at=moment,
            actor=None,
        )
    return circuit


def state_of(circuit: Circuit) -> dict[str, Any]:
    """All but when it was created, which no command asks for."""
    return {name: value for name, value in vars(circuit).items() if name != "_created_on"}


@given(changes=CHANGES)
def test_the_last_change_tells_how_a_circuit_stands(
    changes: list[tuple[CircuitStatus, bool, bool]],
) -> None:
    with acting(CONTEXT):
        circuit = changed(changes)
    last = circuit.collect_events()[-1]
    if isinstance(last, Circuit.Changed):
        assert state_of(Circuit.after(last)) == state_of(circuit)


def test_a_command_reads_one_event_of_a_circuit_with_a_long_past() -> None:
    operations = Operations(MemoryPersistence(), VirtualClock(), RandomIds())
    with acting(CONTEXT):
        circuit = changed([(state, True, False) for state in CircuitStatus] * 30)
        operations.record(circuit)
    read: list[int] = []
    decode = operations.mapper.to_domain_event

    def counted(stored: Any) -> Any:
        read.append(stored.originator_version)
        return decode(stored)

    operations.mapper.to_domain_event = counted  # type: ignore[method-assign]
    with acting(EventContext(Metadata(str(uuid4()), source="test"), NOW)):
        operations.force_open("paytabs", "operator", CircuitBreakerConfig(name="paytabs"))
    assert read == [circuit.version]
    latest = operations.latest_change("paytabs")
    assert latest is not None
    assert latest.originator_version == circuit.version + 1
