"""Reads the list of contracts and the ledger of earnings from their views."""

from collections.abc import Sequence
from typing import Any

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
    def earned_by_payment(self, contract_id: str, limit: int) -> Sequence[Row]:
        """What each payment of a contract brought, up to `limit` of them."""
        query = EARNED.format(SQL("payment_id, currency"), SQL("contract_id = %(contract_id)s"))
        with self._persistence.connection() as connection:
            parameters = {"contract_id": contract_id, "limit": limit}
            return connection.execute(query, parameters).fetchall()

    @reconnecting
    def earned_by_payee(
        self, contract_id: str | None, payee_id: str | None, limit: int
    ) -> Sequence[Row]:
        """Totals per payee and currency, of one contract or one payee where that is asked for."""
        conditions = [SQL("true")]
        if contract_id is not None:
            conditions.append(SQL("contract_id = %(contract_id)s"))
        if payee_id is not None:
            conditions.append(SQL("payee_id = %(payee_id)s"))
        query = EARNED.format(SQL("payee_id, currency"), SQL(" AND ").join(conditions))
        parameters = {"contract_id": contract_id, "payee_id": payee_id, "limit": limit}
        with self._persistence.connection() as connection:
            return connection.execute(query, parameters).fetchall()
