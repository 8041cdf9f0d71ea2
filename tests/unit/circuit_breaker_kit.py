"""A clock moved by hand and a breaker that keeps its events, for the tests of the breaker."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from application.circuit_breaker import (
    CircuitBreakerConfig,
    CircuitOpenError,
    EventDrivenCircuitBreaker,
    StateChange,
)
from interface.clock import SystemClock

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class FakeTime:
    """Monotonic and wall clock in one, in whole milliseconds."""

    def __init__(self) -> None:
        self.ms = 1_000_000

    def monotonic(self) -> float:
        return self.ms / 1000

    def wall(self) -> datetime:
        return EPOCH + timedelta(milliseconds=self.ms)

    def advance_ms(self, ms: int) -> None:
        self.ms += ms


class GatewayDown(Exception):
    """A failure."""


class OurMistake(Exception):
    """Neutral."""

    def __init__(self, retry_after_ms: float | None = None) -> None:
        self.retry_after_ms = retry_after_ms


class Declined(Exception):
    """A success: the gateway worked."""


@dataclass
class Bench:
    """One breaker on a fake clock: opens after 4 outcomes, half of them failed or slow."""

    config: CircuitBreakerConfig
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.time = FakeTime()
        self.changes: list[StateChange] = []
        self.trials: list[Trial] = []
        self.breaker = EventDrivenCircuitBreaker(
            self.config,
            **{
                "clock": self.time.monotonic,
                "wall_clock": self.time.wall,
                "on_state_change": self.changes.append,
                "is_failure": GatewayDown,
                "is_neutral": OurMistake,
                **self.options,
            },
        )

    def succeed(self, times: int = 1, took_ms: int = 0) -> None:
        for _ in range(times):
            self.breaker.call(self.time.advance_ms, took_ms)

    def fail(self, times: int = 1, error: BaseException | None = None) -> None:
        for _ in range(times):
            with pytest.raises(type(error or GatewayDown())):
                self.breaker.call(raising(error or GatewayDown()))

    def open(self) -> None:
        self.fail(4)
        assert self.breaker.state == "OPEN"

    def half_open(self) -> "Trial":
        """Open, waited, and the first trial under way."""
        self.open()
        self.time.advance_ms(60_000)
        return self.trial()

    def trial(self) -> "Trial":
        """A call under way, kept alive: dropped, it would be closed and so give its place back."""
        self.trials.append(Trial(self.breaker))
        return self.trials[-1]

    def refused(self) -> CircuitOpenError:
        with pytest.raises(CircuitOpenError) as refusal:
            self.breaker.call(lambda: pytest.fail("the call went through"))
        return refusal.value


def bench(**settings: Any) -> Bench:
    """A bench; settings of the breaker's own constructor go by their names too."""
    config: dict[str, Any] = {
        "name": "paytabs",
        "minimum_requests": 2,
        "volume_threshold": 4,
        "max_concurrent_requests": 2,
    }
    own = {"clock", "wall_clock", "on_state_change", "is_failure", "is_neutral", "is_timeout"}
    own |= {"fallback", "fallback_on_failure"}
    options = {name: value for name, value in settings.items() if name in own}
    config.update((name, value) for name, value in settings.items() if name not in own)
    return Bench(CircuitBreakerConfig(**config), options)


def raising(error: BaseException) -> Callable[..., Any]:
    """A function that raises this."""

    def call(*_args: object, **_kwargs: object) -> None:
        raise error

    return call


class Trial:
    """A call under way in this same thread, to be ended by hand."""

    def __init__(self, breaker: EventDrivenCircuitBreaker) -> None:
        self._run: Generator[Any, Any, Any] = breaker.call_generator(_under_way)
        next(self._run)

    def succeed(self) -> None:
        with pytest.raises(StopIteration):
            self._run.send(None)

    def end_with(self, error: BaseException) -> None:
        with pytest.raises(type(error)):
            self._run.throw(error)

    def fail(self) -> None:
        self.end_with(GatewayDown())

    def abandon(self) -> None:
        self._run.close()


def _under_way() -> Generator[None, None, None]:
    yield


class StillClock(SystemClock):
    """What a whole process goes by, standing still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.seconds)
