"""The log of what operators and auditors watch: security events, breakers, and commands."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from eventsourcing.application import AggregateNotFoundError
from eventsourcing.persistence import IntegrityError

from application.breaker_values import CircuitBreakerConfig, StateChange
from application.event_log import EventLog
from application.ports import Clock, Ids, Persistence
from domain.audit_entry import ACCEPTED, REFUSED, AuditEntry
from domain.circuit import Circuit, CircuitStatus
from domain.event import PaySagaAggregate
from domain.performance_metric import Figure, PerformanceMetric
from domain.security_incident import SecurityIncident


class Operations(EventLog[PaySagaAggregate]):
    """Holds `SecurityIncident`, `Circuit`, `AuditEntry` and `PerformanceMetric`."""

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

    def record_without_effect(
        self, payment_id: UUID, actor: str, action: str, refusal: str | None
    ) -> None:
        """Records for auditors a command to a payment that changed nothing: it was refused, and
        `refusal` is the code; or it asked for what was so already."""
        self.record(
            AuditEntry.record(
                self.ids.uuid(),
                payment_id=payment_id,
                actor=actor,
                action=action,
                outcome=REFUSED if refusal else ACCEPTED,
                changes={},
                reason=refusal,
            )
        )

    def record_figures(self, figures: Iterable[Figure], window_ms: int) -> int:
        """Records figures of a process in one transaction; returns how many."""
        metrics = [
            PerformanceMetric.record(self.ids.uuid(), figure, window_ms) for figure in figures
        ]
        self.record(*metrics)
        return len(metrics)

    def latest_change(self, service_name: str) -> Circuit.Changed | None:
        """The change of a breaker that was recorded last, which says all about how it stands;
        None when none ever was."""
        last = self.events.get(Circuit.create_id(service_name), desc=True, limit=1)
        return next((event for event in last if isinstance(event, Circuit.Changed)), None)

    def load(self, aggregate_id: UUID) -> PaySagaAggregate:
        """See `EventLog.load`; of a circuit only its last event is read."""
        last = next(iter(self.events.get(aggregate_id, desc=True, limit=1)), None)
        if isinstance(last, Circuit.Changed):
            return Circuit.after(last)
        return super().load(aggregate_id)

    def record_change(self, change: StateChange) -> Circuit.Changed | None:
        """Records what a breaker of this process went through, for every process to follow.

        Returns the latest recorded change when this one was no news: others were quicker.
        """

        def decide(circuit: Circuit) -> None:
            circuit.change(
                change.new_state,
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
        latest = self.latest_change(change.service_name)
        is_ours = latest is None or latest.changed_at == change.changed_at
        return None if is_ours else latest

    def force_open(self, service_name: str, actor: str, config: CircuitBreakerConfig) -> None:
        """An operator keeps all calls away from a service for its whole reset time-out."""
        retry_at: datetime = self.clock.now() + timedelta(milliseconds=config.reset_timeout_ms)
        self._force(service_name, CircuitStatus.OPEN, actor, retry_at, config)

    def reset(self, service_name: str, actor: str, config: CircuitBreakerConfig) -> None:
        """An operator lets calls through again."""
        self._force(service_name, CircuitStatus.CLOSED, actor, None, config)

    def _force(
        self,
        service_name: str,
        state: CircuitStatus,
        actor: str,
        retry_at: datetime | None,
        config: CircuitBreakerConfig,
    ) -> None:
        self._change_circuit(
            service_name, lambda circuit: circuit.force(state, actor, retry_at, config.as_dict())
        )

    def _change_circuit(self, service_name: str, decide: Callable[[Circuit], None]) -> None:
        circuit_id = Circuit.create_id(service_name)
        try:
            self.change(circuit_id, decide)  # type: ignore[arg-type]
        except AggregateNotFoundError:
            self._watch(service_name)
            self.change(circuit_id, decide)  # type: ignore[arg-type]

    def _watch(self, service_name: str) -> None:
        try:
            self.record(Circuit.watch(service_name))
        except IntegrityError:
            return
