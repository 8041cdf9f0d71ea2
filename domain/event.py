"""What every domain event carries: its public type, its priority, its cause and its time."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, ClassVar, Self
from uuid import UUID, uuid5

from eventsourcing.domain import Aggregate, CanInitAggregate, CanMutateAggregate

EVENT_ID_NAMESPACE = UUID("6f1d1c52-9f0b-5d0e-8a5f-0d6f6b1f0c11")
NO_ID = UUID(int=0)
EVENT_IDS_KEPT = 4096
"""Every follower of an event asks for its id, and all of them at about the same time."""


class PaymentEventType(StrEnum):
    """The public names of events (contract 6), together with our extensions."""

    PAYMENT_INITIATED = "payment.initiated"
    PAYMENT_PROCESSING = "payment.processing"
    PAYMENT_AUTHORIZED = "payment.authorized"
    PAYMENT_COMPLETED = "payment.completed"
    PAYMENT_FAILED = "payment.failed"
    PAYMENT_CANCELLED = "payment.cancelled"
    PAYMENT_CAPTURE_REQUESTED = "payment.capture_requested"
    PAYMENT_CAPTURE_FAILED = "payment.capture_failed"
    PAYMENT_REFUND_REQUESTED = "payment.refund_requested"
    PAYMENT_REFUND_FAILED = "payment.refund_failed"
    PAYMENT_REFUNDED = "payment.refunded"
    PAYMENT_AUDIT_LOG = "payment.audit_log"
    WEBHOOK_RECEIVED = "webhook.received"
    WEBHOOK_REPEATED = "webhook.repeated"
    WEBHOOK_MATCHED = "webhook.matched"
    WEBHOOK_REPLAYED = "webhook.replayed"
    WEBHOOK_PROCESSED = "webhook.processed"
    WEBHOOK_FAILED = "webhook.failed"
    CIRCUIT_BREAKER_WATCHED = "circuit_breaker.watched"
    CIRCUIT_BREAKER_OPENED = "circuit_breaker.opened"
    CIRCUIT_BREAKER_HALF_OPEN = "circuit_breaker.half_open"
    CIRCUIT_BREAKER_CLOSED = "circuit_breaker.closed"
    SECURITY_EVENT = "security.event"
    PERFORMANCE_METRIC = "performance.metric"
    CONTRACT_CREATED = "contract.created"
    CONTRACT_PAYMENT_DUE = "contract.payment_due"
    CONTRACT_INSTALMENT_PAID = "contract.instalment_paid"
    CONTRACT_INSTALMENT_UNPAID = "contract.instalment_unpaid"
    CONTRACT_CANCELLED = "contract.cancelled"
    EARNINGS_CALCULATED = "earnings.calculated"
    REQUEST_ACCEPTED = "request.accepted"
    SAGA_STARTED = "saga.started"
    SAGA_STEP_STARTED = "saga.step_started"
    SAGA_STEP_SUCCEEDED = "saga.step_succeeded"
    SAGA_STEP_FAILED = "saga.step_failed"
    SAGA_GATEWAY_CALL_REQUESTED = "saga.gateway_call_requested"
    SAGA_GATEWAY_CALL_ANSWERED = "saga.gateway_call_answered"
    SAGA_NOTIFICATION_HANDLED = "saga.notification_handled"
    SAGA_HURRIED = "saga.hurried"
    SAGA_REPORT_DOUBTED = "saga.report_doubted"
    SAGA_DEADLINE_SET = "saga.deadline_set"
    SAGA_DEADLINE_REACHED = "saga.deadline_reached"
    SAGA_DEADLINE_CLEARED = "saga.deadline_cleared"
    SAGA_COMPENSATION_STARTED = "saga.compensation_started"
    SAGA_STEP_COMPENSATION_STARTED = "saga.step_compensation_started"
    SAGA_STEP_COMPENSATED = "saga.step_compensated"
    SAGA_MONEY_RETURN_STARTED = "saga.money_return_started"
    SAGA_MONEY_RETURNED = "saga.money_returned"
    SAGA_REFUND_SETTLED = "saga.refund_settled"
    SAGA_REFUND_REFUSED = "saga.refund_refused"
    SAGA_CAPTURE_REFUSED = "saga.capture_refused"
    SAGA_FOREIGN_RETURN_SEEN = "saga.foreign_return_seen"
    SAGA_FOLLOW_UP_ENDED = "saga.follow_up_ended"
    SAGA_RESUMED = "saga.resumed"
    SAGA_COMPLETED = "saga.completed"
    SAGA_COMPENSATED = "saga.compensated"
    SAGA_PARKED = "saga.parked"
    GATEWAY_REQUESTED = "gateway.requested"
    GATEWAY_SUCCEEDED = "gateway.succeeded"
    GATEWAY_REFUSED = "gateway.refused"
    GATEWAY_UNKNOWN = "gateway.unknown"
    CONFIRMATION_REQUESTED = "confirmation.requested"
    CONFIRMATION_POSTPONED = "confirmation.postponed"
    CONFIRMATION_ATTEMPT_FAILED = "confirmation.attempt_failed"
    CONFIRMATION_DELIVERED = "confirmation.delivered"
    CONFIRMATION_EXHAUSTED = "confirmation.exhausted"
    CONFIRMATION_REDELIVERY_REQUESTED = "confirmation.redelivery_requested"


class Priority(StrEnum):
    """How urgently people and followers should look at an event."""

    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"


@dataclass(frozen=True)
class Metadata:
    """Who and what caused an event (contract 6); `causation_id` is None for a first cause."""

    correlation_id: str
    causation_id: str | None = None
    source: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    ip_address: str | None = None
    user_agent: str | None = None
    trace_id: str | None = None
    span_id: str | None = None


@dataclass(frozen=True)
class EventContext:
    """What the events triggered inside `acting` carry: their metadata and their time (UTC)."""

    metadata: Metadata
    now: datetime

    def correlated(
        self, correlation_id: str, trace_id: str | None, span_id: str | None
    ) -> "EventContext":
        """The same cause and time, as part of what another request began."""
        metadata = replace(
            self.metadata, correlation_id=correlation_id, trace_id=trace_id, span_id=span_id
        )
        return replace(self, metadata=metadata)


_context: ContextVar[EventContext] = ContextVar("event_context")


@contextmanager
def acting(context: EventContext) -> Iterator[None]:
    """Gives every event triggered inside the block this cause and this time."""
    token = _context.set(context)
    try:
        yield
    finally:
        _context.reset(token)


def current_context() -> EventContext:
    """The context set by `acting`.

    Raises:
        LookupError: an event was triggered outside `acting`: nobody said when and by whom.
    """
    return _context.get()


def trace_parent() -> str | None:
    """The header `traceparent` of a request that is sent within `acting` (W3C Trace Context,
    section 3.2); None where there is no trace."""
    context = _context.get(None)
    if context is None or not (context.metadata.trace_id and context.metadata.span_id):
        return None
    return f"00-{context.metadata.trace_id}-{context.metadata.span_id}-01"


@lru_cache(EVENT_IDS_KEPT)
def event_id_of(aggregate_id: UUID, version: int) -> UUID:
    """The public id of an event: derived from its aggregate's id and version, never stored."""
    return uuid5(EVENT_ID_NAMESPACE, f"{aggregate_id}:{version}")


