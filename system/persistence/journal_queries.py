"""Reads the journal, in pages and in the order of its positions."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.sql import SQL, Composable

from system.persistence.postgres import PostgresPersistence, reconnecting

Row = dict[str, Any]

PAGE_SIZE = 1000
"""The most entries that are held at once while the whole journal is read."""


@dataclass(frozen=True)
class EntryFilter:
    """Which entries are wanted. `timestamp_from` is included and `timestamp_to` is not, both as
    the envelope writes times; `subject_id` is a payment with all that belongs to it."""

    type: str | None = None
    aggregate_id: UUID | None = None
    correlation_id: str | None = None
    subject_id: UUID | None = None
    timestamp_from: str | None = None
    timestamp_to: str | None = None


CONDITIONS: dict[str, Composable] = {
    "type": SQL("type = %(type)s"),
    "aggregate_id": SQL("aggregate_id = %(aggregate_id)s"),
    "correlation_id": SQL("correlation_id = %(correlation_id)s"),
    "subject_id": SQL("subject_id = %(subject_id)s"),
    "timestamp_from": SQL("timestamp >= %(timestamp_from)s"),
    "timestamp_to": SQL("timestamp < %(timestamp_to)s"),
}
EVERYTHING = EntryFilter()


class JournalQueries:
    """Queries on the journal; it may be some hundred milliseconds behind the logs."""

    def __init__(self, persistence: PostgresPersistence) -> None:
        self._persistence = persistence

    @reconnecting
    def page(self, after: int, limit: int, wanted: EntryFilter = EVERYTHING) -> list[Row]:
        """Up to `limit` entries behind the position `after`, oldest first."""
        parameters: Row = {name: value for name, value in vars(wanted).items() if value is not None}
        conditions = [SQL("position > %(after)s"), *(CONDITIONS[name] for name in parameters)]
        statement = SQL("SELECT * FROM journal WHERE {} ORDER BY position LIMIT %(limit)s").format(
            SQL(" AND ").join(conditions)
        )
        with self._persistence.connection() as connection:
            parameters |= {"after": after, "limit": limit}
            return connection.execute(statement, parameters).fetchall()

    def all(self, wanted: EntryFilter = EVERYTHING) -> Iterator[Row]:
        """Every entry that is wanted, oldest first, read in pages."""
        position = 0
        while page := self.page(position, PAGE_SIZE, wanted):
            yield from page
            position = page[-1]["position"]

    @reconnecting
    def find(self, event_id: UUID) -> Row | None:
        """The entry of an event."""
        with self._persistence.connection() as connection:
            return connection.execute(
                "SELECT * FROM journal WHERE event_id = %s", (event_id,)
            ).fetchone()
