"""Whether the process lives and the system works (contract 5)."""

from flask import Blueprint, Response

from interface.web.context import web
from interface.web.documents import json_response
from system.readiness import readiness

health = Blueprint("health", __name__)


@health.get("/healthz")
def healthz() -> Response:
    """The process lives."""
    return json_response({"status": "ok"})


@health.get("/readyz")
def readyz() -> Response:
    """Database and followers work; 503 with the reasons when they do not."""
    now = web().applications.clock.now()
    checks = readiness(web().settings.conninfo, web().applications.gateway, now)
    is_ready = all(check.is_ok for check in checks)
    document = {
        "status": "ready" if is_ready else "not_ready",
        "checks": [
            {"name": check.name, "ok": check.is_ok, "detail": check.detail} for check in checks
        ],
    }
    return json_response(document, 200 if is_ready else 503)
