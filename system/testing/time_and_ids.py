"""Time that moves only when told to, and ids that are the same for the same seed."""

import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

TICK = timedelta(microseconds=1)


class VirtualClock:
    """A clock that a test moves. Each reading is a microsecond later than the one before, so
    that no two events have the same time."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start

    def now(self) -> datetime:
        """The virtual time (UTC)."""
        self._now += TICK
        return self._now

    def move_to(self, moment: datetime) -> None:
        """Moves the clock forward, never back."""
        self._now = max(self._now, moment)

    def jump_back(self, duration: timedelta) -> None:
        """Somebody corrects a clock that was fast."""
        self._now -= duration


class SeededIds:
    """Ids from a seed: the same seed gives the same history."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311

    def uuid(self) -> UUID:
        """The next id."""
        return UUID(int=self._random.getrandbits(128), version=4)

    def token_bytes(self, count: int) -> bytes:
        """The next `count` bytes."""
        return self._random.randbytes(count)
