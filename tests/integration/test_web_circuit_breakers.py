"""Breakers over HTTP, and that all processes share them: opened in one, opened in all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
import requests

from application.circuit_breaker import EventDrivenCircuitBreaker
from domain.circuit import Circuit
from interface.bootstrap import (
    Worker,
    breaker_config,
    build_applications,
    build_gateway,
    open_persistence,
)
from interface.settings import Settings
from system.circuits import Circuits
from system.listener import Listener
from tests.e2e.house import SECRETS, Api, House, house, house_on, until

PAYTABS = "/v1/circuit-breakers/paytabs"
LONG_MS = 600_000
METRICS = {
    *("totalRequests", "successfulRequests", "failedRequests", "timeouts", "slowCalls"),
    *("rejectedRequests", "averageResponseTime", "p95ResponseTime", "p99ResponseTime"),
    *("errorRate", "successRate", "slowCallRate", "uptime", "throughput"),
}
CONFIGURATION = {
    "name": "paytabs",
    "errorThreshold": 50,
    "timeout": 30_000,
    "resetTimeout": LONG_MS,
    "minimumRequests": 10,
    "maxConcurrentRequests": 5,
    "volumeThreshold": 20,
    "slowCallThreshold": 10_000,
    "slowCallRateThreshold": 50,
    "enableEventEmission": True,
    "enableMetrics": True,
    "window": 60_000,
}


@pytest.fixture(scope="module")
def shared(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server, breaker_reset_timeout_ms=LONG_MS) as shared:
        yield shared


@pytest.fixture
def home(shared: House) -> Iterator[House]:
    """A house whose breaker is closed before and after the test."""
    yield shared
    assert operate(shared.api, "reset").status_code == 200
    until(lambda: state_of(shared.api) == "CLOSED")


@dataclass
class Process:
    """As much of a process as has to do with breakers."""

    circuits: Circuits
    listener: Listener

    @property
    def breaker(self) -> EventDrivenCircuitBreaker:
        [breaker] = [b for b in self.circuits.breakers() if b.name == "paytabs"]
        return breaker

    def start(self) -> None:
        self.listener.start()
        self.circuits.start()


@contextmanager
def process(settings: Settings, **breakers: EventDrivenCircuitBreaker) -> Iterator[Process]:
    """A process on the house's database, not started yet."""
    with ExitStack() as stack:
        persistence = open_persistence(settings)
        stack.callback(persistence.close)
        applications = build_applications(settings, persistence)
        listener = Listener(settings.conninfo)
        circuits = Circuits(applications.operations, listener, f"test:{uuid4().hex}")
        for breaker in (build_gateway(settings).breaker, *breakers.values()):
            circuits.add(breaker)
        made = Process(circuits, listener)
        try:
            yield made
        finally:
            if listener._thread.is_alive():
                circuits.stop()
                listener.stop()


def operate(api: Api, action: str, name: str = "paytabs") -> requests.Response:
    return api.request("POST", f"/v1/circuit-breakers/{name}/{action}")


def state_of(api: Api) -> str:
    return str(api.get(PAYTABS).json()["state"])


def changes(home: House) -> list[str]:
    """What was recorded of the breaker, oldest first."""
    return [event.event_type.value for event in change_events(home)]


def change_events(home: House) -> list[Circuit.Changed]:
    events = [e for e in home.events_of("Operations") if isinstance(e, Circuit.Changed)]
    return [event for event in events if event.service_name == "paytabs"]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


# Shown


def test_a_breaker_is_shown_under_the_names_of_the_contract(home: House) -> None:
    shown = home.api.get(PAYTABS)
    assert shown.status_code == 200
    breaker = shown.json()
    assert set(breaker) == {
        *("name", "state", "metrics", "configuration", "nextRetryTime", "lastFailureTime"),
    }
    assert (breaker["name"], breaker["state"]) == ("paytabs", "CLOSED")
    assert set(breaker["metrics"]) == METRICS
    assert breaker["configuration"] == CONFIGURATION
    assert breaker["nextRetryTime"] is None


def test_the_list_holds_each_breaker_once(home: House) -> None:
    answer = home.api.get("/v1/circuit-breakers").json()
    assert answer["nextCursor"] is None
    assert [breaker["name"] for breaker in answer["data"]] == ["paytabs"]
    assert answer["data"][0]["configuration"] == CONFIGURATION


