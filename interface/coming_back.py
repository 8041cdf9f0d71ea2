"""When a call that a breaker turned away comes back: late enough that work which waits for trials
that hang does not go in circles, soon enough after trials that are quick."""

from collections.abc import Callable

from application.breaker_values import RejectionReason
from application.circuit_breaker import CircuitBreakerConfig, CircuitOpenError

Jitter = Callable[[float, float], float]
"""A random number between two."""

TRIAL_WAIT_MS_MIN = 1000


def wait_ms(rejection: CircuitOpenError, config: CircuitBreakerConfig, jitter: Jitter) -> int:
    """After `open`, until a call may pass. After `half_open_limit` somewhere between 1 s and the
    double of the time that the oldest trial has taken so far: one that has just begun is likely
    to end in a moment, one that has hung for long to hang on. The longest wait is 2 s at the
    least, and at the most half of the time that a trial may take."""
    if rejection.reason != RejectionReason.HALF_OPEN_LIMIT:
        return rejection.retry_after_ms
    taken_ms = config.timeout_ms - rejection.retry_after_ms
    longest_ms = max(2 * TRIAL_WAIT_MS_MIN, min(2 * taken_ms, config.timeout_ms / 2))
    return round(jitter(TRIAL_WAIT_MS_MIN, longest_ms))
