"""How many events of each kind there are, counted on from where the last count ended.

To count whole logs at every scrape would cost more with every payment there ever was.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from psycopg import Connection
from psycopg.rows import DictRow
from psycopg.sql import SQL, Composed, Identifier

BATCH_SIZE = 1000
"""How many events are counted in one transaction."""

BUDGET_SECONDS = 2.0
"""After so long the rest is left to the next count. At least one batch is taken in."""

COUNT_LOCK = 7_261_002
"""The advisory lock of whoever counts; the others read what has been counted."""

FINAL_SECONDS = (1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600)
"""The bounds of the histogram of times from creation to a final status: a customer takes minutes,
and a page lives for 20 by default."""

BOUNDS = (*FINAL_SECONDS, inf)

REASONS = (
    "authorization_expired",
    "cancelled_by_customer",
    "capture_not_possible",
    "card_declined",
    "contract_cancelled",
    "expired",
    "gateway_error",
    "gateway_refused",
    "gateway_unavailable",
    "given_up",
    "requested_by_merchant",
)
"""Why payments fail or are cancelled; a merchant's own words are counted as `OTHER`."""

OTHER = "other"

PARTIAL = "partial"
"""The reason under which refunds of a part of the money are counted."""

PAYMENTS = "Payments"
FINAL_TOPICS = tuple(
    f"domain.payment:Payment.{name}" for name in ("Completed", "Failed", "Cancelled")
)
KINDS_OF_PAYMENTS = SQL(
    """
SELECT taken.topic, CASE
        WHEN why.reason IS NULL THEN '' WHEN why.reason = ANY(%(reasons)s) THEN why.reason
        ELSE %(other)s END AS reason,
    coalesce((SELECT min(bound) FROM unnest(%(bounds)s::float[]) AS bound
        WHERE bound >= took.seconds), 'Infinity') AS le,
    coalesce(took.seconds, 0) AS seconds
FROM taken
LEFT JOIN payments_events AS first ON taken.topic = ANY(%(finals)s)
    AND first.originator_id = taken.originator_id AND first.originator_version = 1
CROSS JOIN LATERAL (SELECT CASE
    WHEN first.state IS NOT NULL THEN coalesce(
        convert_from(taken.state, 'UTF8')::json #>> '{failure,_data_,code}',
        convert_from(taken.state, 'UTF8')::json ->> 'reason')
    WHEN taken.topic = %(refunded)s
        AND convert_from(taken.state, 'UTF8')::json ->> 'is_full' = 'false' THEN %(partial)s
    END AS reason) AS why
CROSS JOIN LATERAL (SELECT extract(epoch FROM
    (convert_from(taken.state, 'UTF8')::json #>> '{timestamp,_data_}')::timestamptz
    - (convert_from(first.state, 'UTF8')::json #>> '{timestamp,_data_}')::timestamptz
)::float AS seconds) AS took
"""
)
KINDS = SQL(
    "SELECT topic, coalesce({reason}, '') AS reason, 'Infinity'::float AS le, 0 AS seconds"
    " FROM taken"
)
REASON_IN = {
    "PaymentSagas": SQL("convert_from(state, 'UTF8')::json ->> 'step'"),
    "Webhooks": SQL(
        "split_part(coalesce(convert_from(state, 'UTF8')::json ->> 'outcome',"
        " convert_from(state, 'UTF8')::json ->> 'reason'), ':', 1)"
    ),
}
"""Under which reason the events of a log are counted: the step of a saga, and what came of a
notification. (What makes one unreadable, after the colon, is left out.)"""
COUNT = """
WITH taken AS MATERIALIZED (
    SELECT notification_id, originator_id, topic, state FROM {log}
    WHERE notification_id > coalesce(
        (SELECT position FROM event_count_positions WHERE log = %(log)s), 0)
    ORDER BY notification_id LIMIT %(batch_size)s
), kinds AS ({kinds}), counted AS (
    INSERT INTO event_counts AS known
    SELECT %(log)s, topic, reason, le, count(*), sum(seconds) FROM kinds GROUP BY topic, reason, le
    ON CONFLICT (log, topic, reason, le) DO UPDATE SET
        count = known.count + excluded.count, seconds = known.seconds + excluded.seconds
), moved AS (
    INSERT INTO event_count_positions
    SELECT %(log)s, max(notification_id) FROM taken HAVING count(*) > 0
    ON CONFLICT (log) DO UPDATE SET position = excluded.position
)
SELECT count(*) AS taken FROM taken
"""


@dataclass(frozen=True)
class EventCount:
    """How many events of a topic there are with one reason and in one bucket of the histogram
    (`le`, in seconds; infinite for events that end nothing). `seconds` is the sum of the times."""

    topic: str
    reason: str
    le: float
    count: int
    seconds: float


def event_counts(connection: Connection[DictRow], logs: Sequence[str]) -> list[EventCount]:
    """Counts what was recorded since the last count, for about `BUDGET_SECONDS`, and returns all
    that has been counted so far. The connection must be in autocommit mode."""
    end = time.monotonic() + BUDGET_SECONDS
    unread = list(logs)
    while unread:
        unread = [log for log in unread if _count(connection, log) == BATCH_SIZE]
        if time.monotonic() >= end:
            break
    rows = connection.execute("SELECT topic, reason, le, count, seconds FROM event_counts")
    return [EventCount(**row) for row in rows]


def _count(connection: Connection[DictRow], log: str) -> int:
    """Takes in one batch; returns how many events that were, none while somebody else counts."""
    with connection.transaction():
        if not _is_mine(connection):
            return 0
        row = connection.execute(_statement(log), _parameters(log)).fetchone()
        return int(row["taken"]) if row else 0


def _is_mine(connection: Connection[DictRow]) -> bool:
    row = connection.execute("SELECT pg_try_advisory_xact_lock(%s) AS got", (COUNT_LOCK,))
    return bool((row.fetchone() or {})["got"])


def _statement(log: str) -> Composed:
    reason = REASON_IN.get(log, SQL("NULL"))
    kinds = KINDS_OF_PAYMENTS if log == PAYMENTS else KINDS.format(reason=reason)
    return SQL(COUNT).format(log=Identifier(f"{log.lower()}_events"), kinds=kinds)


def _parameters(log: str) -> dict[str, Any]:
    return {
        "log": log,
        "batch_size": BATCH_SIZE,
        "reasons": [*REASONS, PARTIAL],
        "other": OTHER,
        "finals": list(FINAL_TOPICS),
        "bounds": list(FINAL_SECONDS),
        "refunded": "domain.payment:Payment.Refunded",
        "partial": PARTIAL,
    }
