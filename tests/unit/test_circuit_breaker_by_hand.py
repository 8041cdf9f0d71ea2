"""What somebody who opens or resets a breaker by hand gets (contract 8)."""

from datetime import timedelta

from tests.unit.circuit_breaker_kit import OurMistake, bench


class TestByHand:
    def test_forced_open_it_refuses_and_tries_again_after_the_wait(self) -> None:
        b = bench()
        b.breaker.force_open()
        assert b.refused().retry_after_ms == 60_000
        b.time.advance_ms(60_000)
        b.succeed(2)
        assert b.breaker.state == "CLOSED"

    def test_forcing_it_open_again_begins_the_wait_anew_and_is_no_transition(self) -> None:
        b = bench()
        b.breaker.force_open()
        b.time.advance_ms(59_999)
        b.breaker.force_open()
        assert b.refused().retry_after_ms == 60_000
        assert b.breaker.next_retry_time == b.time.wall() + timedelta(seconds=60)
        assert len(b.changes) == 1

    def test_forced_open_during_a_pause_it_waits_for_the_whole_time(self) -> None:
        b = bench()
        first, *failing = [b.trial() for _ in range(5)]
        first.end_with(OurMistake(retry_after_ms=60_500))
        for trial in failing:
            trial.fail()
        b.time.advance_ms(60_200)
        b.breaker.force_open()
        assert b.refused().retry_after_ms == 60_000

    def test_forced_open_after_its_wait_it_waits_afresh(self) -> None:
        b = bench()
        b.open()
        b.time.advance_ms(70_000)
        b.breaker.force_open()
        assert b.refused().retry_after_ms == 60_000
        assert [change.new_state for change in b.changes] == ["OPEN"]

    def test_a_reset_closes_and_empties_the_window_but_keeps_the_totals(self) -> None:
        b = bench()
        b.open()
        b.breaker.reset()
        assert b.breaker.state == "CLOSED"
        b.fail(3)
        assert b.breaker.state == "CLOSED"
        assert b.breaker.metrics().failed_requests == 7

    def test_a_reset_of_a_closed_breaker_empties_the_window_without_an_event(self) -> None:
        b = bench()
        b.fail(3)
        b.breaker.reset()
        b.fail(3)
        assert b.breaker.state == "CLOSED"
        assert b.changes == []

    def test_a_reset_ends_a_pause(self) -> None:
        b = bench()
        b.fail(1, OurMistake(retry_after_ms=2_500))
        b.breaker.reset()
        b.succeed(1)
