"""Two small guards at the gateway's door: against repeated requests and against too many."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable


class DuplicateGuard:
    """Remembers what was asked within the last ``window_seconds``.

    Not thread-safe: its owner holds a lock. Source: PayTabs, section 8 of docs/paytabs.md.
    """

    def __init__(self, window_seconds: float) -> None:
        self._window_seconds = window_seconds
        self._seen: dict[Hashable, float] = {}

    def admits(self, key: Hashable, now: float) -> bool:
        """Whether ``key`` is new within the window; an admitted key starts its window."""
        self._forget(now)
        if key in self._seen:
            return False
        self.remember(key, now)
        return True

    def remember(self, key: Hashable, now: float) -> None:
        """Start the window of ``key`` (also used when the books are read back)."""
        if self._window_seconds > 0:
            self._seen.pop(key, None)
            self._seen[key] = now

    def _forget(self, now: float) -> None:
        oldest = now - self._window_seconds
        while self._seen and self._seen[next(iter(self._seen))] <= oldest:
            del self._seen[next(iter(self._seen))]


class RateLimiter:
    """Allows ``per_minute`` calls in any 60 seconds; 0 allows all.

    Not thread-safe: its owner holds a lock.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._calls: deque[float] = deque(maxlen=per_minute or 1)

    def wait_seconds(self) -> float:
        """0 when the call is allowed (and counted), else how long to wait."""
        now = self._clock()
        if self._per_minute and len(self._calls) == self._per_minute:
            wait = self._calls[0] + 60 - now
            if wait > 0:
                return wait
        self._calls.append(now)
        return 0
