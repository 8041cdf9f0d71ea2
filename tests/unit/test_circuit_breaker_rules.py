"""The rules of contract 8, one sentence after the other, on a clock moved by hand."""

import asyncio
from concurrent.futures import CancelledError as FutureCancelledError

import pytest

from application.circuit_breaker import CircuitOpenError
from tests.unit.circuit_breaker_kit import Declined, GatewayDown, OurMistake, bench


class TestOpening:
    def test_it_opens_when_the_errors_in_the_window_reach_the_threshold(self) -> None:
        b = bench()
        b.succeed(2)
        b.fail(1)
        assert b.breaker.state == "CLOSED"
        b.fail(1)
        assert b.breaker.state == "OPEN"

    def test_it_stays_closed_below_the_error_threshold(self) -> None:
        b = bench(error_threshold=51)
        b.succeed(2)
        b.fail(2)
        assert b.breaker.state == "CLOSED"

    def test_it_stays_closed_below_the_volume_threshold(self) -> None:
        b = bench(minimum_requests=1, volume_threshold=10)
        b.fail(9)
        assert b.breaker.state == "CLOSED"

    def test_it_stays_closed_below_the_minimum_of_requests(self) -> None:
        b = bench(minimum_requests=10, volume_threshold=1)
        b.fail(9)
        assert b.breaker.state == "CLOSED"
        b.fail(1)
        assert b.breaker.state == "OPEN"

    def test_it_opens_when_the_slow_calls_reach_their_threshold(self) -> None:
        b = bench()
        b.succeed(2)
        b.succeed(2, took_ms=10_001)
        assert b.breaker.state == "OPEN"

    def test_a_call_that_takes_just_the_threshold_is_not_slow(self) -> None:
        b = bench()
        b.succeed(10, took_ms=10_000)
        assert b.breaker.state == "CLOSED"
        assert b.breaker.metrics().slow_calls == 0

    def test_a_failure_that_took_long_counts_as_slow_too(self) -> None:
        b = bench()
        trial = b.trial()
        b.time.advance_ms(10_001)
        trial.fail()
        assert b.breaker.metrics().slow_calls == b.breaker.metrics().failed_requests == 1

    def test_a_fast_success_never_trips(self) -> None:
        b = bench()
        b.fail(3)
        b.succeed(1)
        assert b.breaker.state == "CLOSED"
        b.fail(1)
        assert b.breaker.state == "OPEN"

    def test_outcomes_older_than_the_window_do_not_count(self) -> None:
        b = bench()
        b.fail(3)
        b.time.advance_ms(60_000)
        b.fail(1)
        assert b.breaker.state == "CLOSED"
        assert b.breaker.failure_count == 1

    def test_outcomes_younger_than_the_window_count(self) -> None:
        b = bench()
        b.fail(3)
        b.time.advance_ms(59_000)
        b.fail(1)
        assert b.breaker.state == "OPEN"


class TestOpen:
    def test_an_open_breaker_refuses_calls_and_says_when_to_come_back(self) -> None:
        b = bench()
        b.open()
        b.time.advance_ms(18_500)
        refusal = b.refused()
        assert refusal.reason == "open"
        assert refusal.retry_after_ms == 41_500
        assert str(refusal) == (
            "paytabs is OPEN and lets no call through (open): try again in 41500 ms"
        )
        assert b.breaker.metrics().rejected_requests == 1

    def test_it_refuses_until_the_very_end_of_the_wait(self) -> None:
        b = bench()
        b.open()
        b.time.advance_ms(59_999)
        assert b.refused().retry_after_ms == 1

    def test_the_first_call_once_the_wait_has_passed_makes_it_half_open(self) -> None:
        b = bench()
        b.open()
        b.time.advance_ms(60_000)
        b.trial()
        assert b.breaker.state == "HALF_OPEN"

    def test_reading_anything_changes_nothing(self) -> None:
        b = bench()
        b.open()
        b.time.advance_ms(120_000)
        for name in ("state", "opened", "closed", "open_until", "open_remaining", "failure_count"):
            getattr(b.breaker, name)
        b.breaker.metrics()
        assert (b.breaker.state, b.breaker.opened) == ("OPEN", True)
        assert len(b.changes) == 1

    def test_the_next_retry_time_is_on_the_wall_clock(self) -> None:
        b = bench()
        assert b.breaker.next_retry_time is None
        expected = b.time.wall().timestamp() + 60
        b.open()
        b.time.advance_ms(30_000)
        assert b.breaker.next_retry_time is not None
        assert b.breaker.next_retry_time.timestamp() == expected
        assert b.breaker.open_until == b.breaker.next_retry_time
        assert b.breaker.open_remaining == 30

    def test_a_wall_clock_of_posix_seconds_will_do(self) -> None:
        b = bench(wall_clock=lambda: 1_000_000_000.0)
        b.open()
        assert b.breaker.next_retry_time is not None
        assert b.breaker.next_retry_time.isoformat() == "2001-09-09T01:47:40+00:00"


