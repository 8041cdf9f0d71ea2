"""How a breaker adopts a state that another process recorded (contract 8)."""

from datetime import datetime, timedelta

import pytest

from tests.unit.circuit_breaker_kit import OurMistake, bench


def test_an_opening_elsewhere_opens_it_without_another_event() -> None:
    b = bench()
    late = b.trial()
    assert b.breaker.follow("OPEN", next_retry_time=b.time.wall() + timedelta(seconds=42))
    assert b.refused().retry_after_ms == 42_000
    assert b.breaker.next_retry_time == b.time.wall() + timedelta(seconds=42)
    late.succeed()
    assert b.breaker.state == "OPEN"
    assert b.changes == []


def test_an_opening_without_a_retry_time_waits_the_whole_reset_timeout() -> None:
    b = bench()
    b.breaker.follow("OPEN")
    assert b.refused().retry_after_ms == 60_000


def test_a_retry_time_that_has_passed_lets_a_trial_through_at_once() -> None:
    b = bench()
    b.breaker.follow("OPEN", next_retry_time=b.time.wall() - timedelta(days=1))
    b.succeed(1)
    assert b.breaker.state == "HALF_OPEN"


def test_a_retry_time_by_a_wrong_clock_waits_no_longer_than_the_reset_timeout() -> None:
    b = bench()
    b.breaker.follow("OPEN", next_retry_time=b.time.wall() + timedelta(days=1))
    assert b.refused().retry_after_ms == 60_000
    assert b.breaker.next_retry_time == b.time.wall() + timedelta(seconds=60)


def test_a_half_open_state_elsewhere_lets_trials_through_here() -> None:
    b = bench()
    b.open()
    b.breaker.follow("HALF_OPEN")
    b.succeed(1)
    assert b.breaker.state == "HALF_OPEN"
    assert b.breaker.next_retry_time is None


def test_a_closing_elsewhere_closes_it_with_an_empty_window() -> None:
    b = bench()
    b.open()
    b.breaker.follow("CLOSED")
    b.fail(3)
    assert b.breaker.state == "CLOSED"
    assert [change.new_state for change in b.changes] == ["OPEN"]


def test_hearing_of_the_state_it_is_in_changes_nothing() -> None:
    b = bench()
    b.fail(3)
    b.breaker.follow("CLOSED")
    b.fail(1)
    assert b.breaker.state == "OPEN"
    b.time.advance_ms(10_000)
    b.breaker.follow("OPEN")
    assert b.refused().retry_after_ms == 50_000


def test_a_later_opening_elsewhere_prolongs_the_wait() -> None:
    b = bench()
    b.open()
    b.time.advance_ms(10_000)
    b.breaker.follow(
        "OPEN",
        next_retry_time=b.time.wall() + timedelta(seconds=59),
        changed_at=b.time.wall() - timedelta(seconds=1),
    )
    assert b.refused().retry_after_ms == 59_000


def test_the_echo_of_its_own_changes_is_passed_over() -> None:
    b = bench()
    b.half_open().fail()
    opened, half_open, reopened = b.changes
    for change in (opened, half_open, reopened):
        assert not b.breaker.follow(
            change.new_state,
            next_retry_time=change.next_retry_time,
            changed_at=change.changed_at,
        )
    assert b.breaker.state == "OPEN"
    assert b.refused().retry_after_ms == 60_000


def test_news_older_than_what_it_heard_before_is_passed_over() -> None:
    b = bench()
    assert b.breaker.follow("OPEN", changed_at=b.time.wall())
    assert not b.breaker.follow("CLOSED", changed_at=b.time.wall() - timedelta(seconds=1))
    assert b.breaker.state == "OPEN"
    assert b.breaker.follow("CLOSED", changed_at=b.time.wall() + timedelta(seconds=1))
    assert b.breaker.state == "CLOSED"


def test_the_latest_failure_anywhere_is_shown() -> None:
    b = bench()
    b.fail(1)
    earlier, later = b.time.wall() - timedelta(1), b.time.wall() + timedelta(1)
    b.breaker.follow("OPEN", last_failure_time=earlier)
    assert b.breaker.last_failure_time == b.time.wall()
    b.breaker.follow("OPEN", last_failure_time=later)
    assert b.breaker.last_failure_time == later


def test_an_unknown_state_is_refused() -> None:
    with pytest.raises(ValueError, match="AJAR"):
        bench().breaker.follow("AJAR")


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        bench().breaker.follow("OPEN", next_retry_time=datetime(2026, 1, 1))


def test_a_change_after_the_wall_clock_was_set_back_is_newer_all_the_same() -> None:
    b = bench()
    b.breaker.force_open()
    b.time.ms -= 3_600_000
    b.breaker.reset()
    opened, closed = (change.changed_at for change in b.changes)
    assert closed > opened


def test_a_change_after_news_from_a_clock_ahead_is_newer_all_the_same() -> None:
    b = bench()
    ahead = b.time.wall() + timedelta(hours=1)
    b.breaker.follow("OPEN", changed_at=ahead)
    b.breaker.reset()
    assert b.changes[0].changed_at > ahead


def test_a_closing_by_an_operator_ends_a_pause_and_empties_the_window() -> None:
    b = bench()
    b.fail(3)
    b.fail(1, OurMistake(retry_after_ms=5_000))
    b.breaker.follow("CLOSED", changed_at=b.time.wall())
    assert b.refused().retry_after_ms == 5_000
    b.breaker.follow("CLOSED", changed_at=b.time.wall() + timedelta(1), by_operator=True)
    b.fail(3)
    assert b.breaker.state == "CLOSED"
    assert b.changes == []


def test_a_change_of_its_own_that_was_not_recorded_gives_way_to_what_was() -> None:
    b = bench()
    b.breaker.force_open()
    recorded_at = b.time.wall() - timedelta(seconds=1)
    [own] = b.changes
    assert b.breaker.follow("CLOSED", changed_at=recorded_at, instead_of=own.changed_at)
    assert b.breaker.state == "CLOSED"
    assert b.breaker.follow("OPEN", changed_at=recorded_at + timedelta(milliseconds=1))


def test_a_newer_change_of_its_own_does_not_give_way() -> None:
    b = bench()
    b.breaker.force_open()
    b.breaker.reset()
    first, _second = b.changes
    recorded_at = b.time.wall() - timedelta(seconds=1)
    assert not b.breaker.follow("OPEN", changed_at=recorded_at, instead_of=first.changed_at)
    assert b.breaker.state == "CLOSED"


def test_a_wall_clock_without_a_zone_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        bench(wall_clock=lambda: datetime(2026, 1, 1))
