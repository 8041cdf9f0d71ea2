"""Reads the list of confirmations from its view, and how many stand how."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import DictRow
from psycopg.sql import SQL, Composable

from system.persistence.payment_queries import Place
from system.persistence.postgres import PostgresPersistence, reconnecting

Row = dict[str, Any]

COUNT_MAX = 10_000
"""Figures go no higher: whoever has more of them need not know how many more."""

FIGURES = """
SELECT
    (SELECT count(*) FROM (SELECT 1 FROM view_confirmations WHERE status = 'pending'
        LIMIT %(max)s) AS p) AS pending,
    (SELECT count(*) FROM (SELECT 1 FROM view_confirmations WHERE status = 'pending'
        AND failed_at IS NOT NULL LIMIT %(max)s) AS f) AS failing,
    (SELECT count(*) FROM (SELECT 1 FROM view_confirmations WHERE status = 'exhausted'
        LIMIT %(max)s) AS e) AS exhausted
"""


@dataclass(frozen=True)
class ConfirmationFigures:
    """How many confirmations are being tried, how many of these after a failure, and how many
    were given up; each `COUNT_MAX` at the most."""

    pending: int
    failing: int
    exhausted: int


class ConfirmationQueries:
    """Queries on the view of confirmations; it may be some milliseconds behind the events."""

    def __init__(self, persistence: PostgresPersistence) -> None:
        self._persistence = persistence

    @reconnecting
    def list(
        self,
        payment_id: UUID | None,
        status: str | None,
        limit: int,
        after: Place | None,
    ) -> list[Row]:
        """Up to `limit` confirmations, newest first."""
        conditions: list[Composable] = []
        if payment_id is not None:
            conditions.append(SQL("payment_id = %(payment_id)s"))
        if status is not None:
            conditions.append(SQL("status = %(status)s"))
        if after is not None:
            conditions.append(SQL("(created_at, confirmation_id) < (%(after_time)s, %(after_id)s)"))
        where = SQL(" AND ").join(conditions) if conditions else SQL("true")
        query = SQL(
            "SELECT * FROM view_confirmations WHERE {} "
            "ORDER BY created_at DESC, confirmation_id DESC LIMIT %(limit)s"
        ).format(where)
        parameters = {
            "payment_id": payment_id,
            "status": status,
            "limit": limit,
            "after_time": after.moment if after else None,
            "after_id": after.row_id if after else None,
        }
        with self._persistence.connection() as connection:
            return connection.execute(query, parameters).fetchall()

    @reconnecting
    def failed_since(self, since: datetime, limit: int) -> Sequence[UUID]:
        """Those whose last attempt failed at that time or later, given up or not, oldest first."""
        with self._persistence.connection() as connection:
            rows = connection.execute(
                "SELECT confirmation_id FROM view_confirmations WHERE failed_at >= %s "
                "ORDER BY failed_at, confirmation_id LIMIT %s",
                (since, limit),
            )
            return [row["confirmation_id"] for row in rows]


def confirmation_figures(connection: Connection[DictRow]) -> ConfirmationFigures:
    """How many confirmations stand how."""
    row = connection.execute(FIGURES, {"max": COUNT_MAX}).fetchone()
    assert row is not None
    return ConfirmationFigures(**row)
