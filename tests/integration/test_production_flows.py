"""In production the same things happen in the same order as in the single-process test mode."""

from collections.abc import Iterable
from typing import Any

import pytest

from application.event_log import EventLog
from domain.saga_steps import Step
from system.testing import SystemUnderTest
from tests.integration.production_kit import Production, production
from tests.simulation.scenarios import SEED_STORIES, SLOW_STORIES, Story, System

Told = list[tuple[str, ...]]
STORIES = {story.__name__: story for story in (*SEED_STORIES, *SLOW_STORIES)}
RACING = {"captured_in_part", "cancelled_when_authorized"}
"""Where the gateway and the merchant are talked to at the same time; either may answer first."""
UNLIKE = {"cancelled_before_the_page", "refund_notified"}
"""In the first the client and the saga race to the page; in the second the gateway is asked ever
again for what it does not find, how often by then depends on the time that has passed."""
SAME_ORDER = STORIES.keys() - RACING - UNLIKE
"""Where nobody races anybody."""


def stories_in(logs: Iterable[EventLog[Any]]) -> Told:
    """For each aggregate the types of its events, in order; the aggregates sorted.

    What a saga's last step does stands apart: that the merchant was told is heard through another
    log than that the payment is completed, so either may be heard first.
    """
    histories: dict[Any, list[str]] = {}
    for log in logs:
        for event in log.all():
            of_last_step = getattr(event, "step", None) is Step.CONFIRM
            history = histories.setdefault((event.originator_id, of_last_step), [])
            history.append(type(event).__qualname__)
    return sorted(tuple(types) for types in histories.values())


def told_twice(story: Story, database_url: str) -> tuple[Told, Told]:
    """A story as it happens in production, and as in test mode."""
    with SystemUnderTest() as s:
        story(s)
        expected = stories_in(s.applications.by_name.values())
    with production(database_url) as process:
        story(_checked(process))
        process.run()
        return stories_in(process.applications.by_name.values()), expected


@pytest.mark.parametrize("name", sorted(SAME_ORDER))
def test_the_same_events_happen_in_the_same_order(name: str, database_url: str) -> None:
    happened, expected = told_twice(STORIES[name], database_url)
    assert happened == expected


@pytest.mark.parametrize("name", sorted(RACING))
def test_the_same_events_happen_where_two_answers_race(name: str, database_url: str) -> None:
    happened, expected = told_twice(STORIES[name], database_url)
    assert sorted(map(sorted, happened)) == sorted(map(sorted, expected))


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
