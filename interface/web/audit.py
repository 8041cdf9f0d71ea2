"""Commands to payments that no event tells of go into the audit log: those that were refused, and
those that changed nothing. The others are found there by their events
(`system.followers.operations`)."""

from uuid import UUID

import structlog
from eventsourcing.application import AggregateNotFoundError
from eventsourcing.persistence import PersistenceError
from flask import Response, g, request

from domain.event import EventContext, Metadata, acting, current_context
from domain.payment_saga import PaymentSaga
from interface.web.context import web

log = structlog.get_logger(__name__)

CREATE = "create"
ACTIONS = {
    "payments.create_payment": CREATE,
    "payments.cancel_payment": "cancel",
    "payments.capture_payment": "capture",
    "payments.refund_payment": "refund",
    "payments.retry_saga": "retry_saga",
    "payments.compensate_saga": "compensate_saga",
}
OF_SAGAS = frozenset({"retry_saga", "compensate_saga"})
"""Actions whose events are the saga's."""
NOT_DECIDED = frozenset({401, 404, 429})
"""Nobody known asked, there is no such payment, or the caller was told to come back."""


def audit_without_effect(response: Response) -> Response:
    """Records a command of a known key to an existing payment, unless its own events tell of it."""
    action = ACTIONS.get(request.endpoint or "")
    if action and "caller" in g:
        try:
            _audit(action, response)
        except PersistenceError as error:
            log.error("audit_entry_lost", action=action, actor=g.caller, error=str(error))
    return response


def _audit(action: str, response: Response) -> None:
    if 400 <= response.status_code < 500 and response.status_code not in NOT_DECIDED:
        payment_id = _payment_id()
        if payment_id is not None and _exists(payment_id):
            _record(payment_id, action, str((response.get_json() or {}).get("code")))
    elif response.status_code < 300 and action != CREATE and not _is_replay():
        payment_id = _payment_id()
        if payment_id is not None and not _was_changed(action, payment_id):
            _record(payment_id, action, None)


def _payment_id() -> UUID | None:
    """The payment that the command is for; of a creation the one that was made with its key."""
    found: UUID | None = (request.view_args or {}).get("payment_id")
    return found or (g.command.request_id if g.get("command") else None)


def _exists(payment_id: UUID) -> bool:
    try:
        web().applications.payments.get(payment_id)
    except AggregateNotFoundError:
        return False
    return True


def _is_replay() -> bool:
    return bool(g.command and g.command.is_replay)


def _was_changed(action: str, payment_id: UUID) -> bool:
    """True when the command has left an event: they all carry the time of their request."""
    applications, now = web().applications, current_context().now
    if action in OF_SAGAS:
        history = applications.sagas.history(PaymentSaga.create_id(payment_id))
    else:
        history = applications.payments.history(payment_id)
    return any(event.timestamp == now for event in history)


def _record(payment_id: UUID, action: str, refusal: str | None) -> None:
    operations = web().applications.operations
    metadata = Metadata(g.correlation_id, source="api", user_id=g.caller)
    with acting(EventContext(metadata, operations.clock.now())):
        operations.record_without_effect(payment_id, g.caller, action, refusal)
