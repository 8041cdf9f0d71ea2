"""Confirmations as the API shows them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from eventsourcing.application import AggregateNotFoundError

from application.envelope import public_value, timestamp
from application.rows import RowChange
from domain.confirmation import Confirmation
from domain.event import PaySagaAggregate
from interface.web.documents import Document

Attempted = Confirmation.AttemptFailed | Confirmation.Delivered | Confirmation.Exhausted


def confirmation_row_document(row: Mapping[str, Any]) -> Document:
    """A confirmation from a row of the view."""
    return {
        "confirmationId": str(row["confirmation_id"]),
        "paymentId": str(row["payment_id"]),
        "eventId": str(row["event_id"]),
        "eventType": row["event_type"],
        "url": row["url"],
        "status": row["status"],
        "attempts": row["attempts"],
        "nextAttemptAt": public_value(row.get("next_attempt_at"), str),
        "lastAttempt": _last_attempt(row),
        "createdAt": timestamp(row["created_at"]),
        "updatedAt": timestamp(row["updated_at"]),
    }


def _last_attempt(row: Mapping[str, Any]) -> Document | None:
    if row.get("last_attempt_at") is None:
        return None
    return {
        "attemptedAt": timestamp(row["last_attempt_at"]),
        "statusCode": row["last_status_code"],
        "error": row["last_error"],
        "responseBody": row["last_response_body"],
    }


def confirmation_document(
    history: Sequence[PaySagaAggregate.Event], project: Callable[[Any], list[RowChange]]
) -> Document:
    """A confirmation from its events, with each attempt in `history`, oldest first. `project`
    turns an event into changes of the view's row.

    Raises:
        AggregateNotFoundError: there are no events.
    """
    if not history:
        raise AggregateNotFoundError("there is no such confirmation")
    row: dict[str, Any] = {"confirmation_id": history[0].originator_id}
    for event in history:
        for change in project(event):
            row |= getattr(change, "values", {})
    attempts = [_attempt(event) for event in history if isinstance(event, Attempted)]
    return {**confirmation_row_document(row), "history": attempts}


def _attempt(event: Attempted) -> Document:
    return {
        "attempt": event.attempt,
        "attemptedAt": timestamp(event.timestamp),
        "statusCode": event.status_code,
        "error": getattr(event, "error", None),
        "responseBody": event.response_body,
    }