class PaySagaAggregate(Aggregate):
    """An aggregate whose events take their metadata and their time from `acting`."""

    class Event(Aggregate.Event):
        """A fact. Subclasses set `event_type` and `priority`."""

        metadata: Metadata
        event_type: ClassVar[PaymentEventType]
        priority: ClassVar[Priority] = Priority.MEDIUM

        @property
        def event_id(self) -> UUID:
            """The public event id (see `event_id_of`)."""
            return event_id_of(self.originator_id, self.originator_version)

    class Created(Event, Aggregate.Created):
        """The first fact of an aggregate."""

    @classmethod
    def _create(
        cls,
        event_class: type[CanInitAggregate[UUID]],
        *,
        id: UUID | None = None,
        **kwargs: Any,
    ) -> Self:
        context = current_context()
        return super()._create(
            event_class,
            id=id,
            metadata=context.metadata,
            timestamp=context.now,
            **kwargs,
        )

    def trigger_event(self, event_class: type[CanMutateAggregate[UUID]], **kwargs: Any) -> None:
        context = current_context()
        super().trigger_event(
            event_class, metadata=context.metadata, timestamp=context.now, **kwargs
        )


def caused_by(event: PaySagaAggregate.Event, source: str, now: datetime) -> EventContext:
    """The context in which the follower `source` acts on an event: same correlation and people,
    caused by that event."""
    metadata = replace(event.metadata, causation_id=str(event.event_id), source=source)
    return EventContext(metadata=metadata, now=now)
