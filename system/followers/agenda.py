"""The agenda: one row per piece of work that touches the world (design 5)."""

from typing import Any
from uuid import UUID, uuid5

from eventsourcing.dispatch import singledispatchmethod

from application.rows import Delete, RowChange, Upsert
from domain.confirmation import Confirmation
from domain.event import PaySagaAggregate
from domain.payment_saga import PaymentSaga
from system.followers.base import Projection
from system.persistence.tables import AGENDA
from system.work_item import WorkKind


class Agenda(Projection):
    """Follows PaymentSagas and Confirmations. Never rebuilt: that would do the work again.

    Rows go when the work is done, in the transaction that records its result; what is removed
    here is work that was called off.
    """

    name = "Agenda"
    tables = (AGENDA.name,)
    is_rebuildable = False

    @singledispatchmethod
    def project(self, event: Any) -> list[RowChange]:
        """The work that an event makes due, or calls off."""
        return []

    @project.register
    def _(self, event: PaymentSaga.CallRequested) -> list[RowChange]:
        call = event.call
        return [_due(event, call.call_id, WorkKind.GATEWAY_CALL, due_at=call.due_at)]

    @project.register
    def _(self, event: PaymentSaga.DeadlineSet) -> list[RowChange]:
        work_id = _deadline_id(event)
        kind = WorkKind.SAGA_DEADLINE
        return [_due(event, work_id, kind, due_at=event.due_at, detail=event.deadline)]

    @project.register
    def _(self, event: PaymentSaga.DeadlineCleared) -> list[RowChange]:
        return [Delete(AGENDA.name, (_deadline_id(event),))]

    @project.register
    def _(self, event: Confirmation.Requested) -> list[RowChange]:
        kind = WorkKind.CONFIRMATION
        return [_due(event, event.originator_id, kind, due_at=event.timestamp)]


def _deadline_id(event: PaymentSaga.DeadlineSet | PaymentSaga.DeadlineCleared) -> UUID:
    return uuid5(event.originator_id, f"{event.deadline}:{event.due_at.isoformat()}")


def _due(event: PaySagaAggregate.Event, work_id: UUID, kind: WorkKind, **columns: Any) -> Upsert:
    return Upsert(
        AGENDA.name,
        (work_id,),
        {
            "kind": kind.value,
            "aggregate_id": event.originator_id,
            "payment_id": event.payment_id,  # type: ignore[attr-defined]
            "detail": None,
            "attempts": 0,
            "claimed_by": None,
            "claimed_until": None,
            "correlation_id": event.metadata.correlation_id,
            "causation_id": str(event.event_id),
            **columns,
        },
    )
