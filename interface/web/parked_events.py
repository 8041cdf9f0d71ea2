"""Events that a follower could not take in, and an operator's word on them (contract 5)."""

from collections.abc import Callable
from uuid import UUID

from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from application.envelope import public_record
from application.rows import RowChange
from interface.settings import Role
from interface.web.answers import ParkedEventList, ParkedEventTold
from interface.web.context import web
from interface.web.documents import json_response, list_document
from interface.web.models import NoMembers, ParkedPath, ParkedQuery
from interface.web.operation_ids import by_view
from interface.web.problems import Problem
from interface.web.requests import needs
from system.parking import list_parked, release, skip
from system.persistence.postgres import PostgresPersistence

parked_events = APIBlueprint(
    "parked_events",
    __name__,
    url_prefix="/v1/parked-events",
    abp_tags=[Tag(name="parked events", description="What followers could not take in")],
    abp_security=[{"apiKey": []}],
    operation_id_callback=by_view,
)


@parked_events.get("", responses={200: ParkedEventList})
@needs(Role.ADMIN)
def list_parked_events(query: ParkedQuery) -> Response:
    """List parked events, oldest first

    One with 0 attempts only waits behind an earlier event of the same payment.
    """
    found = list_parked(web().persistence, query.limit + 1, int(query.cursor or 0))
    page = found[: query.limit]
    next_cursor = str(page[-1].place) if len(found) > query.limit else None
    return json_response(list_document([public_record(event) for event in page], next_cursor))


@parked_events.post("/<uuid:parked_id>/retry", responses={200: ParkedEventTold})
@needs(Role.ADMIN)
def retry_parked_event(path: ParkedPath, body: NoMembers) -> Response:
    """Take a parked event in again, then those of the same payment behind it

    The follower does it at once; an event that fails again stays parked.
    """
    return _tell(release, path.parked_id, "released")


@parked_events.post("/<uuid:parked_id>/skip", responses={200: ParkedEventTold})
@needs(Role.ADMIN)
def skip_parked_event(path: ParkedPath, body: NoMembers) -> Response:
    """Pass a parked event over for good, and release those behind it

    The Journal passes nothing over: 409 `skip_refused`.
    """
    return _tell(skip, path.parked_id, "skipped")


def _tell(
    decide: Callable[[PostgresPersistence, UUID], list[RowChange]], parked_id: UUID, outcome: str
) -> Response:
    def changes() -> list[RowChange]:
        found = decide(web().persistence, parked_id)
        if not found:
            raise Problem("not_found", "no parked event has this id: list /v1/parked-events")
        return found

    web().applications.operations.change_rows(changes)
    return json_response({"parkedId": str(parked_id), "outcome": outcome})