class TestHalfOpen:
    def test_it_admits_so_many_trials_at_a_time(self) -> None:
        b = bench()
        b.half_open()
        b.trial()
        refusal = b.refused()
        assert refusal.reason == "half_open_limit"
        assert refusal.retry_after_ms == 30_000

    def test_a_trial_that_ends_gives_its_place_to_the_next(self) -> None:
        b = bench()
        first = b.half_open()
        b.trial()
        first.succeed()
        b.trial()
        b.refused()

    def test_so_many_successes_in_a_row_close_it(self) -> None:
        b = bench()
        b.half_open().succeed()
        assert b.breaker.state == "HALF_OPEN"
        b.succeed(1)
        assert b.breaker.state == "CLOSED"

    def test_one_failure_opens_it_again_with_a_fresh_wait(self) -> None:
        b = bench(max_concurrent_requests=3)
        trial = b.half_open()
        b.succeed(1)
        b.time.advance_ms(5_000)
        trial.fail()
        assert b.breaker.state == "OPEN"
        assert b.refused().retry_after_ms == 60_000

    def test_one_slow_trial_opens_it_again(self) -> None:
        b = bench()
        trial = b.half_open()
        b.time.advance_ms(10_001)
        trial.succeed()
        assert b.breaker.state == "OPEN"

    def test_successes_of_an_earlier_half_open_state_do_not_help(self) -> None:
        b = bench()
        trial = b.half_open()
        b.succeed(1)
        trial.fail()
        b.time.advance_ms(60_000)
        b.succeed(1)
        assert b.breaker.state == "HALF_OPEN"

    def test_a_trial_that_never_settles_gives_its_place_back_after_the_timeout(self) -> None:
        b = bench(max_concurrent_requests=1)
        b.half_open()
        b.time.advance_ms(29_999)
        assert b.refused().retry_after_ms == 1
        b.time.advance_ms(1)
        b.succeed(1)
        assert b.breaker.state == "CLOSED"

    def test_trials_of_an_earlier_half_open_state_hold_no_place(self) -> None:
        b = bench(reset_timeout_ms=1_000)
        first = b.half_open()
        b.trial()
        first.fail()
        b.time.advance_ms(1_000)
        b.trial()
        b.trial()
        b.refused()

    def test_a_place_once_given_back_is_not_given_back_again(self) -> None:
        b = bench(max_concurrent_requests=1)
        hung = b.half_open()
        b.time.advance_ms(30_000)
        b.trial()
        hung.end_with(OurMistake())
        assert b.refused().reason == "half_open_limit"

    def test_a_closed_breaker_starts_with_an_empty_window(self) -> None:
        b = bench(reset_timeout_ms=1_000)
        b.open()
        b.time.advance_ms(1_000)
        b.succeed(2)
        assert b.breaker.state == "CLOSED"
        b.fail(3)
        assert b.breaker.state == "CLOSED"


