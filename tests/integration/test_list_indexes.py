"""Behind every filter of a list stands an index, which PostgreSQL uses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from system.persistence.payment_queries import PaymentFilter, PaymentQueries, Place, selections
from system.persistence.postgres import PostgresPersistence
from tests.generated_rows import fill
from tests.integration.production_kit import store

ROWS = 30_000
LIMIT = 21
LATE = datetime(2026, 1, 3, tzinfo=UTC)
EARLY = datetime(2026, 1, 1, 1, tzinfo=UTC)

FILTERS: dict[str, tuple[PaymentFilter, str]] = {
    "none": (PaymentFilter(), "view_payments_1_idx"),
    "status": (PaymentFilter(status="authorized"), "view_payments_2_idx"),
    "contract_id": (PaymentFilter(contract_id="contract-40"), "view_payments_3_idx"),
    "currency": (PaymentFilter(currency="OMR"), "view_payments_4_idx"),
    "transaction_ref": (PaymentFilter(transaction_ref="TST77"), "view_payments_5_idx"),
    "created_from": (PaymentFilter(created_from=LATE), "view_payments_1_idx"),
    "created_to": (PaymentFilter(created_to=EARLY), "view_payments_1_idx"),
    "text": (PaymentFilter(text="customer4711@EXAMPLE"), "view_payments_6_idx"),
}


@pytest.fixture(scope="module")
def persistence(postgres_server: Any) -> Iterator[PostgresPersistence]:
    url = postgres_server.ensure_database("list_indexes")
    with store(url) as persistence:
        with persistence.connection() as connection:
            fill(connection, ROWS)
        yield persistence
    postgres_server.drop_database("list_indexes")


def plan_of(
    persistence: PostgresPersistence, wanted: PaymentFilter, after: Place | None = None
) -> list[dict[str, Any]]:
    """Every step of the plan for a page, from the outermost to the innermost."""
    with persistence.connection() as connection:
        *_, (statement, parameters) = selections(connection, wanted, LIMIT, after)
        row = connection.execute(
            b"EXPLAIN (ANALYZE, FORMAT JSON) " + statement.as_bytes(connection), parameters
        ).fetchone()
    assert row is not None
    steps, waiting = [], [row["QUERY PLAN"][0]["Plan"]]
    while waiting:
        step = waiting.pop(0)
        steps.append(step)
        waiting += step.get("Plans", [])
    return steps


def indexes_of(steps: list[dict[str, Any]]) -> set[str]:
    return {step["Index Name"] for step in steps if "Index Name" in step}


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_is_answered_from_its_index(persistence: PostgresPersistence, name: str) -> None:
    wanted, index = FILTERS[name]
    steps = plan_of(persistence, wanted)
    assert index in indexes_of(steps)
    assert "Seq Scan" not in {step["Node Type"] for step in steps}


def test_every_filter_is_tried() -> None:
    assert {field.name for field in fields(PaymentFilter)} <= FILTERS.keys()


def test_a_common_word_is_found_among_the_newest(persistence: PostgresPersistence) -> None:
    wanted = PaymentFilter(text="saffron")
    with persistence.connection() as connection:
        statement, parameters = next(selections(connection, wanted, LIMIT, None))
        assert len(connection.execute(statement, parameters).fetchall()) == LIMIT


@pytest.mark.parametrize("name", ["none", "status", "contract_id", "currency"])
def test_a_later_page_reads_no_more_rows_than_the_first(
    persistence: PostgresPersistence, name: str
) -> None:
    middle = Place(datetime(2026, 1, 2, tzinfo=UTC), UUID(int=0))
    steps = plan_of(persistence, FILTERS[name][0], middle)
    [scan] = [step for step in steps if step.get("Relation Name") == "view_payments"]
    assert scan["Actual Rows"] <= LIMIT
    assert scan.get("Rows Removed by Filter", 0) <= LIMIT


@pytest.mark.parametrize(
    ("text", "count"),
    [("order 29999 ", 1), ("ORDER 29999 OF", 1), ("customer77@example.com", 1), ("zz", 0)],
)
def test_a_text_is_found_wherever_it_stands(
    persistence: PostgresPersistence, text: str, count: int
) -> None:
    queries = PaymentQueries(persistence)
    assert len(queries.list(PaymentFilter(text=text), LIMIT, None)) == count
    assert queries.count(PaymentFilter(text=text)) == count


@pytest.mark.parametrize("text", ["29", "of dates", "%", "_", "\\", "tea\nCustomer"])
def test_the_index_finds_what_looking_at_every_row_finds(
    persistence: PostgresPersistence, text: str
) -> None:
    with persistence.connection() as connection:
        row = connection.execute(
            "SELECT count(*) FROM view_payments WHERE strpos(lower(description), lower(%(t)s)) > 0"
            " OR strpos(lower(client_info->>'name'), lower(%(t)s)) > 0"
            " OR strpos(lower(client_info->>'email'), lower(%(t)s)) > 0",
            {"t": text},
        ).fetchone()
    assert row is not None
    assert PaymentQueries(persistence).count(PaymentFilter(text=text)) == row["count"]