def test_calls_of_workers_are_counted_in_the_metrics(home: House) -> None:
    before = home.api.get(PAYTABS).json()["metrics"]["totalRequests"]
    home.api.created()

    def counted() -> Any:
        metrics = home.api.get(PAYTABS).json()["metrics"]
        return metrics["totalRequests"] > before and metrics["successfulRequests"] > 0

    until(counted)


@pytest.mark.parametrize("name", ["nobody", "paytabs%20", "PAYTABS", "paytabs/x", "callback:a.b:1"])
def test_a_breaker_that_nobody_has_is_not_found(home: House, name: str) -> None:
    before = home.recorded()["Operations"]
    for answer in (
        home.api.get(f"/v1/circuit-breakers/{name}"),
        operate(home.api, "force-open", name),
        operate(home.api, "reset", name),
    ):
        assert answer.status_code == 404
        assert answer.json()["code"] == "not_found"
    assert home.recorded()["Operations"] == before


@pytest.mark.parametrize("name", ["callback:shop.example.com", "callback:[2001:db8::1]:8443"])
def test_a_breaker_may_have_any_hosts_name(home: House, name: str) -> None:
    other = EventDrivenCircuitBreaker(breaker_config(home.settings, name))
    with process(home.settings, other=other) as one:
        one.start()
        names = f"/v1/circuit-breakers/{name}"
        until(lambda: home.api.get(names).status_code == 200)
        listed = home.api.data("/v1/circuit-breakers")
        assert [b["name"] for b in listed if b["name"] == name] == [name]
        assert operate(home.api, "force-open", name).json()["state"] == "OPEN"
        until(lambda: other.state == "OPEN")
        assert one.breaker.state == "CLOSED"
        assert operate(home.api, "reset", name).json()["state"] == "CLOSED"
        until(lambda: other.state == "CLOSED")


# An operator's hand


@pytest.mark.parametrize("role", ["read", "write"])
@pytest.mark.parametrize("action", ["force-open", "reset"])
def test_only_an_admin_may_move_a_breaker(home: House, role: str, action: str) -> None:
    before = changes(home)
    answer = operate(Api(home.url, SECRETS[role]), action)
    assert answer.status_code == 403
    assert answer.json()["code"] == "forbidden"
    assert changes(home) == before


def test_an_operator_opens_and_closes_a_breaker(home: House) -> None:
    before = len(changes(home))
    opened = operate(home.api, "force-open").json()
    assert opened["state"] == "OPEN"
    wait = moment(opened["nextRetryTime"]) - datetime.now(UTC)
    assert timedelta(0) < wait <= timedelta(milliseconds=LONG_MS)
    closed = operate(home.api, "reset").json()
    assert (closed["state"], closed["nextRetryTime"]) == ("CLOSED", None)
    assert changes(home)[before:] == ["circuit_breaker.opened", "circuit_breaker.closed"]
    last = change_events(home)[-1]
    assert (last.actor, last.metadata.user_id) == ("admin", "admin")


def test_forced_open_again_it_waits_a_full_time_again_in_all_processes(home: House) -> None:
    before = len(changes(home))
    with process(home.settings) as other:
        other.start()
        first, last = (operate(home.api, "force-open").json()["nextRetryTime"] for _ in range(2))
        assert moment(first) < moment(last)
        until(lambda: other.breaker.next_retry_time == moment(last))
    assert changes(home)[before:] == ["circuit_breaker.opened"] * 2


def test_what_an_operator_did_is_recorded_with_the_settings_of_the_breaker(home: House) -> None:
    for action in ("reset", "force-open", "reset"):
        operate(home.api, action)
        last = change_events(home)[-1]
        assert (last.actor, last.configuration) == ("admin", CONFIGURATION)


def test_the_last_failure_of_any_worker_is_shown_before_the_breaker_opens(
    database_url: str,
) -> None:
    with house(database_url, create_wait_ms=0) as home:
        home.customer.behave(status=503)
        began = datetime.now(UTC)
        home.api.created()
        until(lambda: home.api.get(PAYTABS).json()["metrics"]["failedRequests"])
        shown = home.api.get(PAYTABS).json()
        assert shown["state"] == "CLOSED"
        assert began < moment(shown["lastFailureTime"]) <= datetime.now(UTC)


