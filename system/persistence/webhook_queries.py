"""Reads the list of webhooks from its view."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.sql import SQL, Composable

from system.persistence.payment_queries import Place, Row
from system.persistence.postgres import PostgresPersistence, reconnecting


@dataclass(frozen=True)
class WebhookFilter:
    """What to list. Times include their bounds."""

    status: str | None = None
    payment_id: UUID | None = None
    transaction_ref: str | None = None
    received_from: datetime | None = None
    received_to: datetime | None = None


CONDITIONS: dict[str, Composable] = {
    "status": SQL("status = %(status)s"),
    "payment_id": SQL("payment_id = %(payment_id)s"),
    "transaction_ref": SQL("transaction_ref = %(transaction_ref)s"),
    "received_from": SQL("received_at >= %(received_from)s"),
    "received_to": SQL("received_at <= %(received_to)s"),
}

SELECT = SQL(
    "SELECT * FROM view_webhooks WHERE {} ORDER BY received_at DESC, webhook_id DESC "
    "LIMIT %(limit)s"
)


class WebhookQueries:
    """Queries on the view of webhooks; it may be some milliseconds behind the events."""

    def __init__(self, persistence: PostgresPersistence) -> None:
        self._persistence = persistence

    @reconnecting
    def list(self, wanted: WebhookFilter, limit: int, after: Place | None) -> list[Row]:
        """Up to `limit` webhooks, newest first."""
        parameters: dict[str, Any] = {
            name: value for name, value in vars(wanted).items() if value is not None
        }
        conditions = [CONDITIONS[name] for name in parameters]
        if after is not None:
            conditions.append(SQL("(received_at, webhook_id) < (%(after_time)s, %(after_id)s)"))
            parameters |= {"after_time": after.moment, "after_id": after.row_id}
        where = SQL(" AND ").join(conditions) if conditions else SQL("true")
        with self._persistence.connection() as connection:
            return connection.execute(
                SELECT.format(where), {**parameters, "limit": limit}
            ).fetchall()
