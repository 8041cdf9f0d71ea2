"""The log of what operators and auditors watch: security events, breakers, and commands."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from eventsourcing.application import AggregateNotFoundError
from eventsourcing.persistence import IntegrityError

from application.breaker_values import StateChange
from application.event_log import EventLog
from application.ports import Clock, Ids, Persistence
from domain.audit_entry import REFUSED, AuditEntry
from domain.circuit import Circuit, CircuitStatus
from domain.event import PaySagaAggregate
from domain.security_incident import SecurityIncident


class Operations(EventLog[PaySagaAggregate]):
    """Holds `SecurityIncident`, `Circuit` and `AuditEntry`."""

    name = "Operations"

    def __init__(self, persistence: Persistence, clock: Clock, ids: Ids) -> None:
        super().__init__(persistence, clock)
        self.ids = ids

    def record_incident(
        self, kind: str, severity: str, ip_address: str | None, detail: dict[str, Any]
    ) -> UUID:
        """Records something suspicious; `severity` is `low`, `medium` or `high`."""
        incident = SecurityIncident.record(
            self.ids.uuid(), kind=kind, severity=severity, ip_address=ip_address, detail=detail
        )
        self.record(incident)
        return incident.id

    def record_refusal(self, payment_id: UUID, actor: str, action: str, reason: str) -> None:
        """Records for auditors that a command to a payment was refused, and with which code."""
        self.record(
            AuditEntry.record(
                self.ids.uuid(),
                payment_id=payment_id,
                actor=actor,
                action=action,
                outcome=REFUSED,
                changes={},
                reason=reason,
            )
        )

    def circuit(self, service_name: str) -> Circuit | None:
        """The recorded life of a breaker; None when no change was ever recorded."""
        try:
            circuit = self.get(Circuit.create_id(service_name))
        except AggregateNotFoundError:
            return None
        assert isinstance(circuit, Circuit)
        return circuit

    def record_change(self, change: StateChange) -> None:
        """Records what a breaker of this process went through, for every process to follow."""

        def decide(circuit: Circuit) -> None:
            circuit.change(
                CircuitStatus(change.new_state.value),
                error_rate=change.error_rate,
                request_count=change.request_count,
                failure_count=change.failure_count,
                last_failure_time=change.last_failure_time,
                next_retry_time=change.next_retry_time,
                configuration=change.configuration.as_dict(),
                changed_at=change.changed_at,
                actor=None,
            )

        self._change_circuit(change.service_name, decide)

    def force_open(self, service_name: str, actor: str, reset_timeout_ms: float) -> Circuit:
        """An operator keeps all calls away from a service until `reset_timeout_ms` have passed."""
        retry_at: datetime = self.clock.now() + timedelta(milliseconds=reset_timeout_ms)
        return self._change_circuit(
            service_name, lambda circuit: circuit.force(CircuitStatus.OPEN, actor, retry_at)
        )

    def reset(self, service_name: str, actor: str) -> Circuit:
        """An operator lets calls through again."""
        return self._change_circuit(
            service_name, lambda circuit: circuit.force(CircuitStatus.CLOSED, actor, None)
        )

    def _change_circuit(self, service_name: str, decide: Callable[[Circuit], None]) -> Circuit:
        if self.circuit(service_name) is None:
            self._watch(service_name)
        circuit = self.change(Circuit.create_id(service_name), decide)  # type: ignore[arg-type]
        assert isinstance(circuit, Circuit)
        return circuit

    def _watch(self, service_name: str) -> None:
        try:
            self.record(Circuit.watch(service_name))
        except IntegrityError:
            return
