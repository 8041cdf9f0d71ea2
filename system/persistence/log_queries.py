"""The statements that read and extend one event log, made once and sent prepared: their texts are
asked for with every event."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from eventsourcing.persistence import Notification, StoredEvent, Tracking
from psycopg import Connection, Cursor
from psycopg.rows import DictRow, tuple_row
from psycopg.sql import SQL, Identifier

from system.persistence.reached import starts_at

VERSION_MAX = 2**63 - 1

ONE = "ARRAY[%b::uuid], ARRAY[%b::bigint], ARRAY[%b::text], ARRAY[%b::bytea]"
MANY = "%b::uuid[], %b::bigint[], %b::text[], %b::bytea[]"

Row = tuple[Any, ...]


class LogQueries:
    """Reads and extends the log in `table` by its append `function`."""

    def __init__(self, table: str, function: str) -> None:
        events, append = Identifier(table), Identifier(function)
        call = "SELECT * FROM {}({}, %b::text, %b::bigint, %b::bigint)"
        self._append_one = SQL(call).format(append, SQL(ONE)).as_bytes()
        self._append_many = SQL(call).format(append, SQL(MANY)).as_bytes()
        self._of_aggregate = (
            SQL(
                "SELECT originator_id, originator_version, topic, state FROM {} "
                "WHERE originator_id = %b AND originator_version > %b AND originator_version <= %b "
                "ORDER BY originator_version"
            )
            .format(events)
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
    ) -> Cursor[Row]:
        """Calls the append function; the new positions are in the cursor."""
        reached = (
            (tracking.application_name, tracking.notification_id, starts_at(tracking))
            if tracking
            else (None, None, None)
        )
        if len(events) == 1:
            [event] = events
            fields: Sequence[Any] = (
                event.originator_id,
                event.originator_version,
                event.topic,
                event.state,
            )
            return _execute(connection, self._append_one, (*fields, *reached))
        fields = (
            [event.originator_id for event in events],
            [event.originator_version for event in events],
            [event.topic for event in events],
            [event.state for event in events],
        )
        return _execute(connection, self._append_many, (*fields, *reached))

    def of_aggregate(
        self, connection: Connection[DictRow], aggregate_id: UUID, above: int, last: int
    ) -> list[StoredEvent]:
        """An aggregate's events from version `above` (exclusive) to `last`, oldest first."""
        cursor = _execute(connection, self._of_aggregate, (aggregate_id, above, last))
        return [StoredEvent(*row) for row in cursor.fetchall()]

    def of_aggregates(
        self, connection: Connection[DictRow], aggregate_ids: Sequence[UUID]
    ) -> list[StoredEvent]:
        """All events of several aggregates, those of each together and oldest first."""
        cursor = _execute(connection, self._of_aggregates, (list(aggregate_ids),))
        return [StoredEvent(*row) for row in cursor.fetchall()]

    def after(
        self, connection: Connection[DictRow], position: int, limit: int
    ) -> list[Notification]:
        """Up to `limit` events of the log behind a position, in order."""
        cursor = _execute(connection, self._after, (position, limit))
        return [Notification(*row) for row in cursor.fetchall()]


def _execute(
    connection: Connection[DictRow], statement: bytes, parameters: Sequence[Any]
) -> Cursor[Row]:
    cursor = connection.cursor(row_factory=tuple_row)
    return cursor.execute(statement, parameters, prepare=True, binary=True)
