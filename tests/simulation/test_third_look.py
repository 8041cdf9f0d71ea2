"""Open points of another reading, each as a short story."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from uuid import UUID

import pytest

from application.payment_gateway import Outcome, Refusal, Refused, Succeeded
from domain.gateway_report import GatewayReport, TransactionKind, TransactionStatus
from domain.payment_saga import PaymentSaga
from domain.saga_calls import TRIES_MAX
from domain.saga_steps import SagaStatus, Step, StepStatus
from system.testing import SystemUnderTest
from tests.simulation import money_kit
from tests.simulation.money_kit import DAY, TIME_OUT, assert_ended, moves, sar

HOUR = timedelta(hours=1)
WRONG_KEY = Refused(Refusal.AUTHENTICATION, "1", "Authentication failed.")
TOO_MANY = Refused(Refusal.RATE_LIMITED, "5", "Too many requests, try again later.")


@pytest.fixture
def s() -> Iterator[SystemUnderTest]:
    with SystemUnderTest(seed=10) as system:
        yield system


opened = partial(money_kit.opened, callback_url=None)
paid = partial(money_kit.paid, callback_url=None)


def questions(s: SystemUnderTest, payment_id: UUID) -> int:
    return sum(call.operation.is_query for call in s.saga(payment_id).calls.values())


def parked_events(s: SystemUnderTest, payment_id: UUID) -> list[PaymentSaga.Parked]:
    history = s.applications.sagas.history(s.saga(payment_id).id)
    return [event for event in history if isinstance(event, PaymentSaga.Parked)]


# A gateway that says nothing


@pytest.mark.parametrize("outcome", [TIME_OUT, WRONG_KEY, TOO_MANY], ids=["lost", "401", "429"])
def test_a_gateway_that_never_answers_a_question_is_left_to_an_operator(
    s: SystemUnderTest, outcome: Outcome
) -> None:
    payment_id = opened(s)
    s.gateway.fall_ill(10**9, outcome)

    s.wait(40 * DAY)

    assert s.saga(payment_id).status is SagaStatus.PARKED
    [parked] = parked_events(s, payment_id)
    assert parked.reason == "needs_operator"
    assert s.gateway.page_of(payment_id).transaction_ref in parked.detail
    assert "retry the saga" in parked.advice
    assert questions(s, payment_id) == TRIES_MAX
    assert s.next_due_at() is None


def test_an_operators_retry_of_a_question_starts_anew(s: SystemUnderTest) -> None:
    payment_id = opened(s)
    s.gateway.fall_ill(10**9, TIME_OUT)
    s.wait(40 * DAY)

    s.retry(payment_id)
    s.wait(DAY)
    assert s.saga(payment_id).status is SagaStatus.WAITING
    s.wait(40 * DAY)
    assert s.saga(payment_id).status is SagaStatus.PARKED
    assert questions(s, payment_id) == 2 * TRIES_MAX

    s.gateway.recover()
    s.gateway.pay(payment_id, silently=True)
    s.retry(payment_id)
    s.run()
    assert_ended(s, payment_id, "completed", "10.00")


def test_a_callback_ends_the_wait_for_a_gateway_that_was_silent(s: SystemUnderTest) -> None:
    payment_id = opened(s)
    s.gateway.fall_ill(10**9, TIME_OUT)
    s.wait(40 * DAY)
    s.gateway.recover()

    s.gateway.pay(payment_id)
    s.run()

    assert_ended(s, payment_id, "completed", "10.00")


def test_an_operator_may_give_up_a_payment_that_the_gateway_says_nothing_of(
    s: SystemUnderTest,
) -> None:
    payment_id = opened(s)
    s.gateway.fall_ill(10**9, TIME_OUT)
    s.wait(40 * DAY)
    s.gateway.recover()
    s.gateway.pay(payment_id, silently=True)

    s.compensate(payment_id)
    s.run()

    assert_ended(s, payment_id, "cancelled", "0.00")


@pytest.mark.parametrize("outcome", [TIME_OUT, WRONG_KEY, TOO_MANY], ids=["lost", "401", "429"])
def test_a_refund_that_nobody_answers_for_is_left_to_an_operator(
    s: SystemUnderTest, outcome: Outcome
) -> None:
    payment_id = paid(s)
    s.gateway.fall_ill(1, TIME_OUT, is_done=True)
    s.gateway.fall_ill(10**9, outcome)
    s.refund_payment(payment_id, sar("4.00"))
    s.wait(40 * DAY)
    assert s.saga(payment_id).status is SagaStatus.PARKED
    [parked] = parked_events(s, payment_id)
    assert "refund of 4.00 SAR" in parked.detail

    s.gateway.recover()
    s.retry(payment_id)
    s.run()

    assert_ended(s, payment_id, "completed", "6.00")
    assert len(moves(s, TransactionKind.REFUND)) == 1


def test_a_refund_that_is_always_put_off_is_left_to_an_operator(s: SystemUnderTest) -> None:
    payment_id = paid(s)
    s.gateway.fall_ill(10**9, TOO_MANY)
    s.refund_payment(payment_id, sar("4.00"))
    s.wait(40 * DAY)
    assert s.saga(payment_id).status is SagaStatus.PARKED

    s.gateway.recover()
    s.retry(payment_id)
    s.wait(DAY)

    assert_ended(s, payment_id, "completed", "6.00")
    assert len(moves(s, TransactionKind.REFUND)) == 1
