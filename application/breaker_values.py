"""What a circuit breaker is told and what it tells: plain values, apart from its moving parts."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum

from domain.circuit import CircuitStatus

DAY_MS = 86_400_000
PERCENT = (0.01, 100)
TIME_MS = (1, DAY_MS)
WINDOW_MS = (1000, 3_600_000)
COUNT = (1, 1_000_000)
TRIALS = (1, 10_000)
NAME_LENGTH_MAX = 200


CircuitState = CircuitStatus
"""The states of contract 8, as they are recorded."""


class RejectionReason(StrEnum):
    """Why a call was not let through. A pause asked for by the service counts as `open`."""

    OPEN = "open"
    HALF_OPEN_LIMIT = "half_open_limit"


@dataclass(frozen=True)
class CircuitBreakerConfig:
    """The settings of one breaker (contract 8). Thresholds are percentages, times milliseconds.

    Raises `ValueError` naming the field and its range when a value is of the wrong type or out
    of range; a zero is out of range, never a request for the default.
    """

    name: str | None = None
    """The outside service, 1 to 200 characters. None: the decorated function gives the name."""
    error_threshold: float = 50
    """Share of failures in the window that opens the breaker, 0.01 to 100 %."""
    timeout_ms: float = 30_000
    """After so long a half-open trial that never settled gives its place back, and a call that
    failed counts as a time-out. 1 ms to a day. The breaker cuts no call short."""
    reset_timeout_ms: float = 60_000
    """How long the breaker stays open before it lets a trial through, 1 ms to a day."""
    minimum_requests: int = 10
    """Outcomes the window must hold before any rate is reported, 1 to 1,000,000."""
    max_concurrent_requests: int = 5
    """Trials at a time while half-open, and successes in a row that close it, 1 to 10,000."""
    volume_threshold: int = 20
    """Outcomes the window must hold before the breaker may open, 1 to 1,000,000."""
    slow_call_threshold_ms: float = 10_000
    """A call that takes longer than this is slow, 1 ms to a day."""
    slow_call_rate_threshold: float = 50
    """Share of slow calls in the window that opens the breaker, 0.01 to 100 %."""
    enable_event_emission: bool = True
    """False: listeners are not called."""
    enable_metrics: bool = True
    """False: `metrics()` shows zeros; the window still decides."""
    window_ms: float = 60_000
    """How far back outcomes count, 1 second to 1 hour, rounded up to whole seconds."""

    def __post_init__(self) -> None:
        _check_name(self.name)
        for field, (low, high) in _FRACTIONAL.items():
            _check_number(field, getattr(self, field), low, high)
        for field, (low, high) in _WHOLE.items():
            _check_count(field, getattr(self, field), low, high)
        for field in ("enable_event_emission", "enable_metrics"):
            _check_flag(field, getattr(self, field))

    def as_dict(self) -> dict[str, object]:
        """The settings under the names of contract 8 (`errorThreshold`, …; times in ms)."""
        return _public(self)


@dataclass(frozen=True)
class CircuitBreakerMetrics:
    """A snapshot of one breaker (contract 8). Rates are percentages, times milliseconds.

    Totals count since creation; times, rates and throughput speak of the window. A rate is None
    while the window holds fewer than `minimum_requests` outcomes.
    """

    total_requests: int = 0
    """Calls admitted and settled as success or failure."""
    successful_requests: int = 0
    failed_requests: int = 0
    timeouts: int = 0
    """Failed requests that were time-outs."""
    slow_calls: int = 0
    rejected_requests: int = 0
    """Calls not let through; not part of `total_requests`."""
    average_response_time_ms: float = 0.0
    p95_response_time_ms: float = 0.0
    """Nearest rank over a bounded sample of the window; 0 when it is empty."""
    p99_response_time_ms: float = 0.0
    error_rate: float | None = None
    success_rate: float | None = None
    slow_call_rate: float | None = None
    uptime: float = 0.0
    """Share of the time since creation not spent open, in percent."""
    throughput: float = 0.0
    """Settled calls a second over the part of the window that has passed."""

    def as_dict(self) -> dict[str, object]:
        """The figures under the names of contract 8 (`totalRequests`, …; times in ms)."""
        return _public(self)


@dataclass(frozen=True)
class StateChange:
    """One transition of one breaker: what its listeners hear (contract 6, `circuit_breaker.*`)."""

    service_name: str
    old_state: CircuitState
    new_state: CircuitState
    error_rate: float | None
    """Failures in percent of the window at the transition; None below `minimum_requests`."""
    request_count: int
    """Outcomes in the window at the transition."""
    failure_count: int
    """Failures among them."""
    last_failure_time: datetime | None
    next_retry_time: datetime | None
    """When a call may be let through again (UTC); None when calls already are."""
    configuration: CircuitBreakerConfig
    changed_at: datetime
    """When it happened (UTC); hand it to `follow` so that old news is told from new."""


_FRACTIONAL: Mapping[str, tuple[float, float]] = {
    "error_threshold": PERCENT,
    "timeout_ms": TIME_MS,
    "reset_timeout_ms": TIME_MS,
    "slow_call_threshold_ms": TIME_MS,
    "slow_call_rate_threshold": PERCENT,
    "window_ms": WINDOW_MS,
}
_WHOLE: Mapping[str, tuple[int, int]] = {
    "minimum_requests": COUNT,
    "max_concurrent_requests": TRIALS,
    "volume_threshold": COUNT,
}


def _check_name(name: object) -> None:
    if name is not None and not (isinstance(name, str) and 0 < len(name) <= NAME_LENGTH_MAX):
        raise ValueError(f"name must be None or 1 to {NAME_LENGTH_MAX} characters, not {name!r}")


def _check_number(field: str, value: object, low: float, high: float) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and low <= value <= high):  # type: ignore[operator]
        raise ValueError(f"{field} must be a number from {low} to {high}, not {value!r}")


def _check_count(field: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{field} must be a whole number from {low} to {high}, not {value!r}")


def _check_flag(field: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{field} must be True or False, not {value!r}")


def _public(value: CircuitBreakerConfig | CircuitBreakerMetrics) -> dict[str, object]:
    return {_camel(field.name): getattr(value, field.name) for field in fields(value)}


def _camel(name: str) -> str:
    first, *rest = name.removesuffix("_ms").split("_")
    return first + "".join(word.capitalize() for word in rest)
