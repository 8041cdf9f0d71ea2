"""The server-side function that appends to one event log in a single round trip (design 4)."""

from dataclasses import dataclass

from psycopg.sql import SQL, Composed, Identifier, Literal

POSITION_TAKEN = "a follower has recorded this position or a later one already"
FLUSH = b"SELECT pg_logical_emit_message(true, 'paysaga', '')"
"""A transaction of its own that waits for the disk, and so for all that was committed before it:
the smallest that PostgreSQL knows."""

IDS_IN_PAYLOAD_MAX = 200
"""A notification's payload is at most 8,000 bytes; with more aggregates it is left empty."""
NOTHING_CHANGED = "-"
"""Stands for the ids when aggregates were made and none was changed: nobody can have waited for
them."""


@dataclass(frozen=True)
class Announcement:
    """What a log's channel says of an append: the position of its last event, None when anything
    may have been recorded, and the ids of the aggregates that changed, None when it may be any."""

    position: int | None
    changed_ids: tuple[str, ...] | None

    @classmethod
    def read(cls, payload: str) -> "Announcement":
        """The announcement in a notification's payload; "" says that some may have been missed."""
        position, _, ids = payload.partition(" ")
        if not position:
            return cls(None, None)
        changed = () if ids == NOTHING_CHANGED else tuple(ids.split(",")) if ids else None
        return cls(int(position), changed)


def create_append_function(
    *, events_table: str, tracking_table: str, function: str, channel: str
) -> Composed:
    """SQL that creates the function `(ids, versions, topics, states, leader, position)`.

    It takes the log's transaction-scoped advisory lock, so that positions become visible in the
    order in which they are given out: whoever reads position n will never see a smaller one
    appear later. Then it records the follower's position (if any), inserts the events, tells
    the listeners how far the log reaches now and which aggregates changed, and returns the new
    positions. A position that was recorded before, like an event that was, ends in
    `unique_violation`.

    The commit does not wait for the disk, so that the lock is not held meanwhile. Whoever must not
    go on before it is there waits afterwards with `FLUSH`, together with everybody else who does.
    """
    return SQL(
        """
        CREATE OR REPLACE FUNCTION {function}(
            ids uuid[], versions bigint[], topics text[], states bytea[],
            leader text, leader_position bigint
        ) RETURNS SETOF bigint LANGUAGE plpgsql AS $append$
        BEGIN
            PERFORM set_config('synchronous_commit', 'off', true);
            IF leader IS NOT NULL THEN
                INSERT INTO {tracking} AS t (application_name, notification_id)
                VALUES (leader, leader_position)
                ON CONFLICT (application_name) DO UPDATE SET notification_id = leader_position
                WHERE t.notification_id < leader_position;
                IF NOT FOUND THEN
                    RAISE unique_violation USING MESSAGE = {taken};
                END IF;
            END IF;
            IF cardinality(ids) = 0 THEN
                RETURN;
            END IF;
            PERFORM pg_advisory_xact_lock(hashtext({channel}));
            RETURN QUERY
                INSERT INTO {events} (originator_id, originator_version, topic, state)
                SELECT e.id, e.version, e.topic, e.state
                FROM unnest(ids, versions, topics, states)
                    WITH ORDINALITY AS e(id, version, topic, state, place)
                ORDER BY e.place
                RETURNING notification_id;
            PERFORM pg_notify({channel}, lastval() || ' ' || CASE WHEN cardinality(ids) <= {ids_max}
                THEN (SELECT coalesce(string_agg(e.id::text, ','), {none})
                    FROM unnest(ids, versions) AS e(id, version) WHERE e.version > 1)
                ELSE '' END);
        END
        $append$
        """
    ).format(
        function=Identifier(function),
        tracking=Identifier(tracking_table),
        events=Identifier(events_table),
        channel=Literal(channel),
        taken=Literal(POSITION_TAKEN),
        ids_max=Literal(IDS_IN_PAYLOAD_MAX),
        none=Literal(NOTHING_CHANGED),
    )
