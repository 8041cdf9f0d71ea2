"""The breaker under threads that race (contract 8)."""

import threading
from collections import Counter
from collections.abc import Callable, Generator
from itertools import pairwise

import pytest

from application.circuit_breaker import (
    CircuitBreakerConfig,
    CircuitOpenError,
    EventDrivenCircuitBreaker,
    StateChange,
)
from tests.unit.circuit_breaker_kit import GatewayDown, bench, raising


def race(threads: int, run: Callable[[int], None]) -> None:
    """Starts so many threads at the same moment and waits for all of them."""
    start = threading.Barrier(threads)

    def started(number: int) -> None:
        start.wait(10)
        run(number)

    workers = [threading.Thread(target=started, args=(n,)) for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert not any(worker.is_alive() for worker in workers)


def test_threads_racing_into_half_open_get_no_more_places_than_there_are() -> None:
    b = bench(max_concurrent_requests=5)
    b.open()
    b.time.advance_ms(60_000)
    results: Counter[str] = Counter()
    all_decided = threading.Event()

    def note(what: str) -> None:
        results[what] += 1
        if results["refused"] == 11:
            all_decided.set()

    noting = threading.Lock()

    def trial() -> None:
        with noting:
            note("admitted")
        all_decided.wait(10)

    def one_call(_number: int) -> None:
        try:
            b.breaker.call(trial)
        except CircuitOpenError as refusal:
            with noting:
                note("refused")
                note(refusal.reason)

    race(16, one_call)
    assert results == {"admitted": 5, "refused": 11, "half_open_limit": 11}
    assert b.breaker.state == "CLOSED"
    assert [change.new_state for change in b.changes] == ["OPEN", "HALF_OPEN", "CLOSED"]


def test_no_call_of_eight_threads_is_lost_or_counted_twice() -> None:
    breaker = EventDrivenCircuitBreaker(CircuitBreakerConfig(name="busy", error_threshold=100))

    def calls(number: int) -> None:
        for turn in range(1_500):
            try:
                breaker.call(raising(GatewayDown()) if turn % 50 == number else int)
            except GatewayDown:
                continue

    race(8, calls)
    metrics = breaker.metrics()
    assert (metrics.successful_requests, metrics.failed_requests) == (8 * 1_470, 8 * 30)
    assert breaker.failure_count == 8 * 30
    assert metrics.error_rate == 2.0


def test_events_of_racing_threads_form_one_unbroken_story() -> None:
    changes: list[StateChange] = []
    breaker = EventDrivenCircuitBreaker(
        CircuitBreakerConfig(
            name="flapping",
            minimum_requests=2,
            volume_threshold=2,
            max_concurrent_requests=2,
            reset_timeout_ms=1,
            error_threshold=10,
        ),
        on_state_change=changes.append,
    )
    outcomes: Counter[str] = Counter()

    def calls(number: int) -> None:
        own: Counter[str] = Counter()
        for turn in range(400):
            try:
                breaker.call(raising(GatewayDown()) if (turn * number) % 7 == 3 else int)
                own["ok"] += 1
            except GatewayDown:
                own["failed"] += 1
            except CircuitOpenError:
                own["refused"] += 1
        with noting:
            outcomes.update(own)

    noting = threading.Lock()
    race(8, calls)
    assert all(earlier.new_state is later.old_state for earlier, later in pairwise(changes))
    assert len(changes) > 2
    assert changes[-1].new_state is breaker.state
    metrics = breaker.metrics()
    assert metrics.successful_requests == outcomes["ok"]
    assert metrics.failed_requests == outcomes["failed"]
    assert metrics.rejected_requests == outcomes["refused"]


def test_blocks_of_many_threads_keep_apart() -> None:
    b = bench()

    def blocks(_number: int) -> None:
        for _ in range(200):
            with b.breaker, b.breaker:
                pass

    race(8, blocks)
    assert b.breaker.metrics().successful_requests == 8 * 200 * 2


def failing_as_it_is_closed() -> Generator[int, None, None]:
    try:
        yield 1
    finally:
        raise GatewayDown


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_generator_that_the_garbage_collector_closes_under_the_lock_is_settled_later() -> None:
    b = bench()
    abandoned = [b.breaker.call_generator(failing_as_it_is_closed) for _ in range(4)]
    assert [next(generator) for generator in abandoned] == [1, 1, 1, 1]

    def clock() -> float:
        abandoned.clear()
        return b.time.monotonic()

    b.breaker._clock = clock
    failed = threading.Event()

    def look() -> None:
        b.breaker.metrics()
        if b.breaker.metrics().failed_requests == 4:
            failed.set()

    threading.Thread(target=look, daemon=True).start()
    assert failed.wait(10)
    assert b.breaker.state == "OPEN"
    assert [change.new_state for change in b.changes] == ["OPEN"]
