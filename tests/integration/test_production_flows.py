"""In production the same things happen in the same order as in the single-process test mode."""

from collections.abc import Iterable
from typing import Any

import pytest

from application.event_log import EventLog
from system.testing import SystemUnderTest
from tests.integration.production_kit import Production, production
from tests.simulation.scenarios import SEED_STORIES, SLOW_STORIES, Story, System

SAME_ORDER = [
    s for s in (*SEED_STORIES, *SLOW_STORIES) if s.__name__ != "cancelled_before_the_page"
]
"""Where a client and the saga do not race each other."""


def histories(logs: Iterable[EventLog[Any]]) -> list[tuple[str, ...]]:
    """For each aggregate the types of its events, in order; the aggregates sorted."""
    by_aggregate: dict[Any, list[str]] = {}
    for log in logs:
        for event in log.all():
            by_aggregate.setdefault(event.originator_id, []).append(type(event).__qualname__)
    return sorted(tuple(types) for types in by_aggregate.values())


@pytest.mark.parametrize("story", SAME_ORDER, ids=lambda story: story.__name__)
def test_the_same_events_happen_in_the_same_order(story: Story, database_url: str) -> None:
    with SystemUnderTest() as s:
        story(s)
        expected = histories(s.applications.by_name.values())
    with production(database_url) as process:
        story(_checked(process))
        process.run()
        assert histories(process.applications.by_name.values()) == expected


def _checked(process: Production) -> System:
    return process


def test_a_cancel_that_races_the_page_ends_in_good_order(database_url: str) -> None:
    with production(database_url) as process:
        payment_id = process.create_payment("10.00", "SAR", "Tea")
        process.cancel_payment(payment_id)
        process.run()
        assert process.payment(payment_id).status == "cancelled"
        assert process.saga(payment_id).status in {"compensated", "compensating"}
        assert process.gateway.net_of(payment_id) == 0


def test_many_payments_at_once_all_end_well(database_url: str) -> None:
    with production(database_url) as process:
        ids = [process.create_payment("10.00", "SAR", "Tea") for _ in range(40)]
        process.run()
        for payment_id in ids:
            process.gateway.pay(payment_id)
        process.run()
        assert {process.payment(p).status.value for p in ids} == {"completed"}
        assert {process.saga(p).status.value for p in ids} == {"completed"}
        assert len(process.gateway.transactions) == 40


def test_the_views_agree_with_the_events(database_url: str) -> None:
    with production(database_url) as process:
        payment_id = SEED_STORIES[0](_checked(process))
        with process.persistence.connection() as connection:
            row = connection.execute("SELECT * FROM view_payments").fetchone()
        payment = process.payment(payment_id)
        assert row is not None
        assert row["payment_id"] == payment_id
        assert (row["status"], row["version"]) == (payment.status, payment.version)
        assert str(row["amount_captured"]) == "10.00"
        assert row["client_info"]["name"] == "Sara Omar"
        assert row["updated_at"] == payment.modified_on
