"""The list of sagas over HTTP (contract 5)."""

from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from interface.settings import Role
from interface.web.answers import SagaList
from interface.web.context import web
from interface.web.documents import (
    cursor_of,
    json_response,
    list_document,
    place_of,
    saga_row_document,
)
from interface.web.models import SagaQuery
from interface.web.operation_ids import by_view
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
    place = place_of(query.cursor) if query.cursor else None
    rows = web().saga_queries.list(query.status, query.limit + 1, place)
    page = rows[: query.limit]
    last = page[-1] if len(rows) > query.limit else None
    next_cursor = cursor_of(last["created_at"], last["saga_id"]) if last else None
    return json_response(list_document([saga_row_document(row) for row in page], next_cursor))
