"""The figures of a breaker: what it counts for ever, and how its metrics are made of that."""

from dataclasses import dataclass
from functools import partial

from application.breaker_values import CircuitBreakerMetrics
from application.sliding_window import WindowFigures, nearest_rank


@dataclass(slots=True)
class Totals:
    """Calls since the breaker was made. Not safe for threads: the breaker's lock guards it."""

    successful: int = 0
    failed: int = 0
    timeouts: int = 0
    slow: int = 0
    rejected: int = 0

    def add(self, *, failed: bool, timed_out: bool, slow: bool) -> None:
        """Counts one call that settled."""
        self.successful += not failed
        self.failed += failed
        self.timeouts += timed_out
        self.slow += slow


def rate_of(part: int, whole: int, whole_min: int) -> float | None:
    """A share in percent; None when the whole is too small to speak of one."""
    return part * 100 / whole if whole >= whole_min else None


def percent_up(lived_s: float, open_s: float) -> float:
    """The share of its life that a breaker was not open."""
    return 100 * (1 - open_s / lived_s) if lived_s > 0 else 100.0


def metrics_of(
    totals: Totals, figures: WindowFigures, minimum_requests: int, uptime: float
) -> CircuitBreakerMetrics:
    """The snapshot of contract 8."""
    requests, latencies_ms = figures.requests, sorted(figures.latencies_ms)
    rate = partial(rate_of, whole=requests, whole_min=minimum_requests)
    return CircuitBreakerMetrics(
        total_requests=totals.successful + totals.failed,
        successful_requests=totals.successful,
        failed_requests=totals.failed,
        timeouts=totals.timeouts,
        slow_calls=totals.slow,
        rejected_requests=totals.rejected,
        average_response_time_ms=figures.total_ms / requests if requests else 0.0,
        p95_response_time_ms=nearest_rank(latencies_ms, 95),
        p99_response_time_ms=nearest_rank(latencies_ms, 99),
        error_rate=rate(figures.failures),
        success_rate=rate(requests - figures.failures),
        slow_call_rate=rate(figures.slow),
        uptime=uptime,
        throughput=requests / figures.seconds if figures.seconds > 0 else 0.0,
    )
