"""The list of confirmations, for operators and merchants who look for what was not delivered."""

from typing import Any

from eventsourcing.dispatch import singledispatchmethod

from application.rows import Patch, RowChange, Upsert
from domain.confirmation import Confirmation, ConfirmationStatus
from domain.event import event_id_of
from system.followers.base import Projection
from system.persistence.tables import CONFIRMATIONS_VIEW


class ConfirmationsView(Projection):
    """Follows Confirmations. `failed_at` is when the last attempt failed; null when it did not,
    or when a redelivery was asked for since."""

    name = "ConfirmationsView"
    tables = (CONFIRMATIONS_VIEW.name,)

    @singledispatchmethod
    def project(self, event: Any) -> list[RowChange]:
        """The row changes that an event means."""
        return []

    @project.register
    def _(self, event: Confirmation.Requested) -> list[RowChange]:
        values = {
            "payment_id": event.payment_id,
            "event_id": event_id_of(event.payment_id, event.payment_version),
            "event_type": event.told.value,
            "url": event.url,
            "status": ConfirmationStatus.PENDING.value,
            "attempts": 0,
            "next_attempt_at": event.timestamp,
            "created_at": event.timestamp,
            "updated_at": event.timestamp,
        }
        return [Upsert(CONFIRMATIONS_VIEW.name, (event.originator_id,), values)]

    @project.register
    def _(self, event: Confirmation.Postponed) -> list[RowChange]:
        return _patch(event, next_attempt_at=event.next_attempt_at)

    @project.register
    def _(self, event: Confirmation.AttemptFailed) -> list[RowChange]:
        return _attempted(event, failed_at=event.timestamp, next_attempt_at=event.next_attempt_at)

    @project.register
    def _(self, event: Confirmation.Delivered) -> list[RowChange]:
        status = ConfirmationStatus.DELIVERED.value
        return _attempted(event, status=status, failed_at=None, next_attempt_at=None)

    @project.register
    def _(self, event: Confirmation.Exhausted) -> list[RowChange]:
        status = ConfirmationStatus.EXHAUSTED.value
        return _attempted(event, status=status, failed_at=event.timestamp, next_attempt_at=None)

    @project.register
    def _(self, event: Confirmation.RedeliveryRequested) -> list[RowChange]:
        return _patch(
            event,
            status=ConfirmationStatus.PENDING.value,
            failed_at=None,
            next_attempt_at=event.timestamp,
        )


def confirmation_row(confirmation: Confirmation) -> dict[str, Any]:
    """The row that the view shows of a confirmation, made from the confirmation itself; without
    what its attempts came to, which it does not remember."""
    return {
        "confirmation_id": confirmation.id,
        "payment_id": confirmation.payment_id,
        "event_id": confirmation.event_id,
        "event_type": confirmation.told.value,
        "url": confirmation.url,
        "status": confirmation.status.value,
        "attempts": confirmation.attempts,
        "created_at": confirmation.created_on,
        "updated_at": confirmation.modified_on,
    }


def _attempted(
    event: Confirmation.AttemptFailed | Confirmation.Delivered | Confirmation.Exhausted,
    **columns: Any,
) -> list[RowChange]:
    return _patch(
        event,
        attempts=event.attempt,
        last_attempt_at=event.timestamp,
        last_status_code=event.status_code,
        last_error=getattr(event, "error", None),
        last_response_body=event.response_body,
        **columns,
    )


def _patch(event: Confirmation.Event, **columns: Any) -> list[RowChange]:
    values = {**columns, "updated_at": event.timestamp}
    return [Patch(CONFIRMATIONS_VIEW.name, (event.originator_id,), values)]