class TestOutcomes:
    def test_a_declined_card_is_a_success(self) -> None:
        b = bench()
        b.fail(1, Declined())
        assert b.breaker.metrics().successful_requests == 1

    def test_a_declined_card_closes_a_half_open_breaker(self) -> None:
        b = bench(max_concurrent_requests=1)
        b.half_open().end_with(Declined())
        assert b.breaker.state == "CLOSED"

    @pytest.mark.parametrize(
        "error",
        [
            OurMistake(),
            asyncio.CancelledError(),
            FutureCancelledError(),
            KeyboardInterrupt(),
            SystemExit(),
        ],
    )
    def test_neutral_counts_nowhere(self, error: BaseException) -> None:
        b = bench()
        b.fail(10, error)
        assert b.breaker.metrics().total_requests == 0
        assert b.breaker.state == "CLOSED"

    def test_neutral_gives_the_place_back_and_decides_nothing(self) -> None:
        b = bench(max_concurrent_requests=1)
        b.half_open().end_with(OurMistake())
        assert b.breaker.state == "HALF_OPEN"
        b.trial()
        b.refused()

    def test_every_exception_is_a_failure_unless_said_otherwise(self) -> None:
        b = bench(is_failure=None, is_neutral=None)
        b.fail(1, ValueError())
        assert b.breaker.metrics().failed_requests == 1

    def test_cancellation_is_neutral_whatever_the_predicate_says(self) -> None:
        b = bench(is_failure=lambda _kind, _error: True)
        b.fail(1, asyncio.CancelledError())
        b.fail(1, KeyboardInterrupt())
        assert b.breaker.metrics().failed_requests == 1

    def test_a_refusal_by_another_breaker_says_nothing_about_this_one(self) -> None:
        b, inner = bench(is_failure=None), bench()
        inner.open()
        with pytest.raises(CircuitOpenError):
            b.breaker.call(inner.breaker.call, int)
        assert b.breaker.metrics().total_requests == 0
        b.succeed(1)

    def test_predicates_may_be_functions_of_type_and_error(self) -> None:
        b = bench(is_failure=lambda kind, error: kind is OSError and error.args == (5,))
        b.fail(1, OSError(5))
        b.fail(1, OSError(6))
        assert b.breaker.metrics().failed_requests == 1
        assert b.breaker.metrics().successful_requests == 1

    def test_predicates_may_be_several_classes(self) -> None:
        b = bench(is_failure=[OSError, ValueError], is_neutral=(KeyError, IndexError))
        b.fail(1, ConnectionError())
        b.fail(1, ValueError())
        b.fail(1, IndexError())
        assert b.breaker.metrics().total_requests == 2

    @pytest.mark.parametrize("nonsense", ["OSError", 7, [OSError, 7], int])
    def test_a_predicate_that_is_none_is_refused_by_name(self, nonsense: object) -> None:
        with pytest.raises(ValueError, match=r"^is_neutral must"):
            bench(is_neutral=nonsense)

    def test_a_subclass_inherits_what_counts_as_a_failure(self) -> None:
        class Base(type(bench().breaker)):  # type: ignore[misc]
            EXPECTED_EXCEPTION = OSError

        class Derived(Base):
            pass

        breaker = Derived(bench().config)
        with pytest.raises(ValueError):
            breaker.call(int, "x")
        assert breaker.metrics().failed_requests == 0


