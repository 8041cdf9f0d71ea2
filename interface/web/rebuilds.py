"""Rebuilds of read models over HTTP (contract 5)."""

import threading
from dataclasses import asdict
from typing import Any

import structlog
from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from application.envelope import camel_case
from application.rows import RowChange
from domain.keyed_request import current_command
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
    rebuilds_to_run: list[Rebuild] = []

    def accept() -> list[RowChange]:
        rebuilds_to_run[:] = [_rebuild_of(path.name)]
        return []

    web().applications.operations.change_rows(accept)
    command = current_command()
    if command is not None and command.is_replay:
        return json_response(_state(path.name), 202)
    threading.Thread(target=_run, args=rebuilds_to_run, name="rebuild", daemon=True).start()
    return json_response({**_state(path.name), "isRunning": True}, 202)


def _rebuild_of(name: str) -> Rebuild:
    if _state(name)["isRunning"]:
        raise Problem("rebuild_under_way", f"a rebuild of {name} is under way: wait for it")
    try:
        return Rebuild(web().persistence, web().applications, name)
    except RebuildRefused as refusal:
        raise Problem("refused", str(refusal)) from None


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
