"""Dead hosts hold up nobody's confirmations but their own."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from circuitbreaker import CircuitBreakerMonitor

from application.circuit_breaker import CircuitBreakerConfig, EventDrivenCircuitBreaker
from application.confirmations import Delivery
from application.payment_gateway import NotAttempted
from interface import guarded_merchants
from interface.guarded_merchants import GuardedMerchants, breaker_name
from tests.unit.circuit_breaker_kit import StillClock

SHOP = "https://shop.example.com/callback"
OTHER = "https://other.example.com/callback"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Circuits:
    """Remembers which breakers are kept in step."""

    def __init__(self) -> None:
        self.kept: dict[str, EventDrivenCircuitBreaker] = {}

    def add(self, breaker: EventDrivenCircuitBreaker) -> None:
        self.kept[str(breaker.name)] = breaker

    def remove(self, breaker: EventDrivenCircuitBreaker) -> None:
        del self.kept[str(breaker.name)]
        breaker.retire()


class Endpoints:
    """Answers by address; a function is called for the answer."""

    def __init__(self) -> None:
        self.answers: dict[str, Delivery | Callable[[], Delivery]] = {}
        self.calls: list[str] = []

    def send(self, url: str, message_id: str, body: bytes, sent_at: datetime) -> Delivery:
        self.calls.append(url)
        answer = self.answers.get(url, Delivery(200))
        return answer() if callable(answer) else answer


class Bench:
    """Guarded merchants with a clock that stands still until it is moved."""

    def __init__(self, places: int = 8) -> None:
        self.endpoints, self.circuits, self.seconds = Endpoints(), Circuits(), 0.0
        self.guarded = GuardedMerchants(
            self.endpoints,
            lambda name: CircuitBreakerConfig(name=name),
            self.circuits,
            places=places,
            clock=lambda: self.seconds,
        )

    def send(self, url: str = SHOP) -> Delivery:
        return self.guarded.send(url, "msg-1", b"{}", NOW)

    def rejected(self, url: str = SHOP) -> NotAttempted:
        with pytest.raises(NotAttempted) as caught:
            self.send(url)
        return caught.value

    def fail(self, times: int, answer: Delivery | None = None) -> None:
        self.endpoints.answers[SHOP] = answer or Delivery(None, "refused")
        for _ in range(times):
            self.send()

    def state(self, name: str = "callback:shop.example.com") -> str:
        return str(self.circuits.kept[name].state)

    @contextmanager
    def under_way(self, url: str, count: int) -> Any:
        """So many messages to an address are on their way, and not answered for the block."""
        answered, begun = threading.Event(), threading.Semaphore(0)

        def hang() -> Delivery:
            begun.release()
            answered.wait(30)
            return Delivery(200)

        self.endpoints.answers[url] = hang
        with ThreadPoolExecutor(count) as pool:
            sent = [pool.submit(self.send, url) for _ in range(count)]
            for _ in range(count):
                assert begun.acquire(timeout=30)
            yield
            answered.set()
            assert all(message.result().is_success for message in sent)
        self.endpoints.answers[url] = Delivery(200)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://shop.example.com/a?b=c", "callback:shop.example.com"),
        ("https://SHOP.example.com:443/", "callback:shop.example.com"),
        ("http://shop.example.com:80/", "callback:shop.example.com"),
        ("https://shop.example.com:8443/", "callback:shop.example.com:8443"),
        ("http://[2001:db8::1]/", "callback:[2001:db8::1]"),
    ],
)
def test_there_is_one_breaker_for_each_host(url: str, name: str) -> None:
    bench = Bench()
    bench.send(url)
    assert list(bench.circuits.kept) == [name]


def test_a_very_long_host_has_a_breaker_too() -> None:
    name = breaker_name(
        "a" * 60 + "." + "b" * 60 + "." + "c" * 60 + "." + "d" * 60 + ".example.com"
    )
    assert len(name) == 200
    assert name.endswith(".example.com")
    assert name.startswith("callback:")


def test_a_dead_host_is_left_alone_and_others_are_not() -> None:
    bench = Bench()
    bench.fail(20)
    assert bench.state() == "OPEN"
    rejection = bench.rejected()
    assert rejection.reason == "circuit_open"
    assert rejection.retry_after_ms >= 59_000
    assert len(bench.endpoints.calls) == 20
    assert bench.send(OTHER) == Delivery(200)


@pytest.mark.parametrize("status", [500, 502, 503, 599])
def test_a_5xx_is_a_failure_of_the_host(status: int) -> None:
    bench = Bench()
    bench.fail(20, Delivery(status))
    assert bench.state() == "OPEN"


@pytest.mark.parametrize("status", [301, 307, 400, 401, 404, 410, 429])
def test_a_host_that_answers_is_not_dead_though_it_takes_nothing(status: int) -> None:
    bench = Bench()
    bench.fail(40, Delivery(status))
    assert bench.state() == "CLOSED"
    assert bench.send() == Delivery(status)


def test_a_429_with_retry_after_is_a_pause_for_the_whole_host() -> None:
    bench = Bench()
    answer = Delivery(429, retry_after=timedelta(seconds=90))
    bench.endpoints.answers[SHOP] = answer
    assert bench.send() == answer
    assert 89_000 <= bench.rejected().retry_after_ms <= 92_000
    assert bench.state() == "CLOSED"
    assert bench.send(OTHER).is_success


def test_an_address_that_is_none_has_no_breaker() -> None:
    bench = Bench()
    delivery = bench.send("ftp://shop.example.com/")
    assert delivery.status_code is None
    assert "only http and https" in str(delivery.error)
    assert bench.circuits.kept == {}


def test_a_host_that_is_not_known_to_be_prompt_may_have_two_messages_under_way() -> None:
    bench = Bench()
    with bench.under_way(SHOP, 2):
        assert bench.rejected().reason == "host_busy"
        assert bench.send(OTHER).is_success


def test_a_prompt_host_may_use_half_of_the_places() -> None:
    bench = Bench()
    bench.send()
    with bench.under_way(SHOP, 4):
        assert bench.rejected().reason == "host_busy"
        assert bench.send(OTHER).is_success


def test_hosts_that_hang_leave_half_of_the_places_to_those_that_work() -> None:
    bench = Bench(places=4)
    bench.send(OTHER)
    with bench.under_way(SHOP, 2):
        assert bench.rejected("https://third.example.com/").reason == "host_busy"
        assert bench.send(OTHER).is_success


def test_a_host_that_answered_late_is_not_prompt() -> None:
    bench = Bench()

    def late() -> Delivery:
        bench.seconds += 3.0
        return Delivery(200)

    bench.endpoints.answers[SHOP] = late
    bench.send()
    with bench.under_way(SHOP, 2):
        bench.rejected()


def test_messages_that_are_turned_away_come_back_one_after_another() -> None:
    bench = Bench()
    bench.fail(20)
    waits = [bench.rejected().retry_after_ms for _ in range(50)]
    assert waits == sorted(set(waits))
    assert waits[-1] <= 60_000 + 30_000


def test_the_longer_a_trial_hangs_the_longer_other_messages_wait() -> None:
    bench, clock = Bench(), StillClock()
    bench.guarded._config_for = lambda name: CircuitBreakerConfig(
        name=name, max_concurrent_requests=1, timeout_ms=30_000
    )
    bench.guarded._breakers_clock = clock
    bench.guarded._jitter = lambda _low, high: high
    bench.send()
    bench.circuits.kept["callback:shop.example.com"].follow("HALF_OPEN")
    with bench.under_way(SHOP, 1):
        for clock.seconds, wait_ms in ((0, 2_000), (4, 8_000), (20, 15_000)):
            rejection = bench.rejected()
            assert rejection.reason == "circuit_open"
            assert wait_ms < rejection.retry_after_ms <= wait_ms + 1000


def test_the_number_of_hosts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded_merchants, "HOSTS_MAX", 3)
    bench = Bench()
    bench.fail(20)
    for number in range(5):
        bench.send(f"https://shop-{number}.example.com/")
    assert list(bench.circuits.kept) == [
        "callback:shop.example.com",
        "callback:shop-3.example.com",
        "callback:shop-4.example.com",
    ]
    assert CircuitBreakerMonitor.get("callback:shop-0.example.com") is None
    assert bench.rejected().reason == "circuit_open"


def test_a_host_that_is_being_called_is_never_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded_merchants, "HOSTS_MAX", 1)
    bench = Bench()
    with bench.under_way(SHOP, 1):
        bench.send(OTHER)
        bench.send("https://third.example.com/")
        assert "callback:shop.example.com" in bench.circuits.kept
        assert "callback:other.example.com" not in bench.circuits.kept
