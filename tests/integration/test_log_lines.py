"""The line of each request, and of each transition of a saga, as they are written."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from interface.logging_setup import configure_logging
from tests.e2e.house import DECLINED_CARD, Api, House, house, until
from tests.integration.parked_sagas import park
from tests.unit.log_calls import ALWAYS, log_lines

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACED = {
    "X-Correlation-Id": "order-1001",
    "traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01",
}


@pytest.fixture
def home(database_url: str) -> Iterator[House]:
    handlers, level = logging.root.handlers, logging.root.level
    with house(database_url) as home:
        yield home
        logging.root.handlers = handlers
        logging.root.setLevel(level)
        logging.captureWarnings(False)
        structlog.reset_defaults()


class Lines:
    """What was written to stderr so far."""

    def __init__(self, home: House, capsys: pytest.CaptureFixture[str], level: str) -> None:
        capsys.readouterr()
        configure_logging(home.settings.model_copy(update={"log_level": level}), "test")
        self._capsys = capsys
        self._all: list[dict[str, Any]] = []

    def of(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """The lines of that name with those fields."""
        written = self._capsys.readouterr().err.splitlines()
        self._all += [json.loads(line) for line in written if line.startswith("{")]
        return [
            line for line in self._all if line["event"] == event and fields.items() <= line.items()
        ]


def test_each_request_has_one_line_with_the_documented_fields(
    home: House, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = Lines(home, capsys, "INFO")
    payment = home.api.created(TRACED)
    home.api.cancel(payment["paymentId"])
    [created] = lines.of("request", route="/v1/payments")
    [cancelled] = lines.of("request", route="/v1/payments/<uuid:payment_id>/cancel")
    own = log_lines()["request"].fields
    assert set(created) == ALWAYS | own | {"correlation_id", "trace_id"}
    assert set(cancelled) == ALWAYS | own | {"correlation_id"}
    assert (created["method"], created["status"], created["key"]) == ("POST", 201, "admin")
    assert (created["correlation_id"], created["trace_id"]) == ("order-1001", TRACE_ID)
    assert created["duration_ms"] > 0
    assert cancelled["payment_id"] == payment["paymentId"]
    assert lines.of("request") == [created, cancelled]


def test_the_level_of_a_request_says_whether_somebody_has_to_look(
    home: House, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = Lines(home, capsys, "DEBUG")
    assert Api(home.url, "wrong-secret").get("/v1/payments").status_code == 401
    assert home.api.get("/healthz").status_code == 200
    monkeypatch.setattr(home.context.queries, "list", None)
    assert home.api.get("/v1/payments").status_code == 500
    levels = {line["status"]: line["level"] for line in lines.of("request")}
    assert levels == {401: "info", 200: "debug", 500: "error"}
    [failed] = lines.of("request_failed")
    [line] = lines.of("request", status=500)
    assert failed["correlation_id"] == line["correlation_id"]
    assert lines.of("request", status=401)[0]["key"] is None


def test_at_level_warning_good_requests_and_sagas_are_quiet(
    home: House, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = Lines(home, capsys, "WARNING")
    payment = home.api.created()
    home.customer.pay(payment["transactionRef"])
    home.api.becomes(payment["paymentId"], "completed")
    assert lines.of("request") == lines.of("saga_transition") == []


def test_each_transition_of_a_saga_has_a_line_with_both_ids(
    home: House, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = Lines(home, capsys, "INFO")
    payment = home.api.created(TRACED)
    mine = {"payment_id": payment["paymentId"]}
    home.customer.pay(payment["transactionRef"])
    until(lambda: lines.of("saga_transition", transition="completed", **mine))
    told = lines.of("saga_transition", **mine)
    assert set(told[0]) == ALWAYS | log_lines()["saga_transition"].fields
    assert [(line["transition"], line["step"]) for line in told] == [
        ("started", None),
        ("step_succeeded", "create_record"),
        ("step_succeeded", "open_at_gateway"),
        ("step_succeeded", "await_customer"),
        ("step_succeeded", "settle"),
        ("step_succeeded", "confirm"),
        ("completed", None),
    ]
    assert {line["correlation_id"] for line in told[:3]} == {"order-1001"}
    assert told[0]["trace_id"] == TRACE_ID
    assert {line["level"] for line in told} == {"info"}


def test_what_is_undone_is_a_warning(home: House, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(home, capsys, "INFO")
    payment = home.api.created()
    home.customer.pay(payment["transactionRef"], DECLINED_CARD)
    home.api.becomes(payment["paymentId"], "failed")
    until(lambda: lines.of("saga_transition", transition="compensated"))
    for transition in ("compensation_started", "compensated"):
        [line] = lines.of("saga_transition", transition=transition)
        assert line["level"] == "warning"


def test_a_saga_that_waits_for_a_person_is_an_error_until_somebody_lets_it_go_on(
    home: House, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = Lines(home, capsys, "INFO")
    payment_id = home.api.created()["paymentId"]
    park(home, payment_id, "REF-1")
    home.api.saga_becomes(payment_id, "parked")
    mine = {"payment_id": payment_id}
    [parked] = lines.of("saga_transition", transition="parked", **mine)
    assert (parked["level"], parked["reason"]) == ("error", "odd")
    headers = {"X-Correlation-Id": "desk-7"}
    path = f"/v1/payments/{payment_id}/saga/retry"
    assert home.api.request("POST", path, headers=headers).status_code == 200
    [resumed] = lines.of("saga_transition", transition="resumed", **mine)
    assert (resumed["level"], resumed["correlation_id"]) == ("warning", "desk-7")
