"""Reads the list of payments from its view."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import DictRow
from psycopg.sql import SQL, Composable, Composed

from system.persistence.postgres import PostgresPersistence, reconnecting
from system.persistence.text_search import RAREST_TRIGRAMS, SEARCHED

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
    "status": SQL("status = %(status)s"),
    "contract_id": SQL("contract_id = %(contract_id)s"),
    "currency": SQL("currency = %(currency)s"),
    "transaction_ref": SQL("transaction_ref = %(transaction_ref)s"),
    "created_from": SQL("created_at >= %(created_from)s"),
    "created_to": SQL("created_at <= %(created_to)s"),
    "text": SQL(
        "(strpos(lower(description), lower(%(text)s)) > 0"
        " OR strpos(lower(client_info->>'name'), lower(%(text)s)) > 0"
        " OR strpos(lower(client_info->>'email'), lower(%(text)s)) > 0)"
    ),
}
BY_TRIGRAMS = SQL(f"text_trigrams({SEARCHED}) @> %(trigrams)s")

AFTER = SQL("(created_at, payment_id) < (%(after_time)s, %(after_id)s)")
VIEW = SQL("view_payments")

SELECT = SQL(
    "SELECT p.*, CASE WHEN s.parked_detail IS NULL THEN s.status ELSE 'parked' END AS saga_status "
    "FROM (SELECT * FROM {} WHERE {} "
    "ORDER BY created_at DESC, payment_id DESC LIMIT %(limit)s) p "
    "LEFT JOIN view_sagas s USING (payment_id) ORDER BY p.created_at DESC, p.payment_id DESC"
)
COUNT = SQL("SELECT count(*) FROM view_payments WHERE {}")

NEWEST = SQL(
    "(SELECT * FROM view_payments WHERE {} ORDER BY created_at DESC, payment_id DESC "
    "LIMIT 2000) newest"
)
"""Looked through first for a text: a word that many have is found there at once."""

OF_TRANSACTION = """
SELECT payment_id FROM (
    SELECT payment_id, created_at AS known_at, 1 AS rank FROM view_payments
    WHERE transaction_ref = ANY(%(refs)s)
    UNION ALL
    SELECT payment_id, received_at, 2 FROM view_webhooks
    WHERE transaction_ref = ANY(%(refs)s) AND payment_id IS NOT NULL
) AS found ORDER BY rank, known_at LIMIT 1
"""


class PaymentQueries:
    """Queries on the view of payments; it may be some milliseconds behind the events."""

    def __init__(self, persistence: PostgresPersistence) -> None:
        self._persistence = persistence

    @reconnecting
    def list(self, wanted: PaymentFilter, limit: int, after: Place | None) -> list[Row]:
        """Up to `limit` payments, newest first; each row has its `refunds` and `saga_status`."""
        with self._persistence.connection() as connection:
            found: list[Row] = []
            for question in selections(connection, wanted, limit, after):
                found = connection.execute(*question, prepare=False).fetchall()
                if len(found) == limit:
                    break
            refunds = connection.execute(
                "SELECT * FROM view_refunds WHERE payment_id = ANY(%s) ORDER BY created_at",
                ([row["payment_id"] for row in found],),
            ).fetchall()
        return [{**row, "refunds": _of(row["payment_id"], refunds)} for row in found]

    @reconnecting
    def count(self, wanted: PaymentFilter) -> int:
        """How many payments there are of that kind; it looks at each of them."""
        with self._persistence.connection() as connection:
            trigrams = _trigrams(connection, wanted.text)
            conditions, parameters = _conditions(wanted, trigrams=trigrams)
            row = connection.execute(COUNT.format(conditions), parameters, prepare=False).fetchone()
        return int(row["count"]) if row else 0

    @reconnecting
    def payment_of(self, transaction_refs: Collection[str]) -> UUID | None:
        """The payment whose transaction at the gateway has one of these references, or of which
        a webhook about such a transaction spoke: a payment shows its latest one only."""
        with self._persistence.connection() as connection:
            row = connection.execute(OF_TRANSACTION, {"refs": sorted(transaction_refs)}).fetchone()
        return row["payment_id"] if row else None


def selections(
    connection: Connection[DictRow], wanted: PaymentFilter, limit: int, after: Place | None
) -> Iterator[tuple[Composed, Row]]:
    """The statements for a page of the list with their parameters, to be tried in order until one
    fills the page; the last one finds all there is. They are planned for these values each time:
    what is best for a rare one is not for a common one."""
    without_text = replace(wanted, text=None)
    conditions, parameters = _conditions(without_text, after)
    if wanted.text is None:
        yield SELECT.format(VIEW, conditions), {**parameters, "limit": limit}
        return
    parameters |= {"limit": limit, "text": wanted.text}
    yield SELECT.format(NEWEST.format(conditions), CONDITIONS["text"]), parameters
    trigrams = _trigrams(connection, wanted.text)
    conditions, parameters = _conditions(wanted, after, trigrams)
    yield SELECT.format(VIEW, conditions), {**parameters, "limit": limit}


def _conditions(
    wanted: PaymentFilter, after: Place | None = None, trigrams: Sequence[str] = ()
) -> tuple[Composed, Row]:
    parameters: Row = {name: value for name, value in vars(wanted).items() if value is not None}
    conditions = [CONDITIONS[name] for name in parameters]
    if after is not None:
        conditions.append(AFTER)
        parameters |= {"after_time": after.moment, "after_id": after.row_id}
    if trigrams:
        conditions.append(BY_TRIGRAMS)
        parameters["trigrams"] = trigrams
    return SQL(" AND ").join(conditions or [SQL("true")]), parameters


def _trigrams(connection: Connection[DictRow], text: str | None) -> Sequence[str]:
    row = connection.execute(RAREST_TRIGRAMS, {"text": text}).fetchone() if text else None
    return row["trigrams"] if row else ()


def _of(payment_id: UUID, refunds: Sequence[Row]) -> Sequence[Row]:
    return [refund for refund in refunds if refund["payment_id"] == payment_id]
