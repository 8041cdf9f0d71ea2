"""Answers requests that gunicorn cannot even parse with problem documents instead of HTML."""

import socket
from uuid import uuid4

import structlog
from gunicorn import util

from interface.json_text import write_json

log = structlog.get_logger(__name__)

TYPE_BASE = "https://paysaga.example/problems/"


def write_problem(client: socket.socket, status: int, reason: str, message: str) -> None:
    """Takes the place of `gunicorn.util.write_error` (contract 3: no HTML, whatever was sent).
    Nobody knows which path was meant: the problem is told by its own id."""
    code = "unreadable_request" if status < 500 else "internal_error"
    correlation_id = str(uuid4())
    log.warning(code, correlation_id=correlation_id, status=status, reason=message)
    document = {
        "type": TYPE_BASE + code,
        "title": reason,
        "status": status,
        "detail": message or "the request could not be read",
        "instance": f"urn:uuid:{correlation_id}",
        "code": code,
        "correlationId": correlation_id,
    }
    body = write_json(document)
    head = (
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\n"
        f"X-Correlation-Id: {correlation_id}\r\nX-Content-Type-Options: nosniff\r\n"
        f"Content-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    util.write_nonblock(client, head.encode("latin-1") + body)  # type: ignore[no-untyped-call]


def answer_with_problems() -> None:
    """From here on gunicorn answers so."""
    util.write_error = write_problem
