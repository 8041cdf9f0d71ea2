"""Counts requests per API key and minute, over all processes."""

from datetime import datetime

from system.persistence.postgres import PostgresPersistence, reconnecting

COUNT = """
WITH forgotten AS (DELETE FROM request_counts WHERE name = %(name)s AND minute < %(minute)s)
INSERT INTO request_counts AS r VALUES (%(name)s, %(minute)s, 1)
ON CONFLICT (name, minute) DO UPDATE SET count = r.count + 1 RETURNING count
"""


class RateLimits:
    """Allows each key `per_minute` requests in every minute of the clock; 0 allows any number."""

    def __init__(self, persistence: PostgresPersistence, per_minute: int) -> None:
        self._persistence = persistence
        self._per_minute = per_minute

    def wait_seconds(self, name: str, now: datetime) -> int | None:
        """Counts a request. None when it is allowed, else how long the key has to wait."""
        if self._per_minute == 0 or self._count(name, now) <= self._per_minute:
            return None
        return 60 - now.second

    @reconnecting
    def _count(self, name: str, now: datetime) -> int:
        minute = now.replace(second=0, microsecond=0)
        with self._persistence.connection() as connection:
            row = connection.execute(COUNT, {"name": name, "minute": minute}).fetchone()
        return int(row["count"]) if row else 0
