"""The server-side function that appends to one event log in a single round trip (design 4)."""

from dataclasses import dataclass

from psycopg.sql import SQL, Composed, Identifier, Literal

POSITION_TAKEN = "the follower is not at the position where this batch began, or is past its end"
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


APPEND_FUNCTION = SQL("""
CREATE OR REPLACE FUNCTION {function}(
    ids uuid[], versions bigint[], topics text[], states bytea[],
    leader text, leader_position bigint, leader_after bigint
) RETURNS SETOF bigint LANGUAGE plpgsql AS $append$
BEGIN
    IF leader IS NOT NULL THEN
        UPDATE {tracking} AS t SET notification_id = leader_position
        WHERE t.application_name = leader AND t.notification_id < leader_position
        AND (leader_after IS NULL OR t.notification_id = leader_after);
        IF NOT FOUND AND coalesce(leader_after, 0) = 0 THEN
            INSERT INTO {tracking} (application_name, notification_id)
            VALUES (leader, leader_position) ON CONFLICT (application_name) DO NOTHING;
        END IF;
        IF NOT FOUND THEN
            RAISE unique_violation USING MESSAGE = {taken};
        END IF;
    END IF;
    IF cardinality(ids) = 0 THEN
        IF leader IS NOT NULL THEN
            PERFORM set_config('synchronous_commit', 'off', true);
        END IF;
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
""")


def create_append_function(
    *, events_table: str, tracking_table: str, function: str, channel: str
) -> Composed:
    """SQL that creates the function `(ids, versions, topics, states, leader, position, after)`.

    It takes the log's transaction-scoped advisory lock, so that positions become visible in the
    order in which they are given out: whoever reads position n will never see a smaller one
    appear later. Then it records the follower's position (if any), inserts the events, tells
    the listeners how far the log reaches and which aggregates changed, and returns the new
    positions. A position that was recorded before, like an event that was, ends in
    `unique_violation`; so does one that was reached from elsewhere than the recorded one
    (`after`; null: from anywhere before).

    A follower's position without events does not wait for the disk: should the server crash in the
    next second, then position and rows are lost together, and made again from the same events.
    Whatever is committed after them with waiting, such as a claim on the agenda, takes them along.
    """
    return APPEND_FUNCTION.format(
        function=Identifier(function),
        tracking=Identifier(tracking_table),
        events=Identifier(events_table),
        channel=Literal(channel),
        taken=Literal(POSITION_TAKEN),
        ids_max=Literal(IDS_IN_PAYLOAD_MAX),
        none=Literal(NOTHING_CHANGED),
    )
