"""Confirmations over HTTP: what merchants were told, and telling them again (contract 5)."""

from functools import partial
from uuid import UUID

from flask import Response, g
from flask_openapi3 import APIBlueprint, Tag

from interface.settings import Role
from interface.web.confirmation_answers import (
    ConfirmationAnswer,
    ConfirmationList,
    ToldAgain,
)
from interface.web.confirmation_documents import (
    confirmation_document,
    confirmation_row_document,
)
from interface.web.context import web
from interface.web.documents import Document, json_response, list_document
from interface.web.models import (
    ConfirmationListQuery,
    ConfirmationPath,
    NoMembers,
    RedeliverFailed,
)
from interface.web.operation_ids import by_view
from interface.web.pages import page_of
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
    operation_id_callback=by_view,
)


@confirmations.get("", responses={200: ConfirmationList})
@needs(Role.READ)
def list_confirmations(query: ConfirmationListQuery) -> Response:
    """List confirmations, newest first"""
    status = query.status.value if query.status else None
    find = partial(_queries().list, query.payment_id, status)
    page = page_of(query, find, ("created_at", "confirmation_id"))
    documents = [confirmation_row_document(row) for row in page.rows]
    return json_response(list_document(documents, page.next_cursor))


@confirmations.get("/<uuid:confirmation_id>", responses={200: ConfirmationAnswer})
@needs(Role.READ)
def get_confirmation(path: ConfirmationPath) -> Response:
    """Show a confirmation with all its attempts"""
    return json_response(_document(path.confirmation_id))


@confirmations.post("/<uuid:confirmation_id>/redeliver", responses={202: ConfirmationAnswer})
@needs(Role.WRITE)
def redeliver_confirmation(path: ConfirmationPath, body: NoMembers) -> Response:
    """Tell the merchant again, at once and then on the whole schedule

    Whatever came of it before: delivered, given up, or still being tried.
    """
    web().applications.confirmations.redeliver(path.confirmation_id, g.api_key.name)
    return json_response(_document(path.confirmation_id), 202)


@confirmations.post("/redeliver", responses={202: ToldAgain})
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
