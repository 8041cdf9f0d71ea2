"""The real time and real randomness: the only place that reads either."""

import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self
from uuid import UUID, uuid4

SPEED_MAX = 1000
"""Beyond it the processes themselves are slower than the days they show."""


class SystemClock:
    """The computer's clock, in UTC."""

    speed: float = 1
    """How many seconds it shows in one of the computer's."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def now(self) -> datetime:
        """See `application.ports.Clock.now`."""
        return datetime.now(UTC)


@dataclass(frozen=True)
class HurriedClock:
    """A clock that shows `since` at that very moment and goes `speed` times as fast: all processes
    that are told the same show the same time. For days of simulated business in minutes."""

    speed: float
    since: datetime

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `SPEED@TIME`, such as `288@2026-11-23T06:00:00Z`.

        Raises:
            ValueError: it is not of that form, or the speed is not from 1 to `SPEED_MAX`.
        """
        speed, _, since = text.partition("@")
        try:
            clock = cls(float(speed), datetime.fromisoformat(since).astimezone(UTC))
        except ValueError:
            raise ValueError("expected SPEED@TIME like 288@2026-11-23T06:00:00Z") from None
        if not 1 <= clock.speed <= SPEED_MAX:
            raise ValueError(f"expected a speed from 1 to {SPEED_MAX}")
        return clock

    def now(self) -> datetime:
        """See `application.ports.Clock.now`."""
        return self.since + (datetime.now(UTC) - self.since) * self.speed

    def monotonic(self) -> float:
        """Seconds that pass as fast as `now` does and never go back."""
        return time.monotonic() * self.speed


AnyClock = SystemClock | HurriedClock
COMPUTERS_CLOCK = SystemClock()


class RandomIds:
    """Ids and keys from the operating system's randomness."""

    def uuid(self) -> UUID:
        """See `application.ports.Ids.uuid`."""
        return uuid4()

    def token_bytes(self, count: int) -> bytes:
        """See `application.ports.Ids.token_bytes`."""
        return secrets.token_bytes(count)
