"""Reads the list of sagas from its view."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.sql import SQL, Composed

from domain.saga_steps import SagaStatus
from system.persistence.payment_queries import Place
from system.persistence.postgres import PostgresPersistence, reconnecting

PARKED = SQL("parked_detail IS NOT NULL")
WITH_STATUS = SQL("parked_detail IS NULL AND status = %(status)s")
AFTER = SQL(" AND (created_at, saga_id) < (%(after_time)s, %(after_id)s)")
SELECT = SQL(
    "SELECT * FROM view_sagas WHERE {} ORDER BY created_at DESC, saga_id DESC LIMIT %(limit)s"
)


@dataclass(frozen=True)
class SagaQueries:
    """Queries on the view of sagas; it may be some milliseconds behind the events."""

    _persistence: PostgresPersistence

    @reconnecting
    def list(
        self, status: SagaStatus | None, limit: int, after: Place | None
    ) -> list[dict[str, Any]]:
        """Up to `limit` sagas, those of the newest payments first."""
        statement, parameters = selection(status, limit, after)
        with self._persistence.connection() as connection:
            return connection.execute(statement, parameters, prepare=False).fetchall()


def selection(
    status: SagaStatus | None, limit: int, after: Place | None
) -> tuple[Composed, dict[str, Any]]:
    """The statement for a page of the list, with its parameters."""
    conditions = Composed([_with_status(status)])
    parameters: dict[str, str | int | datetime | UUID | None] = {"limit": limit, "status": status}
    if after is not None:
        conditions += AFTER
        parameters |= {"after_time": after.moment, "after_id": after.row_id}
    return SELECT.format(conditions), parameters


def _with_status(status: SagaStatus | None) -> SQL:
    if status is None:
        return SQL("true")
    return PARKED if status is SagaStatus.PARKED else WITH_STATUS
