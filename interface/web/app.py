"""The Flask app, put together from its blueprints."""

import atexit

from flask import Response, g
from flask_openapi3 import Info, OpenAPI

from interface.bootstrap import (
    build_applications,
    build_finder,
    build_pulse,
    open_persistence,
    process_name,
)
from interface.saga_log import log_sagas
from interface.settings import Settings
from interface.telemetry import open_tracing
from interface.web.answers import ProblemAnswer
from interface.web.audit import audit_without_effect
from interface.web.circuit_breakers import circuit_breakers
from interface.web.confirmations import confirmations
from interface.web.context import CircuitBoard, PageWaiter, WebContext
from interface.web.contracts import contracts
from interface.web.description import SECURITY_SCHEMES
from interface.web.event_streams import EventStreams
from interface.web.event_tail import Feed
from interface.web.events import events
from interface.web.health import health
from interface.web.key_ring import KeyRing
from interface.web.metrics import HttpFigures, count_errors_from_zero, serve_metrics
from interface.web.notifications import notifications
from interface.web.parked_events import parked_events
from interface.web.payments import payments
from interface.web.problems import register_error_handlers, validation_problem
from interface.web.projections import projections
from interface.web.rebuilds import rebuilds
from interface.web.reference import reference
from interface.web.request_log import log_requests
from interface.web.requests import JsonRequest, begin, end
from interface.web.sagas import sagas
from interface.web.way_back import way_back
from interface.web.webhooks import webhooks
from system.listener import Listener
from system.persistence.api_keys import ApiKeys
from system.persistence.contract_queries import ContractQueries
from system.persistence.payment_queries import PaymentQueries
from system.persistence.rate_limits import RateLimits
from system.persistence.saga_queries import SagaQueries
from system.persistence.webhook_queries import WebhookQueries

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "frame-ancestors 'none'",
}

ABOUT = (
    "Payments on hosted pages, refunds, contracts, and the events behind them. Every POST takes "
    "an `Idempotency-Key`; every error is a problem document (RFC 9457) with a stable `code`."
)

DESCRIBED = (
    payments,
    sagas,
    contracts,
    circuit_breakers,
    notifications,
    webhooks,
    way_back,
    confirmations,
    projections,
    parked_events,
    events,
    rebuilds,
)
"""The blueprints that the OpenAPI document describes."""


class PaySagaApp(OpenAPI):
    """Flask with our way of reading JSON."""

    request_class = JsonRequest


def create_app(settings: Settings) -> PaySagaApp:
    """The web role. Each process makes its own app: it holds connections and a thread.

    Raises:
        InvalidSettings: no database is set.
        OperationalError: it cannot be reached.
    """
    context = _context(settings)
    app = PaySagaApp(
        __name__,
        info=Info(title="PaySaga", version="1", description=ABOUT),
        security_schemes=SECURITY_SCHEMES,
        validation_error_callback=validation_problem,
        validation_error_model=ProblemAnswer,
        doc_ui=False,
    )
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.url_map.merge_slashes = False
    app.config["MAX_FORM_MEMORY_SIZE"] = settings.max_body_bytes
    app.extensions["paysaga"] = context
    serve_metrics(app)
    log_requests(app)
    tracing = open_tracing("web")
    if tracing:
        tracing.follow(app)
    app.before_request(begin)
    app.after_request(audit_without_effect)
    app.after_request(_add_headers)
    app.teardown_request(end)
    register_error_handlers(app)
    for described in DESCRIBED:
        app.register_api(described)
    for plain in (health, reference):
        app.register_blueprint(plain)
    count_errors_from_zero(app)
    context.listener.start()
    context.pulse.start()
    atexit.register(context.listener.stop)
    atexit.register(context.streams.stop)
    atexit.register(context.pulse.stop)
    return app


def _context(settings: Settings) -> WebContext:
    persistence = open_persistence(settings)
    applications = build_applications(settings, persistence)
    log_sagas(applications.sagas)
    listener = Listener(settings.conninfo)
    feed = Feed(persistence, applications)
    return WebContext(
        settings=settings,
        persistence=persistence,
        applications=applications,
        queries=PaymentQueries(persistence),
        webhook_queries=WebhookQueries(persistence),
        finder=build_finder(applications, persistence),
        saga_queries=SagaQueries(persistence),
        contract_queries=ContractQueries(persistence),
        waiter=PageWaiter(applications, listener),
        circuits=CircuitBoard(applications, listener),
        rate_limits=RateLimits(persistence, settings.rate_limit_per_minute),
        key_ring=KeyRing(settings.api_keys, ApiKeys(persistence), listener),
        secret=persistence.installation_secret(),
        listener=listener,
        feed=feed,
        streams=EventStreams(feed, listener),
        pulse=build_pulse(
            settings,
            persistence,
            applications,
            [HttpFigures()],
            process=process_name(),
            role="web",
        ),
    )


def _add_headers(response: Response) -> Response:
    response.headers.update(SECURITY_HEADERS)
    if "correlation_id" in g:
        response.headers["X-Correlation-Id"] = g.correlation_id
    if response.status_code < 400 and g.get("command") and g.command.is_replay:
        response.headers["Idempotent-Replayed"] = "true"
    return response
