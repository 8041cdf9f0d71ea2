"""Every error that the API can answer with, as problem documents (RFC 9457, contract 3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from eventsourcing.application import AggregateNotFoundError
from eventsourcing.persistence import (
    IntegrityError,
    InterfaceError,
    OperationalError,
)
from flask import Flask, Response, current_app, g, request
from pydantic import ValidationError
from werkzeug.exceptions import (
    HTTPException,
    MethodNotAllowed,
    NotFound,
    RequestEntityTooLarge,
)

from domain.errors import DomainError, InvalidTransition
from interface.json_text import write_json

log = structlog.get_logger(__name__)

TYPE_BASE = "https://paysaga.example/problems/"
DATABASE_RETRY_AFTER_SECONDS = 5
CHALLENGE = {"WWW-Authenticate": "Bearer"}
"""What a 401 must name (RFC 9110, 11.6.1)."""


@dataclass(frozen=True)
class Kind:
    """One kind of problem: its HTTP status and a title that does not change."""

    status: int
    title: str


KINDS: dict[str, Kind] = {
    "invalid_json": Kind(400, "The body is not JSON"),
    "invalid_idempotency_key": Kind(400, "The Idempotency-Key is not valid"),
    "invalid_payload": Kind(400, "The notification cannot be read"),
    "bad_request": Kind(400, "The request cannot be understood"),
    "unreadable_request": Kind(400, "The request is not HTTP"),
    "unauthorized": Kind(401, "The API key is missing or wrong"),
    "invalid_signature": Kind(401, "The signature is missing or wrong"),
    "forbidden": Kind(403, "The API key may not do this"),
    "not_found": Kind(404, "There is no such thing"),
    "method_not_allowed": Kind(405, "The method is not allowed here"),
    "not_acceptable": Kind(406, "No acceptable form of the answer"),
    "invalid_transition": Kind(409, "The status does not allow this"),
    "contract_exists": Kind(409, "Another contract has this contractId"),
    "unknown_instalment": Kind(404, "The contract has no such instalment"),
    "rebuild_under_way": Kind(409, "The read model is being rebuilt"),
    "skip_refused": Kind(409, "The follower may not pass this event over"),
    "conflict": Kind(409, "Others keep changing the same thing"),
    "payload_too_large": Kind(413, "The body is too large"),
    "unsupported_media_type": Kind(415, "The content type is not supported"),
    "validation_error": Kind(422, "The request is not valid"),
    "invalid_amount": Kind(422, "The amount is not valid"),
    "invalid_currency": Kind(422, "The currency is not valid"),
    "capture_exceeds_authorized": Kind(422, "More than was authorized cannot be captured"),
    "capture_pending": Kind(409, "Another capture is under way"),
    "idempotency_key_reused": Kind(422, "The Idempotency-Key was used for something else"),
    "webhook_unreadable": Kind(409, "The webhook says nothing to rely on"),
    "unknown_payment": Kind(409, "No payment fits the webhook"),
    "refund_exceeds_captured": Kind(422, "More than was captured cannot be refunded"),
    "too_many_streams": Kind(503, "Too many streams are open"),
    "rate_limited": Kind(429, "The API key has sent too many requests"),
    "internal_error": Kind(500, "Something went wrong on our side"),
    "database_unavailable": Kind(503, "The database cannot be reached"),
}
"""Stable codes. A code that is not here is answered as `refused`, 409."""

NOWHERE = "nothing is found under this address: check the ids in it, and see /docs"

LISTED = frozenset({"payments", "confirmations"})
"""What is found by an id and listed under the same path."""

REFUSED = Kind(409, "The command was refused")
POINTERS = {
    "invalid_amount": "/amount",
    "invalid_currency": "/currency",
    "capture_exceeds_authorized": "/amount",
    "refund_exceeds_captured": "/amount",
}
MEMBER_NAME = "[key]"
"""What pydantic adds to the place of a member whose name is wrong, and not its value."""
HTTP_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "payload_too_large",
    415: "unsupported_media_type",
}


class Problem(Exception):
    """An error to be answered as a problem document. `code` is one of `KINDS`; `members` are
    further members of the document, `retry_after_seconds` becomes a header."""

    def __init__(
        self, code: str, detail: str, *, retry_after_seconds: int | None = None, **members: Any
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds
        self.members = members


def problem_response(code: str, detail: str, **members: Any) -> Response:
    """A problem document as a response."""
    kind = KINDS.get(code, REFUSED)
    document = {
        "type": TYPE_BASE + code,
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "instance": request.path,
        "code": code,
        "correlationId": g.get("correlation_id"),
        **members,
    }
    headers = CHALLENGE if code == "unauthorized" else None
    return Response(
        write_json(document),
        kind.status,
        content_type="application/problem+json",
        headers=headers,
    )


def invalid(pointer: str, detail: str) -> Problem:
    """The problem of one wrong field."""
    return Problem("validation_error", detail, errors=[{"pointer": pointer, "detail": detail}])


def validation_problem(error: ValidationError) -> Response:
    """422 with one entry per field that is wrong."""
    errors = [
        {
            "pointer": "".join(
                f"/{escaped(part)}" for part in details["loc"] if part != MEMBER_NAME
            ),
            "detail": details["msg"].removeprefix("Value error, "),
        }
        for details in error.errors(include_url=False, include_input=False)
    ]
    return problem_response("validation_error", listed(errors), errors=errors)


def listed(errors: Sequence[Mapping[str, str]]) -> str:
    """The first three errors of fields in one line."""
    return "; ".join(f"{entry['pointer'] or '/'}: {entry['detail']}" for entry in errors[:3])


def escaped(part: int | str) -> str:
    """One part of a JSON pointer (RFC 6901, section 3)."""
    return str(part).replace("~", "~0").replace("/", "~1")


def register_error_handlers(app: Flask) -> None:
    """Makes every error of the app a problem document: no stack trace, no HTML."""
    app.register_error_handler(Problem, _on_problem)
    app.register_error_handler(ValidationError, validation_problem)
    app.register_error_handler(DomainError, _on_domain_error)
    app.register_error_handler(AggregateNotFoundError, _on_not_found)
    app.register_error_handler(IntegrityError, _on_conflict)
    app.register_error_handler(OperationalError, _on_database_error)
    app.register_error_handler(InterfaceError, _on_database_error)
    app.register_error_handler(HTTPException, _on_http_error)
    app.register_error_handler(Exception, _on_bug)


def _on_problem(problem: Problem) -> Response:
    response = problem_response(problem.code, problem.detail, **problem.members)
    if problem.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(problem.retry_after_seconds)
    return response


def _on_domain_error(error: DomainError) -> Response:
    members: dict[str, Any] = {}
    if isinstance(error, InvalidTransition):
        members["currentStatus"] = error.current_status
        members["allowedStatuses"] = error.allowed_statuses
    if error.code in POINTERS:
        members["errors"] = [{"pointer": POINTERS[error.code], "detail": str(error)}]
    return problem_response(error.code, str(error), **members)


def _on_not_found(error: AggregateNotFoundError) -> Response:
    kind = request.path.split("/")[2] if request.path.startswith("/v1/") else "payments"
    name = kind.rstrip("s") if kind in LISTED else "payment"
    return problem_response("not_found", f"no {name} has this id: check it, or list /v1/{name}s")


def _on_conflict(error: IntegrityError) -> Response:
    return problem_response("conflict", "send the request again with the same Idempotency-Key")


def _on_database_error(error: Exception) -> Response:
    log.error("database_unavailable", error=str(error))
    response = problem_response(
        "database_unavailable", "nothing was done: send the request again in some seconds"
    )
    response.headers["Retry-After"] = str(DATABASE_RETRY_AFTER_SECONDS)
    return response


def _on_http_error(error: HTTPException) -> Response:
    if isinstance(error.response, Response):
        return error.response
    status = error.code or 500
    code = HTTP_CODES.get(status, "bad_request" if status < 500 else "internal_error")
    response = problem_response(code, _advice(error))
    for name, value in error.get_headers():
        if name in {"Allow", "Retry-After"}:
            response.headers[name] = value
    return response


def _advice(error: HTTPException) -> str:
    if isinstance(error, NotFound):
        return NOWHERE
    if isinstance(error, MethodNotAllowed):
        return f"use one of {', '.join(sorted(error.valid_methods or ()))}"
    if isinstance(error, RequestEntityTooLarge):
        return f"send at most {current_app.config['MAX_CONTENT_LENGTH']} bytes"
    return error.description or "send another request"


def _on_bug(error: Exception) -> Response:
    log.exception("request_failed", path=request.path)
    return problem_response(
        "internal_error", "this was recorded; tell us the correlationId if it happens again"
    )
