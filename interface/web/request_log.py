"""One log line for each request: what was asked, how it ended, and how long it took."""

import logging
import time

import structlog
from flask import Flask, Response, g, request

log = structlog.get_logger(__name__)
loggers = logging.getLogger(__name__)

PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds by machines: their lines are for debugging."""


def log_requests(app: Flask) -> None:
    """To be called before other hooks are added, so that the line tells of the finished answer."""
    app.after_request(_tell)


def level_of(status: int, path: str) -> int:
    """What went wrong on our side is an error; what the caller did wrong is no concern of ours."""
    if status >= 500:
        return logging.ERROR
    return logging.DEBUG if path in PROBES else logging.INFO


def _tell(response: Response) -> Response:
    level = level_of(response.status_code, request.path)
    if loggers.isEnabledFor(level):
        log.log(
            level,
            "request",
            method=request.method,
            route=request.url_rule.rule if request.url_rule else None,
            status=response.status_code,
            duration_ms=round(1000 * (time.perf_counter() - g.began), 1),
            key=g.get("key_name"),
            payment_id=_payment_id(),
            is_replay=bool(g.get("command") and g.command.is_replay),
        )
    return response


def _payment_id() -> str | None:
    found = (request.view_args or {}).get("payment_id")
    return str(found) if found else None
