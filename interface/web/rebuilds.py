"""Rebuilds of read models over HTTP (contract 5)."""

import threading
from dataclasses import asdict
from typing import Any

import structlog
from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from application.envelope import camel_case
from application.rows import RowChange
from interface.settings import Role
from interface.web.answers import RebuildAnswer
from interface.web.context import web
from interface.web.documents import json_response
from interface.web.models import NoMembers, ProjectionPath
from interface.web.operation_ids import by_view
from interface.web.problems import Problem
from interface.web.requests import needs
from system.rebuild import Rebuild, RebuildRefused, rebuild_state, rebuildable

log = structlog.get_logger(__name__)

rebuilds = APIBlueprint(
    "rebuilds",
    __name__,
    url_prefix="/v1/projections",
    abp_tags=[Tag(name="projections", description="The followers of the event logs")],
    abp_security=[{"apiKey": []}],
    operation_id_callback=by_view,
)


@rebuilds.post("/<name>/rebuild", responses={202: RebuildAnswer})
@needs(Role.ADMIN)
def rebuild_projection(path: ProjectionPath, body: NoMembers) -> Response:
    """Make a read model anew from the events while the service runs

    The answer does not wait: look at the rebuild to see how far it is. One that was interrupted,
    say because this process ended, goes on when it is asked for again (with a new key).
    """
    state = _state(path.name)
    started: list[threading.Thread] = []

    def start() -> list[RowChange]:
        started.append(_started(path.name))
        return []

    web().applications.operations.change_rows(start)
    return json_response({**_state(path.name), "isRunning": True} if started else state, 202)


def _started(name: str) -> threading.Thread:
    """It is started before the request is recorded: what was accepted has begun."""
    if _state(name)["isRunning"]:
        raise Problem("rebuild_under_way", f"a rebuild of {name} is under way: wait for it")
    try:
        rebuild = Rebuild(web().persistence, web().applications, name)
    except RebuildRefused as refusal:
        raise Problem("refused", str(refusal)) from None
    thread = threading.Thread(target=_run, args=(rebuild,), name="rebuild", daemon=True)
    thread.start()
    return thread


@rebuilds.get("/<name>/rebuild", responses={200: RebuildAnswer})
@needs(Role.READ)
def get_rebuild(path: ProjectionPath) -> Response:
    """Show how far a rebuild has come

    `position` of `total` are taken in. Neither running nor interrupted: there is none.
    """
    return json_response(_state(path.name))


def _state(name: str) -> dict[str, Any]:
    if name not in rebuildable(web().applications):
        known = ", ".join(rebuildable(web().applications))
        raise Problem("not_found", f"'{name}' cannot be rebuilt: choose one of {known}")
    state = rebuild_state(web().persistence, web().applications, name)
    return {camel_case(field): value for field, value in asdict(state).items()}


def _run(rebuild: Rebuild) -> None:
    try:
        rebuilt = rebuild.run()
    except RebuildRefused as refusal:
        log.warning("rebuild_refused", reason=str(refusal))
    except Exception:
        log.exception("rebuild_failed")
    else:
        log.info("rebuilt", projection=rebuilt.projection, events=rebuilt.events)
