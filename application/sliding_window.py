"""The outcomes of the last while, kept so that a breaker can judge each call in constant time."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor

SAMPLE_MAX = 8192
TICK_S = 1e-6
"""Clock readings closer than this are taken as equal: sums of floats are not exact."""


Settled = tuple[float, float, object]


@dataclass(frozen=True)
class WindowFigures:
    """What the window holds at one moment. `latencies_ms` is the bounded sample, unordered."""

    requests: int
    failures: int
    slow: int
    total_ms: float
    seconds: float
    """How much of the window has passed since it was begun."""
    latencies_ms: list[float]


class _Bucket:
    __slots__ = ("failures", "latencies_ms", "requests", "slow", "total_ms")

    def __init__(self, sample_max: int) -> None:
        self.latencies_ms: deque[float] = deque(maxlen=sample_max)
        self.empty()

    def empty(self) -> None:
        self.requests = self.failures = self.slow = 0
        self.total_ms = 0.0
        self.latencies_ms.clear()


class SlidingWindow:
    """A ring of one-second buckets with running totals (contract 8).

    `now` is in seconds of any clock that does not run backwards; an outcome that comes with an
    older time than the newest second goes into the newest bucket. The last bucket is the second
    that is running, so an outcome counts for at most `length_ms` and at least one second less.
    At most `SAMPLE_MAX` latencies are kept (the latest of each second), none with
    `keep_latencies=False`. Not safe for threads: the breaker's lock guards it.
    """

    __slots__ = (
        "_begun",
        "_bucket",
        "_edge",
        "_failures",
        "_requests",
        "_ring",
        "_second",
        "_slow",
    )

    def __init__(self, length_ms: float, now: float, *, keep_latencies: bool = True) -> None:
        size = ceil(length_ms / 1000)
        sample = max(SAMPLE_MAX // size, 1) if keep_latencies else 0
        self._ring = [_Bucket(sample) for _ in range(size)]
        self.clear(now)

    def clear(self, now: float) -> None:
        """Forgets every outcome and begins the window anew."""
        for bucket in self._ring:
            bucket.empty()
        self._requests = self._failures = self._slow = 0
        self._begun = now
        self._stand_on(floor(now + TICK_S))

    @property
    def requests(self) -> int:
        """Outcomes in the window, as of the last `record` or `advance`."""
        return self._requests

    @property
    def failures(self) -> int:
        """Failures among them."""
        return self._failures

    @property
    def slow(self) -> int:
        """Slow calls among them, failed or not."""
        return self._slow

    def record(self, now: float, elapsed_ms: float, *, failed: bool, slow: bool) -> None:
        """Adds one outcome."""
        self._add(((now, elapsed_ms, None),), None)
        self._failures += failed
        self._slow += slow
        self._bucket.failures += failed
        self._bucket.slow += slow

    def record_successes(self, settled: Iterable[Settled], mark: object) -> None:
        """Adds successes that were not slow: of these times, latencies in ms and marks, those
        that bear the mark."""
        self._add(settled, mark)

    def advance(self, now: float) -> None:
        """Lets the outcomes go that have left the window by now."""
        second = floor(now + TICK_S)
        size = len(self._ring)
        for passing in range(max(self._second + 1, second - size + 1), second + 1):
            self._let_go(self._ring[passing % size])
        if second > self._second:
            self._stand_on(second)

    def figures(self, now: float) -> WindowFigures:
        """What the window holds now."""
        self.advance(now)
        return WindowFigures(
            requests=self._requests,
            failures=self._failures,
            slow=self._slow,
            total_ms=sum(bucket.total_ms for bucket in self._ring),
            seconds=now - max(self._begun, self._second - len(self._ring) + 1),
            latencies_ms=[ms for bucket in self._ring for ms in bucket.latencies_ms],
        )

    def _add(self, settled: Iterable[Settled], mark: object) -> None:
        for now, elapsed_ms, its_mark in settled:
            if its_mark is not mark:
                continue
            if now >= self._edge:
                self.advance(now)
            bucket = self._bucket
            bucket.requests += 1
            bucket.total_ms += elapsed_ms
            bucket.latencies_ms.append(elapsed_ms)
            self._requests += 1

    def _let_go(self, bucket: _Bucket) -> None:
        self._requests -= bucket.requests
        self._failures -= bucket.failures
        self._slow -= bucket.slow
        bucket.empty()

    def _stand_on(self, second: int) -> None:
        self._second = second
        self._edge = second + 1 - TICK_S
        self._bucket = self._ring[second % len(self._ring)]


def nearest_rank(ordered: list[float], percent: int) -> float:
    """The smallest value that `percent` % of the ordered ones do not exceed; 0 of none."""
    return ordered[ceil(len(ordered) * percent / 100) - 1] if ordered else 0.0
