"""How far the followers have come, over HTTP (contract 5)."""

from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from application.envelope import public_record
from interface.settings import Role
from interface.web.answers import PositionList
from interface.web.context import web
from interface.web.documents import json_response, list_document
from interface.web.models import NoQuery
from interface.web.operation_ids import by_view
from interface.web.requests import needs
from system.positions import positions

projections = APIBlueprint(
    "projections",
    __name__,
    url_prefix="/v1/projections",
    abp_tags=[Tag(name="projections", description="The followers of the event logs")],
    abp_security=[{"apiKey": []}],
    operation_id_callback=by_view,
)


@projections.get("", responses={200: PositionList})
@needs(Role.READ)
def list_projections(query: NoQuery) -> Response:
    """List the followers with their positions and their lag

    One entry for each follower and log; `lagSeconds` is the age of the oldest event that it has
    not taken in.
    """
    found = positions(web().applications, web().persistence)
    return json_response(list_document([public_record(each) for each in found], None))
