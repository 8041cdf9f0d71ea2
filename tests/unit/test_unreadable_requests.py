"""What gunicorn cannot read as a request is answered with a problem document, too."""

import http.client
import json
import socket

import pytest

from interface.roles.unreadable_requests import write_problem
from interface.web.answers import ProblemAnswer
from interface.web.problems import KINDS, TYPE_BASE


@pytest.mark.parametrize(("status", "code"), [(400, "unreadable_request"), (500, "internal_error")])
def test_a_request_that_cannot_be_read_is_answered_with_a_problem(status: int, code: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        write_problem(ours, status, "Bad Request", "Invalid HTTP Header: 'CONTENT-LENGTH'")
        answer = http.client.HTTPResponse(theirs)
        answer.begin()
        problem = json.loads(answer.read())
    ProblemAnswer.model_validate(problem)
    assert answer.status == problem["status"] == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Correlation-Id"] == problem["correlationId"]
    assert problem["instance"] == f"urn:uuid:{problem['correlationId']}"
    assert problem["detail"] == "Invalid HTTP Header: 'CONTENT-LENGTH'"
    assert problem["code"] == code
    assert code in KINDS
    assert problem["type"] == TYPE_BASE + code
