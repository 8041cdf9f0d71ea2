"""Reads the list of payments from its view."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.sql import SQL, Composable

from system.persistence.postgres import PostgresPersistence, reconnecting

Row = dict[str, Any]


@dataclass(frozen=True)
class PaymentFilter:
    """What to list. Times include their bounds; `text` is looked for in the description and in
    the client's name and e-mail, whatever its case."""

    status: str | None = None
    contract_id: str | None = None
    currency: str | None = None
    transaction_ref: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    text: str | None = None


@dataclass(frozen=True)
class Place:
    """A place in a list, newest first: after the row with this time and id."""

    moment: datetime
    row_id: UUID


CONDITIONS: dict[str, Composable] = {
    "status": SQL("p.status = %(status)s"),
    "contract_id": SQL("p.contract_id = %(contract_id)s"),
    "currency": SQL("p.currency = %(currency)s"),
    "transaction_ref": SQL("p.transaction_ref = %(transaction_ref)s"),
    "created_from": SQL("p.created_at >= %(created_from)s"),
    "created_to": SQL("p.created_at <= %(created_to)s"),
    "text": SQL(
        "(strpos(lower(p.description), lower(%(text)s)) > 0"
        " OR strpos(lower(p.client_info->>'name'), lower(%(text)s)) > 0"
        " OR strpos(lower(p.client_info->>'email'), lower(%(text)s)) > 0)"
    ),
}

SELECT = SQL(
    "SELECT p.*, CASE WHEN s.parked_detail IS NULL THEN s.status ELSE 'parked' END "
    "AS saga_status FROM view_payments p "
    "LEFT JOIN view_sagas s USING (payment_id) WHERE {} "
    "ORDER BY p.created_at DESC, p.payment_id DESC LIMIT %(limit)s"
)


class PaymentQueries:
    """Queries on the view of payments; it may be some milliseconds behind the events."""

    def __init__(self, persistence: PostgresPersistence) -> None:
        self._persistence = persistence

    @reconnecting
    def list(self, wanted: PaymentFilter, limit: int, after: Place | None) -> list[Row]:
        """Up to `limit` payments, newest first; each row has its `refunds` and `saga_status`."""
        parameters: Row = {name: value for name, value in vars(wanted).items() if value is not None}
        conditions = [CONDITIONS[name] for name in parameters]
        if after is not None:
            conditions.append(SQL("(p.created_at, p.payment_id) < (%(after_time)s, %(after_id)s)"))
            parameters |= {"after_time": after.moment, "after_id": after.row_id}
        where = SQL(" AND ").join(conditions) if conditions else SQL("true")
        with self._persistence.connection() as connection:
            rows = connection.execute(SELECT.format(where), {**parameters, "limit": limit})
            found = rows.fetchall()
            refunds = connection.execute(
                "SELECT * FROM view_refunds WHERE payment_id = ANY(%s) ORDER BY created_at",
                ([row["payment_id"] for row in found],),
            ).fetchall()
        return [{**row, "refunds": _of(row["payment_id"], refunds)} for row in found]

    @reconnecting
    def payment_of(self, transaction_refs: Collection[str]) -> UUID | None:
        """The payment whose transaction at the gateway has one of these references."""
        with self._persistence.connection() as connection:
            row = connection.execute(
                "SELECT payment_id FROM view_payments WHERE transaction_ref = ANY(%s) "
                "ORDER BY created_at LIMIT 1",
                (sorted(transaction_refs),),
            ).fetchone()
        return row["payment_id"] if row else None


def _of(payment_id: UUID, refunds: Sequence[Row]) -> Sequence[Row]:
    return [refund for refund in refunds if refund["payment_id"] == payment_id]
