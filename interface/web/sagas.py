"""The list of sagas over HTTP (contract 5)."""

from functools import partial

from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from interface.settings import Role
from interface.web.answers import SagaList
from interface.web.context import web
from interface.web.documents import json_response, list_document, saga_row_document
from interface.web.models import SagaQuery
from interface.web.operation_ids import by_view
from interface.web.pages import page_of
from interface.web.requests import needs

sagas = APIBlueprint(
    "sagas",
    __name__,
    url_prefix="/v1/sagas",
    abp_tags=[Tag(name="sagas", description="Where the saga of each payment stands")],
    abp_security=[{"apiKey": []}],
    operation_id_callback=by_view,
)


@sagas.get("", responses={200: SagaList})
@needs(Role.READ)
def list_sagas(query: SagaQuery) -> Response:
    """List sagas, those of the newest payments first

    `status=parked` finds those that wait for a person; `parked` and `advice` say why, and what to
    do.
    """
    find = partial(web().saga_queries.list, query.status)
    page = page_of(query, find, ("created_at", "saga_id"))
    documents = [saga_row_document(row) for row in page.rows]
    return json_response(list_document(documents, page.next_cursor))
