"""The server-side function that appends to one event log in a single round trip (design 4)."""

from dataclasses import dataclass

from psycopg.sql import SQL, Composed, Identifier, Literal

POSITION_TAKEN = "the follower is not at the position where this batch began, or is past its end"
EPOCH_OVER = "the database has come back from a crash: what was read before may be lost"
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

    @property
    def may_change(self) -> bool:
        """False when aggregates were only made, such as entries of the audit log."""
        return self.changed_ids != ()

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
    leader text, leader_position bigint, leader_after bigint, known_epoch uuid
) RETURNS SETOF bigint LANGUAGE plpgsql AS $append$
BEGIN
    IF known_epoch IS NOT NULL AND NOT EXISTS (SELECT FROM epoch WHERE id = known_epoch) THEN
        RAISE unique_violation USING MESSAGE = {lost};
    END IF;
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
    IF leader IS NOT NULL OR cardinality(ids) > 0 THEN
        PERFORM set_config('synchronous_commit', 'off', true);
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
$append$;

CREATE OR REPLACE PROCEDURE {procedure}(
    ids uuid[], versions bigint[], topics text[], states bytea[], known_epoch uuid,
    done uuid, INOUT positions bigint[]
) LANGUAGE plpgsql AS $keep$
BEGIN
    positions := ARRAY(
        SELECT * FROM {function}(ids, versions, topics, states, NULL, NULL, NULL, known_epoch)
    );
    IF done IS NOT NULL THEN
        DELETE FROM agenda WHERE work_id = done;
    END IF;
    COMMIT;
    PERFORM wait_for_disk();
END
$keep$
""")
"""The function appends, within a transaction that does not wait for the disk; the procedure does so
in a transaction of its own, in which it takes the work that is `done` off the agenda, and then
waits."""

WAIT_FOR_DISK = "SELECT wait_for_disk()"
CREATE_WAIT_FOR_DISK = """
CREATE OR REPLACE FUNCTION wait_for_disk() RETURNS void LANGUAGE sql
AS $$ SELECT FROM pg_logical_emit_message(true, 'paysaga', '') $$
"""
"""Writes something that means nothing: its commit waits until all that was committed before is on
the disk, and on that of synchronous standbys (for which a flush of the message would not wait)."""


@dataclass(frozen=True)
class LogNames:
    """What a log's tables and routines are called in the database; `channel` is where new events
    are announced."""

    events: str
    tracking: str
    channel: str
    function: str
    procedure: str


def create_append_routines(names: LogNames) -> Composed:
    """SQL that creates a log's function and its procedure (design 4).

    The function takes the log's transaction-scoped advisory lock, so that positions become visible
    in the order in which they are given out: whoever reads position n will never see a smaller one
    appear later. Then it records the follower's position (if any), inserts the events, tells
    the listeners how far the log reaches and which aggregates changed, and returns the new
    positions. A position that was recorded before, like an event that was, ends in
    `unique_violation`; so does one that was reached from elsewhere than the recorded one
    (`leader_after`; null: from anywhere before), and whatever builds on what was read in another
    epoch (`known_epoch`; null: on nothing; see `system.persistence.epoch`).

    Its commit does not wait for the disk, so that the lock is free for the next writer at once.
    What a client, the gateway or an operator said is appended through the procedure, which waits
    before it returns, together with everybody else who waits at that moment, or is waited for
    afterwards. What followers make of it need not wait: after a crash it is made again from the
    same events. Nobody outside hears of it before it is on the disk, because whatever goes out is
    claimed on the agenda first, and a commit that waits takes all earlier ones along.
    """
    return APPEND_FUNCTION.format(
        function=Identifier(names.function),
        procedure=Identifier(names.procedure),
        tracking=Identifier(names.tracking),
        events=Identifier(names.events),
        channel=Literal(names.channel),
        taken=Literal(POSITION_TAKEN),
        lost=Literal(EPOCH_OVER),
        ids_max=Literal(IDS_IN_PAYLOAD_MAX),
        none=Literal(NOTHING_CHANGED),
    )
