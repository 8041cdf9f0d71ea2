"""Commands to payments that were refused go into the audit log; the accepted ones are found there
by their events (`system.followers.operations`)."""

import structlog
from eventsourcing.application import AggregateNotFoundError
from eventsourcing.persistence import PersistenceError
from flask import Response, g, request

from domain.event import EventContext, Metadata, acting
from interface.web.context import web

log = structlog.get_logger(__name__)

ACTIONS = {
    "payments.cancel_payment": "cancel",
    "payments.capture_payment": "capture",
    "payments.refund_payment": "refund",
    "payments.retry_saga": "resume_saga",
    "payments.compensate_saga": "compensate_saga",
}
NOT_DECIDED = frozenset({401, 404, 429})
"""Nobody known asked, there is no such payment, or the caller was told to come back."""


def audit_refusal(response: Response) -> Response:
    """Records that a command of a known key to an existing payment was refused."""
    action = ACTIONS.get(request.endpoint or "")
    is_refusal = 400 <= response.status_code < 500 and response.status_code not in NOT_DECIDED
    if action and is_refusal and "caller" in g:
        try:
            _record(action, str((response.get_json() or {}).get("code")))
        except PersistenceError as error:
            log.error("audit_entry_lost", action=action, actor=g.caller, error=str(error))
    return response


def _record(action: str, reason: str) -> None:
    applications, payment_id = web().applications, (request.view_args or {})["payment_id"]
    try:
        applications.payments.get(payment_id)
    except AggregateNotFoundError:
        return
    metadata = Metadata(g.correlation_id, source="api", user_id=g.caller)
    with acting(EventContext(metadata, applications.clock.now())):
        applications.operations.record_refusal(payment_id, g.caller, action, reason)
