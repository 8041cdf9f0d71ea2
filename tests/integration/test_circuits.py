"""The breakers of many hosts, kept in step and let go of again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import pytest

from application.circuit_breaker import CircuitBreakerConfig, EventDrivenCircuitBreaker
from interface.clock import SystemClock
from system.breaker_metrics import figures_by_service, forget_old_metrics
from system.circuits import Circuits
from system.listener import Listener
from system.persistence.postgres import PostgresPersistence
from tests.integration.production_kit import applications_on, store, until


def breaker(host: str) -> EventDrivenCircuitBreaker:
    return EventDrivenCircuitBreaker(CircuitBreakerConfig(name=f"callback:{host}"))


@pytest.fixture
def persistence(database_url: str) -> Iterator[PostgresPersistence]:
    with store(database_url) as persistence:
        yield persistence


@contextmanager
def circuits_of(persistence: PostgresPersistence, process: str) -> Iterator[Circuits]:
    with ExitStack() as stack:
        applications = applications_on(persistence)
        listener = Listener(persistence.conninfo)
        circuits = Circuits(applications.operations, listener, process)
        stack.callback(applications.close)
        listener.start()
        stack.callback(listener.stop)
        circuits.start()
        stack.callback(circuits.stop)
        yield circuits


def shown(persistence: PostgresPersistence) -> set[str]:
    return set(figures_by_service(persistence, SystemClock().now()))


def recorded(circuits: Circuits, breaker: EventDrivenCircuitBreaker) -> str | None:
    circuit = circuits._operations.latest_change(str(breaker))
    return circuit.state.value if circuit else None


def test_a_host_that_is_met_later_is_kept_in_step_with_other_processes(
    persistence: PostgresPersistence,
) -> None:
    with circuits_of(persistence, "one") as one, circuits_of(persistence, "two") as two:
        early, late = breaker("shop.example.com"), breaker("shop.example.com")
        one.add(early)
        early.force_open()
        until(lambda: recorded(one, early) == "OPEN")
        two.add(late)
        until(lambda: late.state == "OPEN")
        late.reset()
        until(lambda: early.state == "CLOSED")


def test_a_host_that_is_dropped_is_shown_no_more_and_its_record_stays(
    persistence: PostgresPersistence,
) -> None:
    with circuits_of(persistence, "one") as one:
        dropped, kept = breaker("dropped.example.com"), breaker("kept.example.com")
        one.add(dropped)
        one.add(kept)
        dropped.force_open()
        until(lambda: shown(persistence) == {dropped.name, kept.name})
        until(lambda: recorded(one, dropped) == "OPEN")
        one.remove(dropped)
        until(lambda: shown(persistence) == {kept.name})
        again = breaker("dropped.example.com")
        one.add(again)
        assert again.state == "OPEN"


def test_a_process_that_stops_takes_its_metrics_back(persistence: PostgresPersistence) -> None:
    with circuits_of(persistence, "one") as one:
        one.add(breaker("shop.example.com"))
        until(lambda: shown(persistence) == {"callback:shop.example.com"})
    assert shown(persistence) == set()


def test_metrics_of_a_process_that_was_killed_are_removed_after_a_day(
    persistence: PostgresPersistence,
) -> None:
    now = SystemClock().now()
    with persistence.connection() as connection:
        for process, age in (("dead", timedelta(days=2)), ("alive", timedelta(hours=1))):
            connection.execute(
                "INSERT INTO breaker_metrics VALUES (%s, 'callback:x', '{}', NULL, %s)",
                (process, now - age),
            )
        forget_old_metrics(persistence, now)
        left = connection.execute("SELECT process FROM breaker_metrics").fetchall()
    assert [row["process"] for row in left] == ["alive"]
