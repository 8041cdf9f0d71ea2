"""Merchants are told on schedule, however long their endpoint fails; payments do not wait."""

from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from application.confirmations import RETRY_DELAYS, Delivery
from system.testing import SystemUnderTest
from tests.simulation import scenarios

DOWN = Delivery(503)


def attempts(s: SystemUnderTest) -> list[datetime]:
    """The times of all failed attempts."""
    kinds = {"confirmation.attempt_failed", "confirmation.exhausted"}
    return [
        datetime.fromisoformat(e["timestamp"].replace("Z", "+00:00"))
        for e in s.events()
        if e["type"] in kinds
    ]


def test_the_saga_completes_while_the_merchant_is_still_being_told() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.merchant_failing(s)
        assert s.payment(payment_id).status == "completed"
        assert s.saga(payment_id).status == "completed"
        assert s.merchant.messages == []
        s.wait(timedelta(seconds=6))
        assert s.merchant.events_told == ["payment.completed"]


def test_a_failing_endpoint_is_tried_on_schedule_over_75_hours_and_then_given_up() -> None:
    with SystemUnderTest() as s:
        s.merchant.answers.extend([DOWN] * 20)
        payment_id = scenarios.paid(s)
        s.wait(timedelta(hours=100))
        times = attempts(s)
        assert len(times) == len(RETRY_DELAYS) + 1
        assert times[-1] - times[0] > timedelta(hours=75)
        for delay, (earlier, later) in zip(RETRY_DELAYS, pairwise(times), strict=True):
            assert delay <= later - earlier <= delay * 1.1 + timedelta(seconds=1)
        assert [e["type"] for e in s.events()].count("confirmation.exhausted") == 1
        assert s.saga(payment_id).status == "completed"
        assert s.agenda.next_due_at() is None


def test_the_last_attempt_may_be_the_one_that_succeeds() -> None:
    with SystemUnderTest() as s:
        s.merchant.answers.extend([DOWN] * len(RETRY_DELAYS))
        scenarios.paid(s)
        s.wait(timedelta(hours=100))
        assert s.merchant.events_told == ["payment.completed"]
        assert "confirmation.exhausted" not in [e["type"] for e in s.events()]


def test_a_merchant_who_is_gone_is_not_tried_again() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.merchant_gone(s)
        s.wait(timedelta(hours=100))
        assert len(attempts(s)) == 1
        assert s.merchant.messages == []
        assert s.saga(payment_id).status == "completed"


def test_an_endpoint_that_asks_for_time_gets_it() -> None:
    with SystemUnderTest() as s:
        s.merchant.answers.append(Delivery(429, retry_after=timedelta(hours=1)))
        scenarios.paid(s)
        s.wait(timedelta(minutes=59))
        assert s.merchant.messages == []
        s.wait(timedelta(minutes=2))
        assert s.merchant.events_told == ["payment.completed"]


def test_nobody_can_ask_for_more_than_a_day() -> None:
    with SystemUnderTest() as s:
        s.merchant.answers.append(Delivery(503, retry_after=timedelta(days=365)))
        scenarios.paid(s)
        s.wait(timedelta(hours=25))
        assert s.merchant.events_told == ["payment.completed"]


@pytest.mark.parametrize("status_code", [301, 400, 404, 500, None])
def test_everything_but_a_2xx_is_tried_again(status_code: int | None) -> None:
    with SystemUnderTest() as s:
        s.merchant.answers.append(Delivery(status_code, error=None if status_code else "refused"))
        scenarios.paid(s)
        s.wait(timedelta(seconds=6))
        assert s.merchant.events_told == ["payment.completed"]


@pytest.mark.parametrize("status_code", [200, 201, 204])
def test_any_2xx_is_enough(status_code: int) -> None:
    with SystemUnderTest() as s:
        s.merchant.answers.append(Delivery(status_code))
        scenarios.paid(s)
        assert "confirmation.delivered" in [e["type"] for e in s.events()]
        assert s.agenda.next_due_at() is None


def test_a_merchant_is_told_the_envelope_of_the_event() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.paid(s)
        [message] = s.merchant.messages
        [event] = [e for e in s.events() if e["type"] == "payment.completed"]
        assert message["id"] == event["id"]
        assert message["aggregateId"] == str(payment_id)
        assert message["data"]["transactionRef"] == event["data"]["transactionRef"]


def test_money_given_back_later_tells_the_merchant_nothing_new() -> None:
    with SystemUnderTest() as s:
        scenarios.paid_after_cancelling(s)
        s.wait(timedelta(hours=3))
        assert s.merchant.events_told == ["payment.cancelled"]
