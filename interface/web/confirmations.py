"""Confirmations over HTTP: what merchants were told, and telling them again (contract 5)."""

from uuid import UUID

from flask import Response, g
from flask_openapi3 import APIBlueprint, Tag

from interface.settings import Role
from interface.web.confirmation_documents import (
    confirmation_document,
    confirmation_row_document,
)
from interface.web.context import web
from interface.web.documents import (
    Document,
    cursor_of,
    json_response,
    list_document,
    place_of,
)
from interface.web.models import (
    ConfirmationListQuery,
    ConfirmationPath,
    NoMembers,
    RedeliverFailed,
)
from interface.web.requests import needs
from system.persistence.confirmation_queries import ConfirmationQueries

REDELIVERIES_MAX = 500
"""How many confirmations one request may ask for again."""

confirmations = APIBlueprint(
    "confirmations",
    __name__,
    url_prefix="/v1/confirmations",
    abp_tags=[Tag(name="confirmations", description="Signed messages to merchants")],
    abp_security=[{"apiKey": []}],
)


@confirmations.get("")
@needs(Role.READ)
def list_confirmations(query: ConfirmationListQuery) -> Response:
    """List confirmations, newest first"""
    place = place_of(query.cursor) if query.cursor else None
    status = query.status.value if query.status else None
    rows = _queries().list(query.payment_id, status, query.limit + 1, place)
    page = rows[: query.limit]
    last = page[-1] if len(rows) > query.limit else None
    next_cursor = cursor_of(last["created_at"], last["confirmation_id"]) if last else None
    documents = [confirmation_row_document(row) for row in page]
    return json_response(list_document(documents, next_cursor))


@confirmations.get("/<uuid:confirmation_id>")
@needs(Role.READ)
def get_confirmation(path: ConfirmationPath) -> Response:
    """Show a confirmation with all its attempts"""
    return json_response(_document(path.confirmation_id))


@confirmations.post("/<uuid:confirmation_id>/redeliver")
@needs(Role.WRITE)
def redeliver_confirmation(path: ConfirmationPath, body: NoMembers) -> Response:
    """Tell the merchant again, at once and then on the whole schedule

    Whatever came of it before: delivered, given up, or still being tried.
    """
    web().applications.confirmations.redeliver(path.confirmation_id, g.api_key.name)
    return json_response(_document(path.confirmation_id), 202)


@confirmations.post("/redeliver")
@needs(Role.ADMIN)
def redeliver_failed_confirmations(body: RedeliverFailed) -> Response:
    """Tell merchants again what failed since a time, given up or not

    Up to 500 at a time, oldest first; `hasMore` says that there are more: send the same again.
    """
    found = _queries().failed_since(body.since, REDELIVERIES_MAX + 1)
    count = web().applications.confirmations.redeliver_failed(
        lambda: found[:REDELIVERIES_MAX], g.api_key.name
    )
    return json_response({"redelivered": count, "hasMore": len(found) > REDELIVERIES_MAX}, 202)


def _document(confirmation_id: UUID) -> Document:
    applications = web().applications
    history = applications.confirmations.history(confirmation_id)
    return confirmation_document(history, applications.confirmations_view.project)


def _queries() -> ConfirmationQueries:
    return ConfirmationQueries(web().persistence)
