"""Puts the simulator together: one Flask app with PayTabs' API, its page and the controls."""

from __future__ import annotations

import logging

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from interface.simulator.api import api_blueprint, error_response, json_response
from interface.simulator.config import SimulatorConfig
from interface.simulator.controls import controls_blueprint
from interface.simulator.desk import Desk
from interface.simulator.faults import Faults
from interface.simulator.orders import ApiError
from interface.simulator.pages import pages_blueprint

logger = logging.getLogger(__name__)

BODY_BYTES_MAX = 1_048_576
_INVALID, _INTERNAL = 2, 400


def create_simulator(config: SimulatorConfig) -> Flask:
    """A WSGI app that behaves as PayTabs does; its callback threads run from now on.

    Raises sqlite3.Error when the data file cannot be used.
    """
    desk = Desk(config)
    desk.notifier.start()
    return app_for(desk)


def app_for(desk: Desk) -> Flask:
    """The app around a desk whose notifier its caller starts and stops."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = BODY_BYTES_MAX
    app.register_blueprint(api_blueprint(desk))
    app.register_blueprint(pages_blueprint(desk))
    if desk.config.controls_enabled:
        app.register_blueprint(controls_blueprint(desk))
    _add_health(app)
    _add_errors(app, desk)
    app.wsgi_app = Faults(app.wsgi_app, desk.behaviour)  # type: ignore[method-assign]
    return app


def _add_health(app: Flask) -> None:
    @app.get("/healthz")
    def healthz() -> Response:
        return json_response({"status": "ok"})


def _add_errors(app: Flask, desk: Desk) -> None:
    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> Response:
        status, text = error.code or 500, error.description or ""
        if request.path.startswith("/_simulator"):
            response = json_response({"error": text}, status)
        else:
            response = error_response(desk, ApiError(status, _INVALID, text))
        if isinstance(error, MethodNotAllowed):
            response.allow.update(error.valid_methods or ())
        return response

    @app.errorhandler(Exception)
    def failed(_error: Exception) -> Response:
        logger.exception("the simulator failed on %s %s", request.method, request.path)
        return error_response(desk, ApiError(500, _INTERNAL, "Internal system error"))
