"""The circuit breaker that stands before every outside service, so that a sick one is left alone.

It keeps the interface of the `circuitbreaker` package (decorator, context manager,
`CircuitBreakerMonitor`) and decides by the rules of contract 8.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import ceil
from threading import RLock
from typing import Any

from application.breaker_figures import Totals, metrics_of, percent_up, rate_of
from application.breaker_listeners import Listener, Listeners
from application.breaker_outcomes import (
    Matcher,
    Outcome,
    classify,
    holds,
    pause_ms_of,
    predicate_of,
)
from application.breaker_state import BreakerState, Ticket
from application.breaker_values import (
    NAME_LENGTH_MAX,
    CircuitBreakerConfig,
    CircuitBreakerMetrics,
    CircuitState,
    RejectionReason,
    StateChange,
)
from application.guarded_calls import CircuitOpenError, GuardedCalls
from application.sliding_window import TICK_S, SlidingWindow

__all__ = [
    "CircuitBreakerConfig",
    "CircuitBreakerMetrics",
    "CircuitOpenError",
    "CircuitState",
    "EventDrivenCircuitBreaker",
    "RejectionReason",
    "StateChange",
]

BATCH = 128
"""Fast successes that wait, without a lock, to be added to the window together."""
BATCH_MAX = 4096
"""So many never wait: then a call waits for the lock instead."""
MICROSECOND = timedelta(microseconds=1)


def utc_now() -> datetime:
    """The wall clock, for times that are shown."""
    return datetime.now(UTC)


class EventDrivenCircuitBreaker(GuardedCalls):
    """A circuit breaker over a window of time that tells its listeners of every transition.

    `is_failure`, `is_neutral` and `is_timeout` are predicates `(exc_type, exc) -> bool`, exception
    classes or iterables of them. Every `Exception` is a failure, and cancellation neutral, unless
    said otherwise (see `breaker_outcomes.classify`). A neutral exception with an attribute
    `retry_after_ms` above 0 pauses the breaker for that time, an hour at most: calls are rejected
    with reason `open`, the state stays, nothing is counted, no event is emitted.

    `clock` gives monotonic seconds and decides; `wall_clock` gives aware datetimes or POSIX
    seconds and is only shown. Listeners are called with a `StateChange`, in the thread that
    happens to deliver, without a lock. Safe for threads and tasks.

    It has fewer than 30 attributes: with more CPython (3.11) keeps them in another way, and each
    call costs more.
    """

    def __init__(
        self,
        config: CircuitBreakerConfig,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], datetime | float] = utc_now,
        on_state_change: Listener | Iterable[Listener] | None = None,
        is_failure: Matcher | None = None,
        is_neutral: Matcher | None = None,
        is_timeout: Matcher = TimeoutError,
        fallback: Callable[..., Any] | None = None,
        fallback_on_failure: bool = False,
    ) -> None:
        failure = type(self).EXPECTED_EXCEPTION if is_failure is None else is_failure
        super().__init__(  # type: ignore[no-untyped-call]
            name=config.name,
            recovery_timeout=config.reset_timeout_ms / 1000,
            expected_exception=predicate_of(failure, "is_failure"),
            fallback_function=fallback,
        )
        self.is_neutral = predicate_of(() if is_neutral is None else is_neutral, "is_neutral")
        self.is_timeout = predicate_of(is_timeout, "is_timeout")
        self._fallback_on_failure = fallback_on_failure
        self._config = config
        self._slow_over_ms = config.slow_call_threshold_ms + TICK_S * 1000
        self._clock = clock
        self._wall_clock = wall_clock
        self._lock = RLock()
        self._depth = 0
        self._created = now = clock()
        self._machine = BreakerState(config)
        self._window = SlidingWindow(config.window_ms, now, keep_latencies=config.enable_metrics)
        self._settled: list[tuple[float, float, Ticket]] = []
        self._aside: deque[Callable[[float], None]] = deque()
        self._totals = Totals()
        self._listeners = Listeners(_listeners_of(on_state_change))
        self._last_failure_time: datetime | None = None
        self._retry_time: datetime | None = None
        self._pause_ends: datetime | None = None
        self._changed_at: datetime | None = None
        _check_aware(self._wall_now())
        if config.name is not None:
            self._register()

    @property
    def config(self) -> CircuitBreakerConfig:
        """The settings it was made with; the name may have come from a decorated function."""
        return self._config

    @property
    def name(self) -> str | None:
        """The outside service it stands before."""
        return self._config.name

    @property
    def state(self) -> CircuitState:
        """The state now. Reading it changes nothing: an open breaker stays open until a call
        comes after its wait."""
        return self._machine.state

    @property
    def _reset_timeout(self) -> timedelta:
        return timedelta(milliseconds=self._config.reset_timeout_ms)

    @property
    def opened(self) -> bool:
        """Whether the state is OPEN."""
        return self.state is CircuitState.OPEN

    @property
    def closed(self) -> bool:
        """Whether the state is CLOSED."""
        return self.state is CircuitState.CLOSED

    @property
    def open_remaining(self) -> int:
        """Whole seconds, rounded up, until a call may be let through; 0 when one may be."""
        return ceil(self._machine.wait_s(self._clock()))

    @property
    def open_until(self) -> datetime:
        """When a call may be let through (UTC): `next_retry_time`, or now."""
        return self.next_retry_time or self._wall_now()

    @property
    def next_retry_time(self) -> datetime | None:
        """When an open or paused breaker may let a call through (UTC); None when neither."""
        with self._changing() as now:
            return self._next_retry_time(now)

    @property
    def last_failure_time(self) -> datetime | None:
        """When a failure was last counted (UTC)."""
        return self._last_failure_time

    @property
    def last_failure(self) -> BaseException | None:
        """The failure last counted; None since the breaker was last closed."""
        return self._last_failure

    @property
    def failure_count(self) -> int:
        """Failures in the window."""
        with self._changing():
            return self._window.failures

    def metrics(self) -> CircuitBreakerMetrics:
        """A snapshot; all zeros with `enable_metrics=False`."""
        if not self._config.enable_metrics:
            return CircuitBreakerMetrics()
        with self._changing() as now:
            figures = self._window.figures(now)
            totals = replace(self._totals)
            open_s = self._machine.open_s(now)
        uptime = percent_up(now - self._created, open_s)
        return metrics_of(totals, figures, self._config.minimum_requests, uptime)

    def add_listener(self, listener: Listener) -> None:
        """Adds a listener after those there are."""
        self._listeners.add(listener)

    def force_open(self) -> None:
        """Opens with a fresh wait, after which it tries again as always. When it is open already
        its wait begins anew; that is no transition, and the listeners do not hear of it."""
        with self._changing() as now:
            if self.opened:
                self._await_retry(now, None)
            else:
                self._machine.enter(CircuitState.OPEN, now)

    def reset(self) -> None:
        """Closes it, ends a pause and empties the window. The totals stay."""
        with self._changing() as now:
            self._machine.end_pause()
            if self.closed:
                self._start_afresh(now)
            else:
                self._machine.enter(CircuitState.CLOSED, now)

    def retire(self) -> None:
        """Takes it out of `CircuitBreakerMonitor`, where it would be listed for ever."""
        self._unregister()

    def follow(
        self,
        state: CircuitState | str,
        *,
        next_retry_time: datetime | None = None,
        changed_at: datetime | None = None,
        last_failure_time: datetime | None = None,
        by_operator: bool = False,
        instead_of: datetime | None = None,
    ) -> bool:
        """Adopts a state recorded elsewhere, without telling the listeners.

        `changed_at` is that of the recorded `StateChange`: news that is not newer than the last
        change known here is passed over and False returned, so that the echo of an own change
        does no harm. `instead_of` is that of an own change which was not recorded, because others
        were quicker: unless there was another one since, the recorded one takes its place.

        An open breaker waits until `next_retry_time`, but never longer than `reset_timeout_ms`
        from now; without it, for all of that. A closing `by_operator` is a `reset` also of a
        breaker that is closed. All times must be aware.

        Raises `ValueError` for an unknown state or a time without a zone.
        """
        wanted = CircuitState(state)
        _check_aware(next_retry_time, changed_at, last_failure_time)
        with self._changing() as now:
            if instead_of is not None and self._changed_at == instead_of:
                self._changed_at = None
            if changed_at and self._changed_at and changed_at <= self._changed_at:
                return False
            self._changed_at = changed_at or self._next_change_at()
            self._last_failure_time = _latest(self._last_failure_time, last_failure_time)
            if by_operator and wanted is CircuitState.CLOSED:
                self._machine.end_pause()
                self._start_afresh(now)
            self._adopt(wanted, next_retry_time, now)
        return True

    def _adopt(self, state: CircuitState, next_retry_time: datetime | None, now: float) -> None:
        is_news = self.state is not state
        if is_news:
            self._machine.enter(state, now)
            self._machine.take_news()
        if is_news and self.closed:
            self._start_afresh(now)
        if self.opened and (is_news or next_retry_time):
            self._await_retry(now, next_retry_time)

    def _await_retry(self, now: float, retry_time: datetime | None) -> None:
        wall_now = self._wall_now()
        latest = wall_now + self._reset_timeout
        self._retry_time = min(retry_time or latest, latest)
        self._machine.wait_for(now, (self._retry_time - wall_now).total_seconds())

    def _admit(self) -> Ticket:
        with self._changing() as now:
            verdict = self._machine.admit(now)
            if isinstance(verdict, Ticket):
                return verdict
            self._totals.rejected += 1
        raise CircuitOpenError(self, verdict.reason, verdict.retry_after_ms)

    def _succeeded(self, ticket: Ticket, started: float) -> None:
        now = self._clock()
        elapsed_ms = (now - started) * 1000
        if ticket is not self._machine.free_pass or elapsed_ms > self._slow_over_ms:
            self._settle(ticket, now, elapsed_ms, None)
            return
        self._settled.append((now, elapsed_ms, ticket))
        waiting = len(self._settled)
        if waiting >= BATCH and (waiting >= BATCH_MAX or not self._depth):
            self._fold_by_itself()

    def _raised(self, ticket: Ticket, started: float, error: BaseException) -> bool:
        outcome = classify(error, self.is_failure, self.is_neutral)
        if outcome is Outcome.NEUTRAL:
            self._let_go(ticket, pause_ms_of(error))
        elif outcome is Outcome.SUCCESS:
            self._succeeded(ticket, started)
        else:
            now = self._clock()
            self._settle(ticket, now, (now - started) * 1000, error)
        return outcome is Outcome.FAILURE

    def _settle(
        self, ticket: Ticket, ended: float, elapsed_ms: float, failure: BaseException | None
    ) -> None:
        slow = elapsed_ms > self._slow_over_ms
        timed_out = failure is not None and self._timed_out(elapsed_ms, failure)

        def count(now: float) -> None:
            self._totals.add(failed=failure is not None, timed_out=timed_out, slow=slow)
            if not self._machine.is_current(ticket):
                return
            self._machine.give_back(ticket)
            self._window.record(ended, elapsed_ms, failed=failure is not None, slow=slow)
            if failure is not None:
                self._last_failure, self._last_failure_time = failure, self._wall_now()
            if failure is not None or slow:
                self._machine.disappoint(now, threshold_reached=self._threshold_reached())
            else:
                self._machine.succeed(now)

        self._aside.append(count)
        self._take_in()

    def _let_go(self, ticket: Ticket, pause_ms: float) -> None:
        """Settles a neutral call; its place is there again when somebody asks for one."""

        def give_back(now: float) -> None:
            is_current = self._machine.is_current(ticket)
            self._machine.give_back(ticket)
            if pause_ms and is_current:
                ends = self._wall_now() + timedelta(milliseconds=pause_ms)
                self._pause_ends = _latest(self._pause_ends, ends)
                self._machine.pause(now, pause_ms / 1000)

        if ticket.is_trial or pause_ms:
            self._aside.append(give_back)
        if pause_ms:
            self._take_in()

    def _timed_out(self, elapsed_ms: float, failure: BaseException) -> bool:
        took_too_long = elapsed_ms >= self._config.timeout_ms - TICK_S * 1000
        return took_too_long or holds(self.is_timeout, failure)

    def _take_in(self) -> None:
        """Takes in what was put aside, or leaves it to whoever takes the lock next when this
        thread is in the middle of a change: the garbage collector may close a generator, and so
        settle its call, in any thread at any time."""
        with self._lock:
            is_inside = self._depth > 0
        if not is_inside:
            with self._changing():
                pass

    def _threshold_reached(self) -> bool:
        config, window = self._config, self._window
        requests = window.requests
        if requests < max(config.minimum_requests, config.volume_threshold):
            return False
        return (
            window.failures * 100 >= config.error_threshold * requests
            or window.slow * 100 >= config.slow_call_rate_threshold * requests
        )

    @contextmanager
    def _changing(self) -> Iterator[float]:
        """The lock, held with everything up to date; a transition made under it is noted, and
        told once the lock is free."""
        with self._lock:
            self._depth += 1
            try:
                now = self._clock()
                self._catch_up(now)
                yield now
                self._note_transition(now)
            finally:
                self._depth -= 1
        self._listeners.deliver()

    def _catch_up(self, now: float) -> None:
        self._fold()
        self._window.advance(now)
        while self._aside:
            self._aside.popleft()(now)
            self._note_transition(now)

    def _fold_by_itself(self) -> None:
        with self._lock:
            if self._depth:
                return
            self._depth += 1
            try:
                self._fold()
            finally:
                self._depth -= 1

    def _fold(self) -> None:
        """Moves the fast successes that wait into the window. Calls append to the list without
        the lock meanwhile; only the holder of the lock takes from it, from the front."""
        count = len(self._settled)
        batch = self._settled[:count]
        del self._settled[:count]
        self._totals.successful += count
        self._window.record_successes(batch, self._machine.ticket)

    def _note_transition(self, now: float) -> None:
        """Notes that the machine has gone into another state, when it has since the last time."""
        before = self._machine.take_news()
        if before is None:
            return
        self._changed_at = changed_at = self._next_change_at()
        if self.opened:
            self._retry_time = self._wall_now() + self._reset_timeout
        if self._config.enable_event_emission:
            self._listeners.enqueue(self._change(before, now, changed_at))
        if self.closed:
            self._start_afresh(now)

    def _next_change_at(self) -> datetime:
        """The time now, but always later than that of the change before: of two changes the newer
        one must be known as such, also after the wall clock was set back."""
        now = self._wall_now()
        return max(now, self._changed_at + MICROSECOND) if self._changed_at else now

    def _change(self, before: CircuitState, now: float, changed_at: datetime) -> StateChange:
        requests, failures = self._window.requests, self._window.failures
        return StateChange(
            service_name=str(self),
            old_state=before,
            new_state=self.state,
            error_rate=rate_of(failures, requests, self._config.minimum_requests),
            request_count=requests,
            failure_count=failures,
            last_failure_time=self._last_failure_time,
            next_retry_time=self._next_retry_time(now),
            configuration=self._config,
            changed_at=changed_at,
        )

    def _start_afresh(self, now: float) -> None:
        self._window.clear(now)
        self._last_failure = None

    def _next_retry_time(self, now: float) -> datetime | None:
        retry_time = self._retry_time if self.opened else None
        paused = self._machine.pause_s(now) > 0
        return _latest(retry_time, self._pause_ends if paused else None)

    def _wall_now(self) -> datetime:
        now = self._wall_clock()
        return now if isinstance(now, datetime) else datetime.fromtimestamp(now, UTC)

    def _take_name(self, name: str) -> None:
        self._config = replace(self._config, name=name[:NAME_LENGTH_MAX])


def _listeners_of(given: Listener | Iterable[Listener] | None) -> Iterable[Listener]:
    if given is None:
        return ()
    return (given,) if callable(given) else given


def _check_aware(*times: datetime | None) -> None:
    for time_ in times:
        if time_ is not None and time_.tzinfo is None:
            raise ValueError(f"{time_!r} has no time zone: give it one, such as UTC")


def _latest(*times: datetime | None) -> datetime | None:
    return max((time_ for time_ in times if time_ is not None), default=None)
