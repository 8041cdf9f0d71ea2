"""The recorded life of one circuit breaker, which every process follows (contract 8)."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid5

from domain.event import PaymentEventType, PaySagaAggregate, Priority, current_context

TICK = timedelta(microseconds=1)

CIRCUIT_NAMESPACE = UUID("a3f8c8d2-6f0e-5d57-8d6c-1f2b3c4d5e6f")


class CircuitStatus(StrEnum):
    """The states of a breaker (contract 8)."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"


class Circuit(PaySagaAggregate):
    """One breaker in the eyes of the whole fleet. Of two processes that see the same change
    one records it, and the other's is not news any more."""

    class Watched(PaySagaAggregate.Created):
        event_type = PaymentEventType.CIRCUIT_BREAKER_WATCHED
        priority = Priority.LOW
        service_name: str

    class Changed(PaySagaAggregate.Event):
        """A change of state. `actor` is the key that forced it, None when calls did.

        `changed_at` is the time of the machine that saw it, but always later than that of the
        change before: it says which of two changes is the newer one.
        """

        state: CircuitStatus
        service_name: str
        error_rate: float | None
        request_count: int
        failure_count: int
        last_failure_time: datetime | None
        next_retry_time: datetime | None
        configuration: dict[str, Any]
        changed_at: datetime
        actor: str | None

        def apply(self, aggregate: "Circuit") -> None:
            aggregate.status = self.state
            aggregate.changed_at = self.changed_at
            aggregate.next_retry_time = self.next_retry_time
            aggregate.last_failure_time = self.last_failure_time or aggregate.last_failure_time
            aggregate.configuration = self.configuration or aggregate.configuration

    class Opened(Changed):
        event_type = PaymentEventType.CIRCUIT_BREAKER_OPENED
        priority = Priority.CRITICAL

    class HalfOpened(Changed):
        event_type = PaymentEventType.CIRCUIT_BREAKER_HALF_OPEN
        priority = Priority.HIGH

    class Closed(Changed):
        event_type = PaymentEventType.CIRCUIT_BREAKER_CLOSED
        priority = Priority.HIGH

    def __init__(self, service_name: str) -> None:
        self.service_name = service_name
        self.status = CircuitStatus.CLOSED
        self.changed_at: datetime | None = None
        self.next_retry_time: datetime | None = None
        self.last_failure_time: datetime | None = None
        self.configuration: dict[str, Any] = {}

    @staticmethod
    def create_id(service_name: str) -> UUID:
        """The id of the circuit of a service."""
        return uuid5(CIRCUIT_NAMESPACE, service_name)

    @classmethod
    def watch(cls, service_name: str) -> "Circuit":
        """Begins the record of a breaker, closed."""
        circuit_id = cls.create_id(service_name)
        return cls._create(cls.Watched, id=circuit_id, service_name=service_name)

    @classmethod
    def after(cls, last: Changed) -> "Circuit":
        """The circuit after its last change, which says all about how it stands. So nobody has to
        load the changes before: while a service is dead there are thousands a day."""
        circuit = object.__new__(cls)
        circuit.__base_init__(last.originator_id, last.originator_version, last.timestamp)
        circuit.__init__(last.service_name)  # type: ignore[misc]
        last.apply(circuit)
        return circuit

    def change(self, state: CircuitStatus, **seen: Any) -> None:
        """Records a change that a process saw, unless it is known or overtaken already.

        `seen` holds the other fields of `Changed`. A wait that begins anew while open, or a
        change older than the newest one recorded, is no news.
        """
        changed_at: datetime = seen["changed_at"]
        if state is self.status or (self.changed_at and changed_at <= self.changed_at):
            return
        seen["last_failure_time"] = seen["last_failure_time"] or self.last_failure_time
        event_class = EVENTS[state]
        self.trigger_event(event_class, state=state, service_name=self.service_name, **seen)

    def force(
        self,
        state: CircuitStatus,
        actor: str,
        next_retry_time: datetime | None,
        configuration: dict[str, Any],
    ) -> None:
        """An operator opens or closes the circuit. Recorded even when it is in that state: being
        open it waits anew, being closed a pause ends and what was counted is forgotten.

        It is newer than what was recorded before, whatever this machine's clock says.
        """
        now = current_context().now
        self.trigger_event(
            EVENTS[state],
            state=state,
            service_name=self.service_name,
            error_rate=None,
            request_count=0,
            failure_count=0,
            last_failure_time=self.last_failure_time,
            next_retry_time=next_retry_time,
            configuration=configuration,
            changed_at=max(now, self.changed_at + TICK) if self.changed_at else now,
            actor=actor,
        )


EVENTS: dict[CircuitStatus, type[Circuit.Changed]] = {
    CircuitStatus.OPEN: Circuit.Opened,
    CircuitStatus.HALF_OPEN: Circuit.HalfOpened,
    CircuitStatus.CLOSED: Circuit.Closed,
}
