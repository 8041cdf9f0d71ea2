"""How long it takes to load an aggregate with a long past, by which snapshots are judged.

Run `python -m tests.benchmarks.bench_replay`. A payment with thousands of refunds, the saga of one
with hundreds, and the circuit of a breaker that opened thousands of times, from PostgreSQL.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from eventsourcing.persistence import StoredEvent

from application.event_log import EventLog
from application.transcoding import PaySagaMapper
from domain.circuit import Circuit, CircuitStatus
from domain.event import EventContext, Metadata, acting
from domain.money import money
from domain.payment_terms import Failure
from system.testing import SystemUnderTest
from tests.benchmarks.bench_audit import Setting
from tests.benchmarks.kit import durable_database, table

LENGTHS = (10, 100, 1000, 10_000)
ROUND_OF_CHANGES = (CircuitStatus.OPEN, CircuitStatus.HALF_OPEN, CircuitStatus.CLOSED)
EVENTS_AT_ONCE = 1000


def long_payment(setting: Setting, events: int) -> UUID:
    """A payment with so many events, nearly all about refunds that the gateway refused."""
    payment_id = setting.long_payment(refunds=0)
    now = setting.applications.clock.now()
    with acting(EventContext(Metadata(str(uuid4()), source="api"), now)):
        payment = setting.applications.payments.get(payment_id)
        while payment.version < events:
            refund_id = uuid4()
            payment.request_refund(refund_id, payment.amount, "late")
            payment.refuse_refund(refund_id, Failure("refund_refused", "Not now", "342"))
    put(setting.applications.payments, list(payment.collect_events()))
    return payment_id


def long_circuit(setting: Setting, events: int) -> UUID:
    """The circuit of a breaker that opened, tried and closed again and again."""
    now = setting.applications.clock.now()
    with acting(EventContext(Metadata(str(uuid4()), source="circuit_breaker"), now)):
        circuit = Circuit.watch("paytabs")
        for number in range(events):
            circuit.change(
                ROUND_OF_CHANGES[number % 3],
                error_rate=62.5,
                request_count=40,
                failure_count=25,
                last_failure_time=now,
                next_retry_time=now,
                configuration={"error_threshold": 50, "reset_timeout_ms": 60_000},
                changed_at=now + timedelta(seconds=number),
                actor=None,
            )
    put(setting.applications.operations, list(circuit.collect_events()))
    return circuit.id


def long_saga(setting: Setting, refunds: int) -> UUID:
    """The saga of a payment that was refunded in so many parts, as the whole system makes it."""
    with SystemUnderTest(seed=1) as s:
        payment_id = s.create_payment("10000.00", "SAR", "Tea")
        s.run()
        s.gateway.pay(payment_id)
        s.run()
        for _ in range(refunds):
            s.refund_payment(payment_id, money("1.00", "SAR"))
            s.run()
        saga_id = s.saga(payment_id).id
        stored = s.applications.sagas.recorder.select_events(saga_id)
    names = ("originator_id", "originator_version", "topic", "state")
    setting.applications.sagas.recorder.insert_events(
        [StoredEvent(*(getattr(each, name) for name in names)) for each in stored]
    )
    return saga_id


def put(log: EventLog[Any], events: Sequence[Any]) -> None:
    """Records events, some at a time."""
    for first in range(0, len(events), EVENTS_AT_ONCE):
        log.events.put(events[first : first + EVENTS_AT_ONCE])


def forget_decoded(log: EventLog[Any]) -> None:
    """Nothing is remembered from the load before, as in a process that has just been started."""
    assert isinstance(log.mapper, PaySagaMapper)
    log.mapper.forget()


def loads(log: EventLog[Any], aggregate_id: UUID, rounds: int) -> list[object]:
    """Milliseconds, and of them processor time here, to load it with each number of events."""
    figures: list[object] = []
    for length in LENGTHS:
        version = log.get(aggregate_id, version=length).version
        if version < length:
            figures.append("")
            continue
        times, processor = [], []
        for _ in range(rounds):
            forget_decoded(log)
            began, used = time.perf_counter(), time.process_time()
            log.get(aggregate_id, version=length)
            times.append((time.perf_counter() - began) * 1000)
            processor.append((time.process_time() - used) * 1000)
        figures.append(f"{statistics.median(times):.1f} ({statistics.median(processor):.1f})")
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=LENGTHS[-1], help="of payment and circuit")
    parser.add_argument("--refunds", type=int, default=400, help="that the saga has seen")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    with durable_database("bench_replay") as url:
        setting = Setting(url)
        found = setting.applications
        contenders: list[tuple[str, EventLog[Any], UUID]] = [
            ("Payment", found.payments, long_payment(setting, options.events)),
            ("PaymentSaga", found.sagas, long_saga(setting, options.refunds)),
            ("Circuit", found.operations, long_circuit(setting, options.events)),
        ]
        rows = [[name, *loads(log, each, options.rounds)] for name, log, each in contenders]
        columns = ["ms (processor ms)", *(f"{length} events" for length in LENGTHS)]
        table("Loading an aggregate with a long past", columns, rows)
        setting.close()


if __name__ == "__main__":
    main()
