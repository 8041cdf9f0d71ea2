"""The real time and real randomness: the only place that reads either."""

import secrets
from datetime import UTC, datetime
from uuid import UUID, uuid4


class SystemClock:
    """The computer's clock, in UTC."""

    def now(self) -> datetime:
        """See `application.ports.Clock.now`."""
        return datetime.now(UTC)


class RandomIds:
    """Ids and keys from the operating system's randomness."""

    def uuid(self) -> UUID:
        """See `application.ports.Ids.uuid`."""
        return uuid4()

    def token_bytes(self, count: int) -> bytes:
        """See `application.ports.Ids.token_bytes`."""
        return secrets.token_bytes(count)
