"""Behind every filter of the other lists, and of the feed, stands an index too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from psycopg.sql import SQL

from domain.saga_steps import SagaStatus
from system.persistence.confirmation_queries import ConfirmationQueries
from system.persistence.contract_queries import ContractQueries, PayeePlace
from system.persistence.journal_queries import EntryFilter, JournalQueries
from system.persistence.payment_queries import Place
from system.persistence.postgres import PostgresPersistence
from system.persistence.saga_queries import SagaQueries
from system.persistence.tables import (
    CONFIRMATIONS_VIEW,
    CONTRACTS_VIEW,
    EARNINGS_VIEW,
    JOURNAL,
    SAGAS_VIEW,
    WEBHOOKS_VIEW,
    Table,
)
from system.persistence.webhook_queries import WebhookFilter, WebhookQueries
from tests.integration.production_kit import store

ROWS = 20_000
LIMIT = 21
EARLY = datetime(2026, 1, 1, 1, tzinfo=UTC)
PAYEE = PayeePlace("payee_id-7", "currency-7")
MIDDLE = Place(datetime(2026, 1, 1, 20, tzinfo=UTC), uuid4())

VALUES = {
    "uuid": "md5('{name}' || n)::uuid",
    "text": "'{name}-' || n % 500",
    "timestamptz": "timestamptz '2026-01-01Z' + n * interval '7 seconds'",
    "boolean": "n % 2 = 0",
    "bytea": "sha256(n::text::bytea)",
}
"""What stands in the columns of a type; in those of any other type the number of the row."""


def fill(persistence: PostgresPersistence, table: Table) -> None:
    """Writes many rows; a text that need not be there is there in every hundredth."""
    columns = []
    for name, kind in table.columns.items():
        value = VALUES.get(kind.split()[0], "n").format(name=name)
        is_rare = kind == "text"
        columns.append(f"CASE WHEN n % 100 = 0 THEN {value} END" if is_rare else value)
    names = ", ".join(table.columns)
    with persistence.connection() as connection:
        connection.execute(
            f"INSERT INTO {table.name} ({names}) SELECT {', '.join(columns)} "
            f"FROM generate_series(1, {ROWS}) n".encode()
        )
        connection.execute(f"VACUUM ANALYZE {table.name}".encode())


@dataclass
class Explaining:
    """Stands before a database and has every query explained instead of answered."""

    persistence: PostgresPersistence
    plans: list[Any]

    @contextmanager
    def connection(self) -> Iterator[Explaining]:
        yield self

    def execute(self, query: Any, parameters: Any = None, **_options: Any) -> Explaining:
        with self.persistence.connection() as connection:
            explained = SQL("EXPLAIN (FORMAT JSON) {}").format(query)
            row = connection.execute(explained, parameters).fetchone()
        assert row is not None
        self.plans.append(row["QUERY PLAN"][0]["Plan"])
        return self

    def fetchall(self) -> list[Any]:
        return []


@pytest.fixture(scope="module")
def persistence(postgres_server: Any) -> Iterator[PostgresPersistence]:
    url = postgres_server.ensure_database("more_list_indexes")
    with store(url) as persistence:
        for table in (
            *(JOURNAL, WEBHOOKS_VIEW, CONFIRMATIONS_VIEW),
            *(SAGAS_VIEW, CONTRACTS_VIEW, EARNINGS_VIEW),
        ):
            fill(persistence, table)
        yield persistence
    postgres_server.drop_database("more_list_indexes")


def entries(**wanted: Any) -> Callable[[Any], Any]:
    return lambda db: JournalQueries(db).page(0, LIMIT, EntryFilter(**wanted))


def webhooks(after: Place | None = None, **wanted: Any) -> Callable[[Any], Any]:
    return lambda db: WebhookQueries(db).list(WebhookFilter(**wanted), LIMIT, after)


def earnings(after: PayeePlace | None = None, payee_id: str | None = None) -> Callable[[Any], Any]:
    return lambda db: ContractQueries(db).earned_by_payee(LIMIT, after, payee_id)


LISTS: dict[str, Callable[[Any], Any]] = {
    "events": entries(),
    "events by type": entries(type="type-7"),
    "events by aggregate": entries(aggregate_id=uuid4()),
    "events by correlation": entries(correlation_id="correlation_id-7"),
    "events by subject": entries(subject_id=uuid4()),
    "webhooks": webhooks(),
    "webhooks, a later page": webhooks(MIDDLE),
    "webhooks by status": webhooks(status="status-7"),
    "webhooks by payment": webhooks(payment_id=uuid4()),
    "webhooks by transaction": webhooks(transaction_ref="transaction_ref-100"),
    "webhooks from": webhooks(received_from=EARLY),
    "webhooks to": webhooks(received_to=EARLY),
    "confirmations": lambda db: ConfirmationQueries(db).list(None, None, LIMIT, MIDDLE),
    "confirmations by payment": lambda db: ConfirmationQueries(db).list(uuid4(), None, LIMIT, None),
    "confirmations by status": lambda db: ConfirmationQueries(db).list(
        None, "status-7", LIMIT, None
    ),
    "sagas": lambda db: SagaQueries(db).list(None, LIMIT, MIDDLE),
    "sagas by status": lambda db: SagaQueries(db).list(SagaStatus.WAITING, LIMIT, None),
    "sagas that are parked": lambda db: SagaQueries(db).list(SagaStatus.PARKED, LIMIT, None),
    "contracts": lambda db: ContractQueries(db).list(LIMIT, MIDDLE, None),
    "contracts by payee": lambda db: ContractQueries(db).list(LIMIT, None, "payee_id-7"),
    "earnings of a contract": lambda db: ContractQueries(db).earned_by_payment(
        "contract_id-7", LIMIT, None
    ),
    "earnings of a contract, a later page": lambda db: ContractQueries(db).earned_by_payment(
        "contract_id-7", LIMIT, uuid4()
    ),
    "all earnings of a contract": lambda db: ContractQueries(db).earned_by_contract(
        "contract_id-7"
    ),
    "earnings": earnings(),
    "earnings, a later page": earnings(PAYEE),
    "earnings of a payee": earnings(payee_id=PAYEE.payee_id),
    "earnings of a payee, a later page": earnings(PAYEE, PAYEE.payee_id),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_filter_is_answered_from_its_index(persistence: PostgresPersistence, name: str) -> None:
    explaining = Explaining(persistence, [])
    LISTS[name](explaining)
    [plan] = explaining.plans
    steps, waiting = [], [plan]
    while waiting:
        step = waiting.pop()
        steps.append(step)
        waiting += step.get("Plans", [])
    assert "Seq Scan" not in {step["Node Type"] for step in steps}
    assert len([step for step in steps if "Index Name" in step]) == 1
    left_over = {step["Filter"] for step in steps if "Filter" in step}
    assert left_over <= {"(parked_detail IS NULL)"}, "the index leaves nothing over"
