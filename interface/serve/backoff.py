"""When to start again what ended: at once the first time, later and later after that."""

from dataclasses import dataclass

DELAY_BASE_SECONDS = 0.5
DELAY_MAX_SECONDS = 30.0
STEADY_AFTER_SECONDS = 30.0
"""Whoever ran this long is taken for healthy: its next end starts with a short delay again."""


@dataclass
class Backoff:
    """The delays of one thing that is kept alive. Moments are seconds of a monotonic clock."""

    started_at: float = 0.0
    ended_early: int = 0
    """How many times in a row it ended before it ran steadily."""

    def started(self, now: float) -> None:
        """It was started."""
        self.started_at = now

    def ended(self, now: float) -> float:
        """It ended; returns how many seconds to wait before the next start."""
        if now - self.started_at >= STEADY_AFTER_SECONDS:
            self.ended_early = 0
        delay_seconds = DELAY_BASE_SECONDS * 2.0 ** min(self.ended_early, 16)
        self.ended_early += 1
        return min(delay_seconds, DELAY_MAX_SECONDS)
