"""The journal over HTTP: all events, one of them, a live stream, and the proof (contract 5)."""

import threading
from dataclasses import asdict
from typing import Any

from flask import Response, request
from flask_openapi3 import APIBlueprint, Tag

from application.envelope import camel_case
from application.journal import Link
from interface.settings import Role
from interface.web.context import web
from interface.web.documents import json_response, list_document
from interface.web.journal_answers import EntryAnswer, EntryList, VerdictAnswer
from interface.web.models import EventPath, FeedQuery, StreamQuery, VerifyQuery
from interface.web.operation_ids import by_view
from interface.web.problems import Problem, invalid
from interface.web.requests import needs
from system.journal_check import Broken, JournalCheck
from system.persistence.journal_queries import EntryFilter

RETRY_AFTER_SECONDS = 5
POSITION_MAX = 2**63 - 1
POSITION_DIGITS_MAX = len(str(POSITION_MAX))

STREAM = {
    "description": "Events as they come; here is one of them.",
    "content": {
        "text/event-stream": {
            "schema": {
                "type": "object",
                "properties": {
                    "id": {"type": "string", "description": "The position."},
                    "event": {"type": "string", "description": "The type."},
                    "data": {"type": "string", "description": "The envelope in one line."},
                },
                "required": ["id", "event", "data"],
            }
        }
    },
}

events = APIBlueprint(
    "events",
    __name__,
    url_prefix="/v1",
    abp_tags=[Tag(name="events", description="The journal: every event, in one order")],
    abp_security=[{"apiKey": []}],
    operation_id_callback=by_view,
)

_one_check = threading.Lock()
"""A check keeps a processor busy: a process makes one at a time."""


@events.get("/events", responses={200: EntryList})
@needs(Role.READ)
def list_events(query: FeedQuery) -> Response:
    """List all events, oldest first

    Each has its `position`; go on behind the last one with `after`. `nextCursor` is that position
    too, and null at the end.
    """
    feed = web().feed
    rows = feed.queries.page(query.after, query.limit + 1, _wanted(query))
    documents = feed.documents(rows[: query.limit])
    next_cursor = str(documents[-1]["position"]) if len(rows) > query.limit else None
    return json_response(list_document(documents, next_cursor))


def _wanted(query: StreamQuery) -> EntryFilter:
    return EntryFilter(
        type=query.type.value if query.type else None,
        aggregate_id=query.aggregate_id,
        correlation_id=query.correlation_id,
    )


@events.get("/events/<uuid:event_id>", responses={200: EntryAnswer})
@needs(Role.READ)
def get_event(path: EventPath) -> Response:
    """Show one event"""
    row = web().feed.queries.find(path.event_id)
    if row is None:
        raise Problem("not_found", "the journal has no event with this id (yet): list /v1/events")
    [document] = web().feed.documents([row])
    return json_response(document)


@events.get("/events/stream", responses={200: STREAM})
@needs(Role.READ)
def stream_events(query: StreamQuery) -> Response:
    """Listen to events as they come (server-sent events)

    Begins behind `Last-Event-ID` or `after`, else with what comes next. A stream ends after five
    minutes: open it again with the id of the last event, as browsers do by themselves.
    """
    after = _begin(query)
    streams = web().streams
    if streams.is_full:
        raise Problem(
            "too_many_streams",
            "as many streams are open as this process serves: try again, or list /v1/events",
            retry_after_seconds=RETRY_AFTER_SECONDS,
        )
    body = streams.answer(after, _wanted(query), request.environ)
    response = Response(body, content_type="text/event-stream; charset=utf-8")
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _begin(query: StreamQuery) -> int:
    given = request.headers.get("Last-Event-ID")
    if given is not None:
        return _position(given)
    return web().feed.head() if query.after is None else query.after


def _position(given: str) -> int:
    is_number = given.isascii() and given.isdecimal() and len(given) <= POSITION_DIGITS_MAX
    if not is_number or int(given) > POSITION_MAX:
        raise invalid("/Last-Event-ID", "send the id of an event of the stream as it came")
    return int(given)


@events.get("/journal/verify", responses={200: VerdictAnswer})
@needs(Role.ADMIN)
def verify_journal(query: VerifyQuery) -> Response:
    """Prove that no event was altered, removed, inserted or cut off

    Reads everything: about half a minute for a million events. `expect` is a head that was kept
    elsewhere, as `POSITION:HASH`.
    """
    expected = _link(query.expect)
    if not _one_check.acquire(blocking=False):
        raise Problem(
            "rate_limited",
            "a check is under way in this process",
            retry_after_seconds=RETRY_AFTER_SECONDS,
        )
    try:
        check = JournalCheck(web().persistence, web().applications, expected=expected)
        verdict = check.run()
    finally:
        _one_check.release()
    document = {
        "ok": verdict.is_ok,
        "entries": verdict.entries,
        "head": str(verdict.head),
        "setAside": verdict.set_aside,
        "firstBroken": broken_document(verdict.first_broken),
    }
    return json_response(document)


def _link(text: str | None) -> Link | None:
    try:
        return Link.parse(text) if text is not None else None
    except ValueError:
        raise invalid("/expect", "expected POSITION:HASH as `paysaga journal head` shows") from None


def broken_document(broken: Broken | None) -> dict[str, Any] | None:
    """The first broken entry as it is shown; None when there is none."""
    if broken is None:
        return None
    return {camel_case(name): value for name, value in asdict(broken).items()}
