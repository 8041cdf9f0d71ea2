"""What listeners are told, in which order, and what they may do (contract 8)."""

import asyncio
import logging
import threading
from datetime import timedelta

import pytest

from application.breaker_listeners import PENDING_MAX
from application.circuit_breaker import EventDrivenCircuitBreaker, StateChange
from tests.unit.circuit_breaker_kit import bench, raising


def test_one_event_comes_per_transition() -> None:
    b = bench()
    b.half_open().fail()
    b.time.advance_ms(60_000)
    b.succeed(2)
    assert [(change.old_state, change.new_state) for change in b.changes] == [
        ("CLOSED", "OPEN"),
        ("OPEN", "HALF_OPEN"),
        ("HALF_OPEN", "OPEN"),
        ("OPEN", "HALF_OPEN"),
        ("HALF_OPEN", "CLOSED"),
    ]


def test_the_opening_carries_what_its_event_needs() -> None:
    b = bench()
    b.succeed(1)
    b.fail(3)
    assert b.changes == [
        StateChange(
            service_name="paytabs",
            old_state=b.changes[0].old_state,
            new_state=b.breaker.state,
            error_rate=75,
            request_count=4,
            failure_count=3,
            last_failure_time=b.time.wall(),
            next_retry_time=b.time.wall() + timedelta(seconds=60),
            configuration=b.config,
            changed_at=b.time.wall(),
        )
    ]


def test_the_closing_carries_the_window_as_it_was_before_it_was_emptied() -> None:
    b = bench()
    b.half_open().succeed()
    b.succeed(1)
    closed = b.changes[-1]
    assert (closed.request_count, closed.failure_count, closed.error_rate) == (2, 0, 0)
    assert closed.next_retry_time is None
    assert b.breaker.failure_count == 0


def test_without_event_emission_no_listener_is_called() -> None:
    b = bench(enable_event_emission=False)
    b.open()
    assert b.changes == []


def test_listeners_are_called_in_order() -> None:
    heard: list[str] = []
    b = bench(on_state_change=[lambda _: heard.append("first"), lambda _: heard.append("second")])
    b.breaker.add_listener(lambda _: heard.append("third"))
    b.open()
    assert heard == ["first", "second", "third"]


def test_an_error_of_a_listener_is_logged_and_swallowed(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[StateChange] = []

    def broken(change: StateChange) -> None:
        raise RuntimeError("the listener broke")

    b = bench(on_state_change=[broken, heard.append])
    with caplog.at_level(logging.ERROR):
        b.open()
    assert len(heard) == 1
    assert "the listener broke" in caplog.text


def test_a_transition_made_by_a_listener_is_told_after_the_one_it_heard_of() -> None:
    heard: list[str] = []

    def reset_at_once(change: StateChange) -> None:
        if change.new_state == "OPEN":
            b.breaker.reset()
        heard.append(change.new_state)

    b = bench(on_state_change=reset_at_once)
    b.fail(4)
    assert heard == ["OPEN", "CLOSED"]


def in_another_thread(breaker: EventDrivenCircuitBreaker) -> bool:
    """Whether another thread can use the breaker right now."""
    seen: list[int] = []
    thread = threading.Thread(
        target=lambda: seen.append(breaker.metrics().total_requests), daemon=True
    )
    thread.start()
    thread.join(5)
    return bool(seen)


def test_no_lock_is_held_while_listeners_run() -> None:
    free: list[bool] = []
    b = bench()
    b.breaker.add_listener(lambda _: free.append(in_another_thread(b.breaker)))
    b.open()
    assert free == [True]


def test_no_lock_is_held_during_a_call() -> None:
    b = bench()
    assert b.breaker.call(in_another_thread, b.breaker)
    b.breaker.force_open()
    b.time.advance_ms(60_000)
    assert b.breaker.call(in_another_thread, b.breaker)


def test_a_listener_that_hangs_holds_up_no_transition_and_keeps_the_order() -> None:
    hang, hung = threading.Event(), threading.Event()
    heard: list[str] = []

    def hanging(change: StateChange) -> None:
        hung.set()
        hang.wait(5)
        heard.append(change.new_state)

    b = bench(on_state_change=hanging)
    opening = threading.Thread(target=b.breaker.force_open)
    opening.start()
    hung.wait(5)
    b.breaker.reset()
    assert b.breaker.state == "CLOSED"
    hang.set()
    opening.join(5)
    assert heard == ["OPEN", "CLOSED"]


def test_changes_that_nobody_hears_are_logged_once_too_many_wait(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def flapping(change: StateChange) -> None:
        heard.append(change)
        if len(heard) == 1:
            for _ in range(PENDING_MAX // 2 + 1):
                b.breaker.reset()
                b.breaker.force_open()

    heard: list[StateChange] = []
    b = bench(on_state_change=flapping)
    with caplog.at_level(logging.ERROR):
        b.breaker.force_open()
    assert len(heard) == PENDING_MAX + 1
    assert "A listener hangs" in caplog.text


def test_a_listener_that_is_cancelled_is_no_matter_of_the_caller() -> None:
    heard: list[StateChange] = []
    b = bench(on_state_change=[raising(asyncio.CancelledError()), heard.append])
    b.fail(4)
    assert len(heard) == 1


def test_ctrl_c_in_a_listener_reaches_the_caller_and_spoils_nothing() -> None:
    heard: list[StateChange] = []
    b = bench(on_state_change=[heard.append, raising(KeyboardInterrupt())])
    for act in (b.breaker.force_open, b.breaker.reset):
        with pytest.raises(KeyboardInterrupt):
            act()
    assert [change.new_state for change in heard] == ["OPEN", "CLOSED"]
