"""Breakers over HTTP: how they stand, and an operator's hand on them (contract 5)."""

from typing import Any

from flask import Response, g
from flask_openapi3 import APIBlueprint, Tag

from application.circuit_breaker import CircuitBreakerMetrics
from application.envelope import public_value
from domain.circuit import Circuit, CircuitStatus
from domain.gateway_report import PROVIDER_PAYTABS
from interface.bootstrap import breaker_config
from interface.settings import Role
from interface.web.context import web
from interface.web.documents import json_response, list_document
from interface.web.models import BreakerPath, NoMembers
from interface.web.problems import Problem
from interface.web.requests import needs
from system.breaker_metrics import fleet_metrics

circuit_breakers = APIBlueprint(
    "circuit_breakers",
    __name__,
    url_prefix="/v1/circuit-breakers",
    abp_tags=[Tag(name="circuit breakers", description="One per outside service")],
    abp_security=[{"apiKey": []}],
)


@circuit_breakers.get("")
@needs(Role.READ)
def list_breakers() -> Response:
    """List the circuit breakers with their state, metrics and configuration

    `paytabs`, and a `callback:<host>` for each host that was called lately.
    """
    names = sorted({PROVIDER_PAYTABS, *fleet_metrics(web().persistence, _now())})
    return json_response(list_document([_document(name) for name in names], None))


@circuit_breakers.get("/<path:name>")
@needs(Role.READ)
def get_breaker(path: BreakerPath) -> Response:
    """Show one circuit breaker"""
    return json_response(_document(_known(path.name)))


@circuit_breakers.post("/<path:name>/force-open")
@needs(Role.ADMIN)
def force_open_breaker(path: BreakerPath, body: NoMembers) -> Response:
    """Keep all calls away from a service, in all processes, until its reset time-out has passed"""
    wait_ms = web().settings.breaker_reset_timeout_ms
    web().applications.operations.force_open(_known(path.name), g.api_key.name, wait_ms)
    return json_response(_document(path.name))


@circuit_breakers.post("/<path:name>/reset")
@needs(Role.ADMIN)
def reset_breaker(path: BreakerPath, body: NoMembers) -> Response:
    """Let calls through again, in all processes"""
    web().applications.operations.reset(_known(path.name), g.api_key.name)
    return json_response(_document(path.name))


def _known(name: str) -> str:
    is_known = (
        name == PROVIDER_PAYTABS
        or web().applications.operations.circuit(name) is not None
        or name in fleet_metrics(web().persistence, _now())
    )
    if not is_known:
        raise Problem("not_found", "no breaker has this name: list /v1/circuit-breakers")
    return name


def _document(name: str) -> dict[str, Any]:
    circuit: Circuit | None = web().applications.operations.circuit(name)
    known = fleet_metrics(web().persistence, _now())
    return {
        "name": name,
        "state": (circuit.status if circuit else CircuitStatus.CLOSED).value,
        "metrics": known.get(name) or CircuitBreakerMetrics().as_dict(),
        "configuration": breaker_config(web().settings, name).as_dict(),
        "nextRetryTime": public_value(circuit.next_retry_time if circuit else None, str),
        "lastFailureTime": public_value(circuit.last_failure_time if circuit else None, str),
    }


def _now() -> Any:
    return web().applications.clock.now()
