"""Reads the list of contracts and the ledger of earnings from their views."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.sql import SQL

from system.persistence.payment_queries import Place
from system.persistence.postgres import PostgresPersistence, reconnecting

Row = dict[str, Any]

LIST = SQL(
    "SELECT aggregate_id, created_at FROM view_contracts WHERE {} "
    "ORDER BY created_at DESC, aggregate_id DESC LIMIT %(limit)s"
)

EARNED = SQL(
    "SELECT {0}, sum(gross) AS gross, sum(platform_fee) AS platform_fee, sum(net) AS net, "
    "count(DISTINCT payment_id) AS payments FROM view_earnings WHERE {1} "
    "GROUP BY {0} ORDER BY {0} LIMIT %(limit)s"
)
OF_CONTRACT = SQL("contract_id = %(contract_id)s")
BY_PAYMENT = SQL("payment_id, currency")
BY_PAYEE = SQL("payee_id, currency")
BY_CURRENCY = SQL("currency")
CURRENCIES_MAX = 26**3
"""More than there can be: an ISO 4217 code has three letters."""


@dataclass(frozen=True)
class PayeePlace:
    """A place in the list of what payees earned: after what this one earned in this currency."""

    payee_id: str
    currency: str


class ContractQueries:
    """Queries on the views of contracts; they may be some milliseconds behind the events."""

    def __init__(self, persistence: PostgresPersistence) -> None:
        self._persistence = persistence

    @reconnecting
    def list(self, limit: int, after: Place | None, payee_id: str | None) -> Sequence[Row]:
        """Up to `limit` contracts, newest first, after a place in the list."""
        conditions = [SQL("true")]
        parameters: Row = {"limit": limit}
        if payee_id is not None:
            conditions.append(SQL("payee_id = %(payee_id)s"))
            parameters["payee_id"] = payee_id
        if after is not None:
            conditions.append(SQL("(created_at, aggregate_id) < (%(time)s, %(id)s)"))
            parameters |= {"time": after.moment, "id": after.row_id}
        query = LIST.format(SQL(" AND ").join(conditions))
        with self._persistence.connection() as connection:
            return connection.execute(query, parameters).fetchall()

    @reconnecting
    def earned_by_payment(self, contract_id: str, limit: int, after: UUID | None) -> Sequence[Row]:
        """What up to `limit` payments of a contract brought, by payment id, after a payment."""
        conditions = [OF_CONTRACT]
        parameters: Row = {"contract_id": contract_id, "limit": limit}
        if after is not None:
            conditions.append(SQL("payment_id > %(after)s"))
            parameters["after"] = after
        query = EARNED.format(BY_PAYMENT, SQL(" AND ").join(conditions))
        with self._persistence.connection() as connection:
            return connection.execute(query, parameters).fetchall()

    @reconnecting
    def earned_by_contract(self, contract_id: str) -> Sequence[Row]:
        """What all payments of a contract brought: one row per currency."""
        query = EARNED.format(BY_CURRENCY, OF_CONTRACT)
        parameters = {"contract_id": contract_id, "limit": CURRENCIES_MAX}
        with self._persistence.connection() as connection:
            return connection.execute(query, parameters).fetchall()

    @reconnecting
    def earned_by_payee(
        self, limit: int, after: PayeePlace | None, payee_id: str | None
    ) -> Sequence[Row]:
        """Up to `limit` totals, by payee and currency, after a place in the list."""
        conditions = [SQL("true")]
        parameters: Row = {"limit": limit}
        if payee_id is not None:
            conditions.append(SQL("payee_id = %(payee_id)s"))
            parameters["payee_id"] = payee_id
        if after is not None:
            conditions.append(SQL("(payee_id, currency) > (%(after_id)s, %(after_currency)s)"))
            parameters |= {"after_id": after.payee_id, "after_currency": after.currency}
        query = EARNED.format(BY_PAYEE, SQL(" AND ").join(conditions))
        with self._persistence.connection() as connection:
            return connection.execute(query, parameters).fetchall()
