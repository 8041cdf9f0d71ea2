"""Over HTTP a damaged log is a plain 500: what is wrong with it stays inside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.house import House, house_on

DAMAGES = {
    "no event": r"UPDATE payments_events SET state = '\x00ff' WHERE originator_version = 1",
    "unknown topic": "UPDATE payments_events SET topic = 'domain.payment:Payment.Lost' WHERE true",
    "strange topic": "UPDATE payments_events SET topic = 'os:system' WHERE true",
    "first one gone": "DELETE FROM payments_events WHERE originator_version = 1",
}
STATES = ("/v1/payments/{id}", "/v1/payments/{id}?version=2")
HISTORY = "/v1/payments/{id}/events"
BARE = {"type", "title", "status", "detail", "instance", "code", "correlationId"}


@pytest.fixture(scope="module")
def home(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server) as home:
        yield home


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_a_damaged_log_is_answered_without_what_is_inside(home: House, damage: str) -> None:
    payment_id = home.api.created()["paymentId"]
    with home.context.persistence.connection() as connection:
        connection.execute(f"{DAMAGES[damage]} AND originator_id = %s".encode(), (payment_id,))
    for path in STATES if damage == "first one gone" else (*STATES, HISTORY):
        answer = home.api.request("GET", path.format(id=payment_id))
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (500, "internal_error")
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert problem["correlationId"] == answer.headers["X-Correlation-Id"]
        assert set(problem) == BARE
        assert problem["detail"].startswith("this was recorded; tell us the correlationId")
