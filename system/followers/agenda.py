"""The agenda: one row per piece of work that touches the world (design 5)."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID, uuid5

from eventsourcing.dispatch import singledispatchmethod

from application.rows import Delete, RowChange, Upsert
from domain.confirmation import Confirmation
from domain.contract import Contract, instalment_payment_id
from domain.event import PaySagaAggregate
from domain.payment_saga import PaymentSaga
from domain.webhook import UNKNOWN_PAYMENT, Webhook
from system.followers.base import Projection
from system.persistence.tables import AGENDA
from system.work_item import WorkKind

MATCH_AFTER = timedelta(seconds=2)
"""When to look for the payment of a webhook that came before anybody knew it."""


class Agenda(Projection):
    """Follows PaymentSagas, Confirmations, Webhooks and Contracts. Never rebuilt: that would do
    the work again.

    Rows go when the work is done, in the transaction that records its result; what is removed
    here is work that was called off.
    """

    name = "Agenda"
    tables = (AGENDA.name,)
    is_rebuildable = False
    is_urgent = True
    rest_seconds = 0.0

    @singledispatchmethod
    def project(self, event: Any) -> list[RowChange]:
        """The work that an event makes due, or calls off."""
        return []

    @project.register
    def _(self, event: PaymentSaga.CallRequested) -> list[RowChange]:
        call = event.call
        kind = WorkKind.GATEWAY_CALL
        return [_due(event, call.call_id, kind, event.payment_id, due_at=call.due_at)]

    @project.register
    def _(self, event: PaymentSaga.DeadlineSet) -> list[RowChange]:
        work_id = _deadline_id(event)
        kind = WorkKind.SAGA_DEADLINE
        due_at, detail = event.due_at, event.deadline
        return [_due(event, work_id, kind, event.payment_id, due_at=due_at, detail=detail)]

    @project.register
    def _(self, event: PaymentSaga.DeadlineCleared) -> list[RowChange]:
        return [Delete(AGENDA.name, (_deadline_id(event),))]

    @project.register
    def _(self, event: Webhook.Failed) -> list[RowChange]:
        """Looks for the payment later. The column `payment_id` holds the webhook's own id: there
        is no payment."""
        if event.reason != UNKNOWN_PAYMENT:
            return []
        webhook_id = event.originator_id
        due_at = event.timestamp + MATCH_AFTER
        kind = WorkKind.WEBHOOK_MATCH
        return [_due(event, webhook_id, kind, webhook_id, due_at=due_at)]

    @project.register
    def _(self, event: Confirmation.Requested) -> list[RowChange]:
        kind = WorkKind.CONFIRMATION
        work_id = event.originator_id
        return [_due(event, work_id, kind, event.payment_id, due_at=event.timestamp)]

    @project.register
    def _(self, event: Confirmation.RedeliveryRequested) -> list[RowChange]:
        confirmation_id, kind = event.originator_id, WorkKind.CONFIRMATION
        before = Confirmation.round_id_of(confirmation_id, event.round - 1)
        work_id = Confirmation.round_id_of(confirmation_id, event.round)
        due = _due(event, work_id, kind, event.payment_id, due_at=event.timestamp)
        return [Delete(AGENDA.name, (before,)), due]

    @project.register
    def _(self, event: Contract.Agreed) -> list[RowChange]:
        return [
            _due(
                event,
                _instalment_id(event, number),
                WorkKind.INSTALMENT,
                instalment_payment_id(event.originator_id, number, attempt=1),
                due_at=_begin_of(terms.due_on),
                detail=str(number),
            )
            for number, terms in enumerate(event.instalments, start=1)
        ]

    @project.register
    def _(self, event: Contract.Cancelled) -> list[RowChange]:
        return [Delete(AGENDA.name, (_instalment_id(event, n),)) for n in event.scheduled]


def _instalment_id(event: Contract.Agreed | Contract.Cancelled, number: int) -> UUID:
    return uuid5(event.originator_id, f"instalment:{number}")


def _begin_of(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _deadline_id(event: PaymentSaga.DeadlineSet | PaymentSaga.DeadlineCleared) -> UUID:
    return uuid5(event.originator_id, f"{event.deadline}:{event.due_at.isoformat()}")


def _due(
    event: PaySagaAggregate.Event, work_id: UUID, kind: WorkKind, payment_id: UUID, **columns: Any
) -> Upsert:
    return Upsert(
        AGENDA.name,
        (work_id,),
        {
            "kind": kind.value,
            "aggregate_id": event.originator_id,
            "payment_id": payment_id,
            "detail": None,
            "attempts": 0,
            "claimed_by": None,
            "claimed_until": None,
            "correlation_id": event.metadata.correlation_id,
            "causation_id": str(event.event_id),
            "trace_id": event.metadata.trace_id,
            "span_id": event.metadata.span_id,
            **columns,
        },
    )
