"""Answers requests that gunicorn cannot even parse with problem documents instead of HTML."""

import socket

from gunicorn import util

from interface.json_text import write_json

TYPE = "https://paysaga.example/problems/unreadable_request"


def write_problem(client: socket.socket, status: int, reason: str, message: str) -> None:
    """Takes the place of `gunicorn.util.write_error` (contract 3: no HTML, whatever was sent)."""
    document = {
        "type": TYPE,
        "title": reason,
        "status": status,
        "detail": message or "the request could not be read",
        "code": "unreadable_request" if status < 500 else "internal_error",
    }
    body = write_json(document)
    head = (
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\n"
        f"Content-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    util.write_nonblock(client, head.encode("latin-1") + body)  # type: ignore[no-untyped-call]


def answer_with_problems() -> None:
    """From here on gunicorn answers so."""
    util.write_error = write_problem