class TestPauses:
    def test_a_429_pauses_the_breaker_without_counting(self) -> None:
        b = bench()
        b.fail(1, OurMistake(retry_after_ms=2_500))
        assert b.refused().reason == "open"
        assert b.refused().retry_after_ms == 2_500
        assert b.breaker.state == "CLOSED"
        assert b.breaker.metrics().total_requests == 0
        assert b.changes == []

    def test_calls_pass_again_once_the_pause_is_over(self) -> None:
        b = bench()
        b.fail(1, OurMistake(retry_after_ms=2_500))
        b.time.advance_ms(2_500)
        b.succeed(1)
        assert b.breaker.next_retry_time is None

    def test_a_pause_is_shown_as_the_next_retry_time(self) -> None:
        b = bench()
        b.fail(1, OurMistake(retry_after_ms=2_500))
        assert b.breaker.next_retry_time is not None
        assert (b.breaker.next_retry_time - b.time.wall()).total_seconds() == 2.5

    def test_a_shorter_pause_does_not_cut_a_longer_one(self) -> None:
        b = bench()
        trial = b.trial()
        b.fail(1, OurMistake(retry_after_ms=2_500))
        trial.end_with(OurMistake(retry_after_ms=100))
        assert b.refused().retry_after_ms == 2_500

    def test_a_pause_lasts_an_hour_at_most(self) -> None:
        b = bench()
        b.fail(1, OurMistake(retry_after_ms=float("inf")))
        assert b.refused().retry_after_ms == 3_600_000

    @pytest.mark.parametrize("asked", [None, 0, -5, float("nan"), "soon"])
    def test_no_pause_without_a_sensible_wish(self, asked: float | None) -> None:
        b = bench()
        b.fail(1, OurMistake(retry_after_ms=asked))
        b.succeed(1)

    def test_a_call_under_way_during_a_pause_still_counts(self) -> None:
        b = bench()
        first, second = b.trial(), b.trial()
        b.fail(1, OurMistake(retry_after_ms=2_500))
        first.fail()
        second.succeed()
        assert b.breaker.metrics().total_requests == 2
        assert b.breaker.failure_count == 1

    def test_a_trial_may_pause_a_half_open_breaker(self) -> None:
        b = bench()
        b.half_open().end_with(OurMistake(retry_after_ms=2_500))
        assert b.refused().reason == "open"
        b.time.advance_ms(2_500)
        b.succeed(2)
        assert b.breaker.state == "CLOSED"

    def test_a_breaker_that_closes_during_a_pause_stays_paused(self) -> None:
        b = bench()
        first, second = b.half_open(), b.trial()
        first.succeed()
        b.trial().end_with(OurMistake(retry_after_ms=2_500))
        second.succeed()
        assert b.breaker.state == "CLOSED"
        assert b.refused().retry_after_ms == 2_500

    def test_an_open_breaker_waits_for_a_pause_that_lasts_longer(self) -> None:
        b = bench()
        b.fail(3)
        trial = b.trial()
        b.fail(1, OurMistake(retry_after_ms=90_000))
        trial.fail()
        assert b.breaker.state == "OPEN"
        assert b.refused().retry_after_ms == 90_000
        assert b.breaker.next_retry_time is not None
        assert (b.breaker.next_retry_time - b.time.wall()).total_seconds() == 90

    def test_a_late_429_pauses_nothing(self) -> None:
        b = bench()
        late = b.trial()
        b.open()
        late.end_with(OurMistake(retry_after_ms=90_000))
        assert b.refused().retry_after_ms == 60_000


class TestLateResults:
    def test_a_success_admitted_before_the_opening_does_not_close(self) -> None:
        b = bench(max_concurrent_requests=1)
        late = b.trial()
        b.open()
        late.succeed()
        assert b.breaker.state == "OPEN"
        assert b.breaker.metrics().successful_requests == 1

    def test_a_success_admitted_while_closed_is_no_trial(self) -> None:
        b = bench(max_concurrent_requests=1)
        late = b.trial()
        b.half_open()
        late.succeed()
        assert b.breaker.state == "HALF_OPEN"
        b.refused()

    def test_a_failure_admitted_before_the_closing_counts_only_in_the_totals(self) -> None:
        b = bench()
        late = [b.trial() for _ in range(4)]
        b.half_open().succeed()
        b.succeed(1)
        seen = b.breaker.last_failure_time
        b.time.advance_ms(1_000)
        for trial in late:
            trial.fail()
        assert b.breaker.state == "CLOSED"
        assert b.breaker.failure_count == 0
        assert b.breaker.last_failure_time == seen
        assert b.breaker.metrics().failed_requests == 8

    def test_a_trial_of_an_earlier_half_open_state_is_late_too(self) -> None:
        b = bench()
        first, second = b.half_open(), b.trial()
        first.fail()
        b.time.advance_ms(60_000)
        b.trial()
        second.fail()
        assert b.breaker.state == "HALF_OPEN"


def test_the_last_failure_is_shown_until_the_breaker_closes() -> None:
    b = bench()
    assert b.breaker.last_failure_time is None
    b.open()
    failed_at = b.time.wall()
    b.time.advance_ms(60_000)
    assert isinstance(b.breaker.last_failure, GatewayDown)
    b.succeed(2)
    assert b.breaker.last_failure is None
    assert b.breaker.last_failure_time == failed_at
