"""The breaker as the `circuitbreaker` package's own users see it."""

import pytest
from circuitbreaker import CircuitBreaker, CircuitBreakerError, CircuitBreakerMonitor

from application.circuit_breaker import CircuitBreakerConfig, EventDrivenCircuitBreaker
from tests.unit.circuit_breaker_kit import GatewayDown, bench


@pytest.fixture(autouse=True)
def _empty_monitor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CircuitBreakerMonitor, "circuit_breakers", {})


def test_it_is_one_of_the_package() -> None:
    b = bench()
    assert isinstance(b.breaker, CircuitBreaker)
    b.open()
    assert isinstance(b.refused(), CircuitBreakerError)


def test_the_monitor_lists_it_from_its_making_on() -> None:
    b = bench(name="callback:shop.example.com")
    assert CircuitBreakerMonitor.get("callback:shop.example.com") is b.breaker
    assert list(CircuitBreakerMonitor.get_closed()) == [b.breaker]


def test_the_monitor_lists_an_unnamed_one_once_it_has_decorated() -> None:
    breaker = EventDrivenCircuitBreaker(CircuitBreakerConfig())
    assert list(CircuitBreakerMonitor.get_circuits()) == []
    breaker(len)
    assert CircuitBreakerMonitor.get("len") is breaker


def test_the_monitor_sees_it_open_and_close() -> None:
    b = bench()
    b.open()
    assert list(CircuitBreakerMonitor.get_open()) == [b.breaker]
    b.breaker.reset()
    assert CircuitBreakerMonitor.all_closed()


def test_a_closed_breaker_has_nothing_to_wait_for() -> None:
    b = bench()
    assert (b.breaker.open_remaining, b.breaker.open_until) == (0, b.time.wall())


def test_the_failures_in_the_window_and_the_last_one_are_shown() -> None:
    b = bench()
    b.fail(2)
    assert b.breaker.failure_count == 2
    assert isinstance(b.breaker.last_failure, GatewayDown)
    b.time.advance_ms(60_000)
    assert b.breaker.failure_count == 0


def test_its_text_is_its_name() -> None:
    assert str(bench().breaker) == "paytabs"
    assert str(bench(name=None).breaker) == "unnamed_CircuitBreaker"


def test_its_attributes_are_few_enough_to_be_read_fast() -> None:
    assert len(vars(bench().breaker)) < 30
