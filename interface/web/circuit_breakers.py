"""Breakers over HTTP: how they stand, and an operator's hand on them (contract 5)."""

from typing import Any

from flask import Response, g
from flask_openapi3 import APIBlueprint, Tag

from application.circuit_breaker import CircuitBreakerMetrics
from application.envelope import public_value
from domain.circuit import CircuitStatus
from domain.gateway_report import PROVIDER_PAYTABS
from interface.bootstrap import breaker_config
from interface.settings import Role
from interface.web.answers import BreakerAnswer, BreakerList
from interface.web.context import web
from interface.web.documents import json_response, list_document
from interface.web.models import BreakerPath, NoMembers, NoQuery
from interface.web.operation_ids import by_view
from interface.web.problems import Problem
from interface.web.requests import needs
from system.breaker_metrics import ServiceFigures, figures_by_service

circuit_breakers = APIBlueprint(
    "circuit_breakers",
    __name__,
    url_prefix="/v1/circuit-breakers",
    abp_tags=[Tag(name="circuit breakers", description="One per outside service")],
    abp_security=[{"apiKey": []}],
    operation_id_callback=by_view,
)


@circuit_breakers.get("", responses={200: BreakerList})
@needs(Role.READ)
def list_breakers(query: NoQuery) -> Response:
    """List the circuit breakers with their state, metrics and configuration

    `paytabs`, and a `callback:<host>` for each host that was called lately.
    """
    figures = _figures()
    names = sorted({PROVIDER_PAYTABS, *figures})
    return json_response(list_document([_document(name, figures) for name in names], None))


@circuit_breakers.get("/<path:name>", responses={200: BreakerAnswer})
@needs(Role.READ)
def get_breaker(path: BreakerPath) -> Response:
    """Show one circuit breaker"""
    return json_response(_document(_known(path.name), _figures()))


@circuit_breakers.post("/<path:name>/force-open", responses={200: BreakerAnswer})
@needs(Role.ADMIN)
def force_open_breaker(path: BreakerPath, body: NoMembers) -> Response:
    """Keep all calls away from a service, in all processes, until its reset time-out has passed"""
    config = breaker_config(web().settings, _known(path.name))
    web().applications.operations.force_open(path.name, g.api_key.name, config)
    return json_response(_document(path.name, _figures()))


@circuit_breakers.post("/<path:name>/reset", responses={200: BreakerAnswer})
@needs(Role.ADMIN)
def reset_breaker(path: BreakerPath, body: NoMembers) -> Response:
    """Let calls through again, in all processes"""
    config = breaker_config(web().settings, _known(path.name))
    web().applications.operations.reset(path.name, g.api_key.name, config)
    return json_response(_document(path.name, _figures()))


def _known(name: str) -> str:
    is_known = (
        name == PROVIDER_PAYTABS
        or web().applications.operations.latest_change(name) is not None
        or name in _figures()
    )
    if not is_known:
        raise Problem("not_found", "no breaker has this name: list /v1/circuit-breakers")
    return name


def _document(name: str, figures: dict[str, ServiceFigures]) -> dict[str, Any]:
    latest = web().applications.operations.latest_change(name)
    seen = figures.get(name) or ServiceFigures(CircuitBreakerMetrics().as_dict(), None)
    recorded = latest.last_failure_time if latest else None
    failed_at = max(filter(None, (seen.last_failure_time, recorded)), default=None)
    return {
        "name": name,
        "state": (latest.state if latest else CircuitStatus.CLOSED).value,
        "metrics": seen.metrics,
        "configuration": breaker_config(web().settings, name).as_dict(),
        "nextRetryTime": public_value(latest.next_retry_time if latest else None, str),
        "lastFailureTime": public_value(failed_at, str),
    }


def _figures() -> dict[str, ServiceFigures]:
    return figures_by_service(web().persistence, web().applications.clock.now())
