"""What each outcome of a gateway call tells the breaker before it (contract 8)."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from heapq import heapreplace
from typing import Any, cast

import pytest

from application.circuit_breaker import CircuitBreakerConfig
from application.payment_gateway import (
    FollowUpRequest,
    HostedPage,
    NotAttempted,
    Outcome,
    PaymentGateway,
    Refusal,
    Refused,
    Succeeded,
    Unknown,
)
from application.retrying import Retrying
from domain.gateway_report import GatewayReport, TransactionKind, TransactionStatus
from domain.money import money
from interface.bootstrap import bulkhead_places
from interface.coming_back import Jitter
from interface.guarded_gateway import GuardedGateway, guard
from tests.unit.circuit_breaker_kit import StillClock

FOLLOW_UP = FollowUpRequest(
    cart_id="cart-1",
    amount=money("149.50", "AED"),
    description="Refund",
    transaction_ref="TST-1",
    callback_url="https://pay.example.com/hook",
)
DECLINED = Succeeded(
    reports=(GatewayReport("TST-2", TransactionKind.REFUND, TransactionStatus.DECLINED, "cart-1"),)
)
PAGE = Succeeded(page=HostedPage("TST-3", "https://pay.example.com/page"))
OUR_MISTAKES = (Refusal.INVALID_REQUEST, Refusal.AUTHENTICATION, Refusal.DUPLICATE)


class Gateway:
    """Answers every call with the outcome set last; `during` runs while a call is under way."""

    name = "paytabs"

    def __init__(self) -> None:
        self.outcome: Outcome = PAGE
        self.calls = 0
        self.during: Callable[[], Any] = lambda: None

    def answer(self, _asked: object) -> Outcome:
        self.calls += 1
        self.during()
        return self.outcome

    open_page = query_transaction = query_cart = refund = capture = void = answer


def guarded(gateway: Gateway, calls_max: int = 4, attempts_max: int = 1) -> GuardedGateway:
    """Opens after two outcomes, closes after two trials."""
    config = CircuitBreakerConfig(
        name="paytabs", minimum_requests=2, volume_threshold=2, max_concurrent_requests=2
    )
    retrying = Retrying(attempts_max, 1, 1, 60_000, sleep=lambda _seconds: None)
    return guard(cast(PaymentGateway, gateway), config, retrying, calls_max)


def said(outcome: Outcome, times: int = 1) -> GuardedGateway:
    """The guard after the gateway has answered so; the caller hears the very outcome."""
    gateway = Gateway()
    gateway.outcome = outcome
    guard = guarded(gateway)
    for _ in range(times):
        assert guard.refund(FOLLOW_UP) is outcome
    return guard


def half_open(gateway: Gateway) -> GuardedGateway:
    guard = guarded(gateway)
    guard.breaker.follow("HALF_OPEN")
    return guard


@pytest.mark.parametrize("outcome", [PAGE, DECLINED, Succeeded()])
def test_an_answer_is_a_success_and_a_decline_is_one(outcome: Outcome) -> None:
    metrics = said(outcome).breaker.metrics()
    assert (metrics.successful_requests, metrics.failed_requests) == (1, 0)


def test_what_stays_unknown_is_a_failure_and_opens_the_breaker() -> None:
    guard = said(Unknown("the gateway answered HTTP 503"), times=2)
    assert guard.breaker.metrics().failed_requests == 2
    assert guard.breaker.state == "OPEN"


@pytest.mark.parametrize("reason", [*OUR_MISTAKES, Refusal.RATE_LIMITED])
def test_a_refusal_says_nothing_about_the_gateways_health(reason: Refusal) -> None:
    guard = said(Refused(reason, "2", "no"), times=3)
    assert guard.breaker.metrics().total_requests == 0
    assert guard.breaker.state == "CLOSED"


@pytest.mark.parametrize("reason", OUR_MISTAKES)
def test_our_own_mistakes_close_no_breaker(reason: Refusal) -> None:
    gateway = Gateway()
    guard = half_open(gateway)
    gateway.outcome = Refused(reason, "2", "no")
    for _ in range(4):
        guard.refund(FOLLOW_UP)
    assert guard.breaker.state == "HALF_OPEN"
    gateway.outcome = PAGE
    guard.refund(FOLLOW_UP)
    guard.refund(FOLLOW_UP)
    assert guard.breaker.state == "CLOSED"


def test_too_many_requests_keep_calls_away_for_as_long_as_the_gateway_asks() -> None:
    guard = said(Refused(Refusal.RATE_LIMITED, "429", "Too Many Requests", 7_000))
    with pytest.raises(NotAttempted) as refusal:
        guard.refund(FOLLOW_UP)
    assert 6_000 < refusal.value.retry_after_ms <= 7_000
    assert guard.breaker.state == "CLOSED"


def test_an_open_breaker_lets_nothing_through_and_says_when_it_may() -> None:
    gateway = Gateway()
    guard = guarded(gateway)
    guard.breaker.force_open()
    for ask in (guard.open_page, guard.refund, guard.capture, guard.void):
        with pytest.raises(NotAttempted) as refusal:
            ask(FOLLOW_UP)  # type: ignore[arg-type]
        assert 59_000 < refusal.value.retry_after_ms <= 60_000
    assert gateway.calls == 0


def test_while_all_trials_are_under_way_others_come_back_soon() -> None:
    gateway = Gateway()
    guard = half_open(gateway)
    waits: list[int] = []

    def third() -> None:
        gateway.during = lambda: None
        with pytest.raises(NotAttempted) as refusal:
            guard.refund(FOLLOW_UP)
        waits.append(refusal.value.retry_after_ms)

    def second() -> None:
        gateway.during = third
        guard.refund(FOLLOW_UP)

    gateway.during = second
    guard.refund(FOLLOW_UP)
    [wait_ms] = waits
    assert 1_000 <= wait_ms <= 2_000
    assert gateway.calls == 2


@contextmanager
def trial_that_hangs(clock: StillClock, jitter: Jitter) -> Iterator[Callable[[], int]]:
    """A gateway whose only trial is under way; asks it again and tells how long to wait."""
    config = CircuitBreakerConfig(name="paytabs", max_concurrent_requests=1, timeout_ms=30_000)
    retrying = Retrying(1, 1, 1, 60_000, sleep=lambda _seconds: None)
    gateway = cast(PaymentGateway, Gateway())
    guarded = guard(gateway, config, retrying, 4, clock=clock, jitter=jitter)
    guarded.breaker.follow("HALF_OPEN")

    def wait_ms() -> int:
        with pytest.raises(NotAttempted) as refusal:
            guarded.refund(FOLLOW_UP)
        return refusal.value.retry_after_ms

    with guarded.breaker:
        yield wait_ms


def test_the_longer_a_trial_hangs_the_longer_others_wait() -> None:
    clock = StillClock()
    longest: dict[float, int] = {}
    with trial_that_hangs(clock, lambda _low, high: high) as wait_ms:
        for clock.seconds in (0, 0.3, 1, 4, 7.5, 10, 29):
            longest[clock.seconds] = wait_ms()
    assert longest == {
        0: 2_000,
        0.3: 2_000,
        1: 2_000,
        4: 8_000,
        7.5: 15_000,
        10: 15_000,
        29: 15_000,
    }


def test_nobody_who_waits_for_a_trial_comes_back_at_once() -> None:
    clock = StillClock()
    with trial_that_hangs(clock, lambda low, _high: low) as wait_ms:
        for clock.seconds in (0, 4, 29.9):
            assert wait_ms() == 1_000


def test_work_that_waits_for_a_trial_that_hangs_does_not_go_in_circles() -> None:
    """300 rows of the agenda, for the 30 s that a trial may take: with half a second between
    two attempts each they were taken 18,000 times."""
    clock, attempts = StillClock(), 0
    waiting = [(0.0, row) for row in range(300)]
    with trial_that_hangs(clock, random.Random(1).uniform) as wait_ms:
        while waiting[0][0] < 30:
            clock.seconds, row = waiting[0]
            heapreplace(waiting, (clock.seconds + wait_ms() / 1000, row))
            attempts += 1
    assert attempts / 300 < 8


def test_a_full_bulkhead_counts_nowhere() -> None:
    gateway = Gateway()
    guard = guarded(gateway, calls_max=1)

    def one_too_many() -> None:
        with pytest.raises(NotAttempted, match="too many calls"):
            guard.refund(FOLLOW_UP)

    gateway.during = one_too_many
    guard.refund(FOLLOW_UP)
    assert gateway.calls == 1
    assert guard.breaker.metrics().total_requests == 1


def test_queries_are_repeated_while_unknown_and_nothing_else_is() -> None:
    gateway = Gateway()
    gateway.outcome = Unknown("time-out")
    guard = guarded(gateway, attempts_max=2)
    assert guard.open_page(cast(Any, FOLLOW_UP)) == gateway.outcome
    assert gateway.calls == 1
    guard.breaker.reset()
    assert guard.query_transaction("TST-1") == gateway.outcome
    assert gateway.calls == 3


def test_the_gateways_time_outs_are_counted_as_such() -> None:
    lost = said(Unknown("no complete answer within 30 s", is_timeout=True)).breaker.metrics()
    cut = said(Unknown("the connection failed")).breaker.metrics()
    assert (lost.timeouts, lost.failed_requests) == (1, 1)
    assert (cut.timeouts, cut.failed_requests) == (0, 1)


@pytest.mark.parametrize("threads", [2, 3, 4, 32, 512])
def test_however_slow_the_gateway_a_thread_is_left_for_work_without_a_call(threads: int) -> None:
    assert 1 <= bulkhead_places(threads) < threads


def test_a_single_thread_may_call() -> None:
    assert bulkhead_places(1) == 1
