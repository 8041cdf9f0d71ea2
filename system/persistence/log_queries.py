"""The statements that read and extend one event log, made once and sent prepared: their texts are
asked for with every event."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from eventsourcing.persistence import Notification, StoredEvent, Tracking
from psycopg import Connection, Cursor
from psycopg.errors import UniqueViolation
from psycopg.rows import DictRow, tuple_row
from psycopg.sql import SQL, Identifier

from system.persistence.log_function import WAIT_FOR_DISK, LogNames
from system.persistence.reached import starts_at

VERSION_MAX = 2**63 - 1

ONE = "ARRAY[%b::uuid], ARRAY[%b::bigint], ARRAY[%b::text], ARRAY[%b::bytea]"
MANY = "%b::uuid[], %b::bigint[], %b::text[], %b::bytea[]"

APPEND = "SELECT * FROM {}({}, %b::text, %b::bigint, %b::bigint, %b::uuid)"
KEEP = "CALL {}({}, %b::uuid, %b::uuid, NULL)"

Row = tuple[Any, ...]


class LogQueries:
    """Reads one log, and extends it by its append routines."""

    def __init__(self, names: LogNames) -> None:
        events = Identifier(names.events)
        append, keep = (
            {
                is_one: SQL(statement).format(Identifier(routine), SQL(ONE if is_one else MANY))
                for is_one in (True, False)
            }
            for statement, routine in ((APPEND, names.function), (KEEP, names.procedure))
        )
        self._append = {is_one: each.as_bytes() for is_one, each in append.items()}
        self._keep = {is_one: each.as_bytes() for is_one, each in keep.items()}
        self._of_aggregate = (
            SQL(
                "SELECT originator_id, originator_version, topic, state FROM {} "
                "WHERE originator_id = %b AND originator_version > %b AND originator_version <= %b "
                "ORDER BY originator_version"
            )
            .format(events)
            .as_bytes()
        )
        self._kept_of_aggregate = (
            SQL(
                "SELECT originator_id, originator_version, topic, state FROM {} "
                "CROSS JOIN ({}) AS kept WHERE originator_id = %b ORDER BY originator_version"
            )
            .format(events, SQL(WAIT_FOR_DISK))
            .as_bytes()
        )
        self._of_aggregates = (
            SQL(
                "SELECT originator_id, originator_version, topic, state FROM {} "
                "WHERE originator_id = ANY(%b) ORDER BY originator_id, originator_version"
            )
            .format(events)
            .as_bytes()
        )
        self._of_versions = (
            SQL(
                "SELECT originator_id, originator_version, topic, state, notification_id FROM {} "
                "WHERE (originator_id, originator_version) IN "
                "(SELECT * FROM unnest(%b::uuid[], %b::bigint[])) ORDER BY notification_id"
            )
            .format(events)
            .as_bytes()
        )
        self._after = (
            SQL(
                "SELECT originator_id, originator_version, topic, state, notification_id FROM {} "
                "WHERE notification_id > %b ORDER BY notification_id LIMIT %b"
            )
            .format(events)
            .as_bytes()
        )

    def append(
        self,
        connection: Connection[DictRow],
        events: Sequence[StoredEvent],
        tracking: Tracking | None,
        epoch: UUID | None,
    ) -> Cursor[Row]:
        """Calls the append function; the new positions are in the cursor, a row for each."""
        reached = (
            (tracking.application_name, tracking.notification_id, starts_at(tracking))
            if tracking
            else (None, None, None)
        )
        statement = self._append[len(events) == 1]
        return _execute(connection, statement, (*_columns(events), *reached, epoch))

    def keep(
        self,
        connection: Connection[DictRow],
        events: Sequence[StoredEvent],
        epoch: UUID | None,
        done: UUID | None,
    ) -> list[int]:
        """Calls the append procedure, which takes work that is done off the agenda: returns the
        new positions when the events are on the disk. So is what they are in conflict with, when
        they are: the caller builds on that next."""
        statement = self._keep[len(events) == 1]
        try:
            row = _execute(connection, statement, (*_columns(events), epoch, done)).fetchone()
        except UniqueViolation:
            connection.execute(WAIT_FOR_DISK, prepare=True)
            raise
        assert row is not None
        positions: list[int] = row[0]
        return positions

    def of_aggregate(
        self, connection: Connection[DictRow], aggregate_id: UUID, above: int, last: int
    ) -> list[StoredEvent]:
        """An aggregate's events from version `above` (exclusive) to `last`, oldest first."""
        cursor = _execute(connection, self._of_aggregate, (aggregate_id, above, last))
        return [StoredEvent(*row) for row in cursor.fetchall()]

    def kept_of_aggregate(
        self, connection: Connection[DictRow], aggregate_id: UUID
    ) -> list[StoredEvent]:
        """All of an aggregate's events, oldest first. The query writes something that means
        nothing, so that it returns only when all that it read is on the disk."""
        cursor = _execute(connection, self._kept_of_aggregate, (aggregate_id,))
        return [StoredEvent(*row) for row in cursor.fetchall()]

    def of_aggregates(
        self, connection: Connection[DictRow], aggregate_ids: Sequence[UUID]
    ) -> list[StoredEvent]:
        """All events of several aggregates, those of each together and oldest first."""
        cursor = _execute(connection, self._of_aggregates, (list(aggregate_ids),))
        return [StoredEvent(*row) for row in cursor.fetchall()]

    def of_versions(
        self, connection: Connection[DictRow], events: Sequence[StoredEvent]
    ) -> list[tuple[StoredEvent, int]]:
        """What stands in the log where these events belong, with the positions, in their order."""
        ids = [event.originator_id for event in events]
        versions = [event.originator_version for event in events]
        cursor = _execute(connection, self._of_versions, (ids, versions))
        return [(StoredEvent(*row), position) for *row, position in cursor.fetchall()]

    def after(
        self, connection: Connection[DictRow], position: int, limit: int
    ) -> list[Notification]:
        """Up to `limit` events of the log behind a position, in order."""
        cursor = _execute(connection, self._after, (position, limit))
        return [Notification(*row) for row in cursor.fetchall()]


def _columns(events: Sequence[StoredEvent]) -> tuple[Any, ...]:
    """The fields of one event, and of more than one column by column."""
    if len(events) == 1:
        [event] = events
        return event.originator_id, event.originator_version, event.topic, event.state
    return (
        [event.originator_id for event in events],
        [event.originator_version for event in events],
        [event.topic for event in events],
        [event.state for event in events],
    )


def _execute(
    connection: Connection[DictRow], statement: bytes, parameters: Sequence[Any]
) -> Cursor[Row]:
    cursor = connection.cursor(row_factory=tuple_row)
    return cursor.execute(statement, parameters, prepare=True, binary=True)
