"""Where each saga stands, for the list of payments and for operators.

The column `status` is where it would stand if it were not parked, see `shown_status`.
"""

from collections.abc import Mapping
from typing import Any

from eventsourcing.dispatch import singledispatchmethod

from application.rows import Patch, RowChange, Upsert
from domain.payment_saga import PaymentSaga
from domain.saga_steps import SagaStatus, Step
from system.followers.base import Projection
from system.persistence.tables import SAGAS_VIEW


class SagasView(Projection):
    """Follows PaymentSagas. A saga is parked while it has a `parked_detail`; `status` is where it
    stands apart from that."""

    name = "SagasView"
    tables = (SAGAS_VIEW.name,)

    @singledispatchmethod
    def project(self, event: Any) -> list[RowChange]:
        """The row changes that an event means."""
        return []

    @project.register
    def _(self, event: PaymentSaga.Started) -> list[RowChange]:
        values = {
            "payment_id": event.payment_id,
            "status": SagaStatus.RUNNING.value,
            "created_at": event.timestamp,
            "updated_at": event.timestamp,
        }
        return [Upsert(SAGAS_VIEW.name, (event.originator_id,), values)]

    @project.register
    def _(self, event: PaymentSaga.PageOpened) -> list[RowChange]:
        return _patch(event, SagaStatus.WAITING)

    @project.register
    def _(self, event: PaymentSaga.SettlementStarted) -> list[RowChange]:
        return _patch(event, SagaStatus.RUNNING)

    @project.register
    def _(self, event: PaymentSaga.AuthorizationStarted) -> list[RowChange]:
        return _patch(event, SagaStatus.RUNNING)

    @project.register
    def _(self, event: PaymentSaga.StepStarted) -> list[RowChange]:
        return _patch(event, SagaStatus.WAITING) if event.step is Step.CAPTURE else []

    @project.register
    def _(self, event: PaymentSaga.Captured) -> list[RowChange]:
        return [] if event.is_closing else _patch(event, SagaStatus.RUNNING)

    @project.register
    def _(self, event: PaymentSaga.Resumed) -> list[RowChange]:
        columns = {"parked_detail": event.parked_detail}
        return _patch(event, event.status, **columns, **({} if event.parked_detail else _NO_ADVICE))

    @project.register
    def _(self, event: PaymentSaga.CompensationStarted) -> list[RowChange]:
        return _patch(event, SagaStatus.COMPENSATING)

    @project.register
    def _(self, event: PaymentSaga.MoneyReturnStarted) -> list[RowChange]:
        return _patch(event, SagaStatus.COMPENSATING) if event.is_closing else []

    @project.register
    def _(self, event: PaymentSaga.Completed) -> list[RowChange]:
        return _patch(event, SagaStatus.COMPLETED)

    @project.register
    def _(self, event: PaymentSaga.Compensated) -> list[RowChange]:
        return _patch(event, SagaStatus.COMPENSATED)

    @project.register
    def _(self, event: PaymentSaga.Parked) -> list[RowChange]:
        values = {
            "parked_detail": event.parked_detail,
            "advice": event.advice,
            "updated_at": event.timestamp,
        }
        return [Patch(SAGAS_VIEW.name, (event.originator_id,), values)]


def saga_row(saga: PaymentSaga) -> dict[str, Any]:
    """The row that the view shows of a saga, made from the saga itself; without the advice and the
    time of its last change of status, which a saga does not remember."""
    return {
        "saga_id": saga.id,
        "payment_id": saga.payment_id,
        "status": saga.stage.value,
        "parked_detail": saga.parked_detail,
    }


def shown_status(row: Mapping[str, Any]) -> str:
    """The status of the saga in a row: `parked` as long as there is a reason to be."""
    return SagaStatus.PARKED.value if row.get("parked_detail") else str(row["status"])


_NO_ADVICE: dict[str, Any] = {"advice": None}


def _patch(event: PaymentSaga.Event, status: SagaStatus, **columns: Any) -> list[RowChange]:
    values = {"status": status.value, "updated_at": event.timestamp, **columns}
    return [Patch(SAGAS_VIEW.name, (event.originator_id,), values)]
