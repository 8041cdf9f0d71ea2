"""What the breaker's figures mean (contract 8)."""

import pytest

from application.circuit_breaker import CircuitBreakerMetrics
from tests.unit.circuit_breaker_kit import GatewayDown, OurMistake, bench, raising


def test_totals_count_admitted_and_settled_calls_and_rejected_ones_apart() -> None:
    b = bench()
    b.succeed(2)
    b.fail(2)
    b.refused()
    metrics = b.breaker.metrics()
    assert metrics.total_requests == 4
    assert metrics.successful_requests == metrics.failed_requests == 2
    assert metrics.rejected_requests == 1


def test_a_call_under_way_is_not_counted_yet() -> None:
    b = bench()
    b.trial()
    assert b.breaker.metrics().total_requests == 0


def test_a_trial_that_never_settled_is_counted_nowhere() -> None:
    b = bench()
    b.half_open()
    b.time.advance_ms(30_000)
    b.succeed(2)
    assert b.breaker.metrics().total_requests == 6


def test_no_rate_is_reported_below_the_minimum_of_requests() -> None:
    b = bench(minimum_requests=10)
    b.succeed(9)
    metrics = b.breaker.metrics()
    assert metrics.error_rate is metrics.success_rate is metrics.slow_call_rate is None
    b.succeed(1)
    assert b.breaker.metrics().success_rate == 100


def test_rates_are_percentages_of_the_window() -> None:
    b = bench(error_threshold=100, slow_call_rate_threshold=100)
    b.fail(1)
    b.time.advance_ms(60_000)
    b.fail(1)
    b.succeed(2)
    b.succeed(1, took_ms=10_001)
    metrics = b.breaker.metrics()
    assert (metrics.error_rate, metrics.success_rate, metrics.slow_call_rate) == (25, 75, 25)
    assert metrics.failed_requests == 2


def test_neutral_calls_change_no_rate() -> None:
    b = bench()
    b.succeed(4)
    b.fail(4, OurMistake())
    assert b.breaker.metrics().error_rate == 0


def test_timeouts_are_a_subset_of_failed_requests() -> None:
    b = bench(is_failure=(TimeoutError, GatewayDown))
    b.fail(1, TimeoutError())
    b.fail(1)
    slow_to_fail = b.trial()
    b.time.advance_ms(30_000)
    slow_to_fail.fail()
    assert (b.breaker.metrics().timeouts, b.breaker.metrics().failed_requests) == (2, 3)


def test_a_time_out_that_is_no_failure_is_no_time_out_here() -> None:
    b = bench()
    b.fail(1, TimeoutError())
    assert b.breaker.metrics().timeouts == 0


def test_a_client_with_time_outs_of_its_own_can_name_them() -> None:
    b = bench(is_timeout=GatewayDown)
    b.fail(1)
    assert b.breaker.metrics().timeouts == 1


def test_percentiles_are_nearest_rank_over_the_window() -> None:
    b = bench()
    for took_ms in range(1, 101):
        b.succeed(1, took_ms)
    metrics = b.breaker.metrics()
    assert metrics.p95_response_time_ms == pytest.approx(95)
    assert metrics.p99_response_time_ms == pytest.approx(99)
    assert metrics.average_response_time_ms == pytest.approx(50.5)


def test_response_times_are_zero_when_there_are_none() -> None:
    b = bench()
    b.succeed(1, took_ms=700)
    b.time.advance_ms(61_000)
    metrics = b.breaker.metrics()
    assert metrics.average_response_time_ms == 0
    assert metrics.p95_response_time_ms == metrics.p99_response_time_ms == 0


def test_uptime_is_the_share_of_time_not_spent_open() -> None:
    b = bench()
    assert b.breaker.metrics().uptime == 100
    b.time.advance_ms(100_000)
    b.open()
    b.time.advance_ms(60_000)
    assert b.breaker.metrics().uptime == pytest.approx(62.5)
    b.trial()
    b.time.advance_ms(240_000)
    assert b.breaker.metrics().uptime == pytest.approx(85)


def test_throughput_counts_only_the_seconds_that_have_passed() -> None:
    b = bench()
    assert b.breaker.metrics().throughput == 0
    b.succeed(20)
    b.time.advance_ms(10_000)
    assert b.breaker.metrics().throughput == 2


def test_throughput_of_a_full_window_is_that_of_the_window() -> None:
    b = bench()
    for _ in range(120):
        b.succeed(3)
        b.time.advance_ms(1_000)
    assert b.breaker.metrics().throughput == 3


def test_without_metrics_all_is_zero_and_the_window_still_decides() -> None:
    b = bench(enable_metrics=False)
    b.succeed(2, took_ms=5)
    b.fail(2)
    assert b.breaker.state == "OPEN"
    assert b.breaker.metrics() == CircuitBreakerMetrics()
    assert b.changes[0].error_rate == 50


def test_a_thousand_quick_calls_are_all_counted_at_once() -> None:
    b = bench()
    b.succeed(1_000)
    assert b.breaker.metrics().total_requests == 1_000


def test_a_failed_call_with_a_fallback_is_a_failure_all_the_same() -> None:
    b = bench(fallback=lambda: "later", fallback_on_failure=True)
    assert b.breaker.call(raising(GatewayDown())) == "later"
    assert b.breaker.metrics().failed_requests == 1
