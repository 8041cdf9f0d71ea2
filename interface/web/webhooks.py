"""Webhooks over HTTP, for operators: list, show, and have the saga told again (contract 5)."""

from functools import partial
from typing import Any
from uuid import UUID

from flask import Response, g
from flask_openapi3 import APIBlueprint, Tag

from application.envelope import data_of, envelope
from application.event_log import replayed
from domain.event import PaySagaAggregate
from domain.webhook import Webhook
from interface.settings import Role
from interface.web.context import web
from interface.web.documents import json_response, list_document, webhook_document
from interface.web.models import NoMembers, WebhookPath, WebhookQuery
from interface.web.operation_ids import by_view
from interface.web.pages import page_of
from interface.web.problems import Problem
from interface.web.requests import needs
from interface.web.webhook_answers import WebhookAnswer, WebhookList
from system.event_status import event_statuses
from system.persistence.webhook_queries import WebhookFilter

webhooks = APIBlueprint(
    "webhooks",
    __name__,
    url_prefix="/v1/webhooks",
    abp_tags=[Tag(name="webhooks", description="Notifications from the gateway")],
    abp_security=[{"apiKey": []}],
    operation_id_callback=by_view,
)

CONTENT = ("payload", "signature", "headers")
"""What of a notification is shown in full, as in its event `webhook.received`."""


@webhooks.get("", responses={200: WebhookList})
@needs(Role.READ)
def list_webhooks(query: WebhookQuery) -> Response:
    """List webhooks, newest first"""
    wanted = WebhookFilter(
        status=query.status.value if query.status else None,
        payment_id=query.payment_id,
        transaction_ref=query.transaction_ref,
        received_from=query.received_from,
        received_to=query.received_to,
    )
    find = partial(web().webhook_queries.list, wanted)
    page = page_of(query, find, ("received_at", "webhook_id"))
    documents = [webhook_document(row) for row in page.rows]
    return json_response(list_document(documents, page.next_cursor))


@webhooks.get("/<uuid:webhook_id>", responses={200: WebhookAnswer})
@needs(Role.READ)
def get_webhook(path: WebhookPath) -> Response:
    """Show a webhook: what came, and what became of it"""
    return json_response(_document(path.webhook_id))


@webhooks.post("/<uuid:webhook_id>/replay", responses={200: WebhookAnswer})
@needs(Role.ADMIN)
def replay_webhook(path: WebhookPath, body: NoMembers) -> Response:
    """Have the saga told again what a webhook says

    It goes the way of a notification that has just come; the saga knows what it knows, so that
    repeating it is harmless. A webhook whose payment was not known is matched first.
    """
    report = _replayed(_history(path.webhook_id)).report
    payment = web().finder.find(report) if report else None
    payment_id = payment.id if payment else None
    web().applications.webhooks.replay(path.webhook_id, g.api_key.name, payment_id)
    return json_response(_document(path.webhook_id))


def _history(webhook_id: UUID) -> list[PaySagaAggregate.Event]:
    history = web().applications.webhooks.history(webhook_id)
    if not history:
        raise Problem("not_found", "no webhook has this id: check it, or list /v1/webhooks")
    return history


def _replayed(history: list[PaySagaAggregate.Event]) -> Webhook:
    webhook = replayed(None, history)
    assert isinstance(webhook, Webhook)
    return webhook


def _document(webhook_id: UUID) -> dict[str, Any]:
    """From the events: the view may be some milliseconds behind them."""
    history = _history(webhook_id)
    webhook, received = _replayed(history), history[0]
    assert isinstance(received, Webhook.Received)
    applications = web().applications
    statuses = event_statuses(applications, web().persistence, applications.webhooks, webhook_id)
    content = data_of(received, lambda _sealed: None)
    report = webhook.report
    row = {
        **vars(webhook),
        "webhook_id": webhook.id,
        "version": webhook.version,
        "transaction_ref": report.transaction_ref if report else None,
        "transaction_kind": report.kind.value if report else None,
        "transaction_status": report.status.value if report else None,
        "ip_address": received.ip_address,
        "received_at": received.timestamp,
        "updated_at": webhook.modified_on,
        "correlation_id": received.metadata.correlation_id,
    }
    return {
        **webhook_document(row),
        **{name: content[name] for name in CONTENT},
        "events": [
            envelope(event, applications.vault, statuses[event.originator_version])
            for event in history
        ],
    }