def test_while_it_is_open_a_payment_is_taken_at_once_and_says_when_to_look_again(
    database_url: str,
) -> None:
    with house(database_url, create_wait_ms=60_000, breaker_reset_timeout_ms=LONG_MS) as home:
        operate(home.api, "force-open")
        until(lambda: home.context.circuits.retry_after_seconds("paytabs"))
        answer = home.api.create()
        assert answer.status_code == 201
        payment = answer.json()
        assert (payment["status"], payment["nextAction"]) == ("initiated", None)
        assert 1 <= int(answer.headers["Retry-After"]) <= LONG_MS // 1000
        assert home.customer.transactions(payment["paymentId"]) == []
        operate(home.api, "reset")
        until(lambda: home.context.circuits.retry_after_seconds("paytabs") is None)


def test_an_open_breaker_shows_in_readyz_and_is_no_reason_not_to_be_ready(home: House) -> None:
    operate(home.api, "force-open")
    checks = {check["name"]: check for check in home.api.get("/readyz").json()["checks"]}
    assert checks["breaker:paytabs"]["ok"]
    assert checks["breaker:paytabs"]["detail"] == "OPEN"


# All processes


def test_other_processes_follow_what_was_recorded_in_one(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("system.circuits.POLL_SECONDS", 600)
    with process(home.settings) as one, process(home.settings) as other:
        one.start()
        other.start()
        operate(home.api, "force-open")
        until(lambda: one.breaker.state == other.breaker.state == "OPEN")
        assert one.breaker.next_retry_time == other.breaker.next_retry_time
        operate(home.api, "reset")
        until(lambda: one.breaker.state == other.breaker.state == "CLOSED")


def test_a_breaker_that_opens_in_one_process_opens_in_the_others(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("system.circuits.POLL_SECONDS", 600)
    with process(home.settings) as one, process(home.settings) as other:
        one.start()
        other.start()
        before = len(changes(home))
        one.breaker.force_open()
        until(lambda: other.breaker.state == "OPEN")
        until(lambda: state_of(home.api) == "OPEN")
        assert changes(home)[before:] == ["circuit_breaker.opened"]


def test_a_new_process_begins_with_the_recorded_state(home: House) -> None:
    shown = operate(home.api, "force-open").json()
    with process(home.settings) as fresh:
        assert fresh.breaker.state == "OPEN"
        assert fresh.breaker.next_retry_time == moment(shown["nextRetryTime"])
    operate(home.api, "reset")
    with process(home.settings) as fresh:
        assert fresh.breaker.state == "CLOSED"


def test_two_processes_that_see_the_same_change_record_it_once(home: House) -> None:
    with process(home.settings) as one, process(home.settings) as other:
        before = len(changes(home))
        one.breaker.force_open()
        other.breaker.force_open()
        one.start()
        other.start()
        until(lambda: changes(home)[before:])
        one.breaker.reset()
        until(lambda: other.breaker.state == "CLOSED")
        assert changes(home)[before:] == ["circuit_breaker.opened", "circuit_breaker.closed"]


# A gateway that falls ill and gets well again


def test_a_breaker_closes_by_itself_when_the_gateway_is_well_again(database_url: str) -> None:
    quick = {
        "breaker_reset_timeout_ms": 300,
        "breaker_minimum_requests": 4,
        "breaker_volume_threshold": 4,
        "breaker_max_concurrent_requests": 2,
    }
    with house(database_url, create_wait_ms=0, **quick) as home, ExitStack() as stack:
        second = Worker(home.settings)
        second.start()
        stack.callback(second.stop)
        home.customer.behave(status=503, perform=False)
        ids = [home.api.created()["paymentId"] for _ in range(8)]
        until(lambda: "circuit_breaker.opened" in changes(home))
        opened = next(e for e in home.events_of("Operations") if isinstance(e, Circuit.Opened))
        assert opened.actor is None
        assert opened.error_rate == 100.0
        assert opened.request_count >= 4
        home.customer.behave_well()
        for payment_id in ids:
            home.api.becomes(payment_id, "processing")
            assert len(home.customer.transactions(payment_id)) == 1
        until(lambda: state_of(home.api) == "CLOSED")
        recorded = changes(home)
        assert recorded[-2:] == ["circuit_breaker.half_open", "circuit_breaker.closed"]
        for one, following in pairwise(recorded):
            assert one != following
