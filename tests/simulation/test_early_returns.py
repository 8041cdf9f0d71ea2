"""Customers who come back before the callback: the saga asks earlier, so often only."""

from datetime import timedelta
from uuid import UUID

import pytest

from domain.gateway_call import Operation
from domain.saga_decider import HURRIES_MAX
from domain.saga_steps import SagaTimings
from system.testing import SystemUnderTest
from tests.simulation import scenarios

SECOND = timedelta(seconds=1)
HURRY = SagaTimings().hurry_after


def questions(s: SystemUnderTest, payment_id: UUID) -> int:
    """How often the gateway was asked about the payment."""
    calls = s.saga(payment_id).calls.values()
    return sum(call.operation is not Operation.OPEN_PAGE for call in calls)


def test_a_customer_who_is_back_is_asked_after_although_the_callback_is_lost() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.opened(s)
        s.gateway.pay(payment_id, silently=True)
        s.come_back(payment_id)
        s.wait(HURRY - SECOND)
        assert s.payment(payment_id).status == "processing"
        s.wait(SECOND)
        assert s.payment(payment_id).status == "completed"


def test_a_callback_that_comes_in_time_saves_the_question() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.opened(s)
        s.come_back(payment_id)
        s.wait(HURRY - SECOND)
        s.gateway.pay(payment_id)
        s.wait(timedelta(days=1))
        assert s.payment(payment_id).status == "completed"
        assert questions(s, payment_id) == 0


def test_coming_back_settles_nothing() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.opened(s)
        version = s.payment(payment_id).version
        s.come_back(payment_id)
        s.wait(HURRY)
        assert questions(s, payment_id) == 1
        assert s.payment(payment_id).version == version
        s.wait(timedelta(hours=1))
        assert s.payment(payment_id).cancellation_reason == "expired"


def test_whoever_comes_back_all_the_time_makes_us_ask_so_often_only() -> None:
    with SystemUnderTest() as alone, SystemUnderTest() as hunted:
        by_itself, pressed = scenarios.opened(alone), scenarios.opened(hunted)
        for _ in range(200):
            hunted.come_back(pressed)
            for s in (alone, hunted):
                s.wait(SECOND)
        assert hunted.saga(pressed).times_hurried == HURRIES_MAX
        assert questions(hunted, pressed) <= questions(alone, by_itself) + HURRIES_MAX
        before = hunted.saga(pressed).version
        hunted.come_back(pressed)
        assert hunted.saga(pressed).version == before


@pytest.mark.parametrize(
    "story",
    [scenarios.new_payment, scenarios.paid, scenarios.declined, scenarios.authorized],
)
def test_nobody_is_asked_after_who_is_not_waited_for(story: scenarios.Story) -> None:
    with SystemUnderTest() as s:
        payment_id = story(s)
        s.follow()
        before = s.saga(payment_id).version
        s.come_back(payment_id)
        assert s.saga(payment_id).version == before
