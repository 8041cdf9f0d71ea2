"""A gateway that never answers is left to an operator; what it loses sight of is not forgotten."""

from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import pytest

from application.payment_gateway import Outcome, Refusal, Refused, Succeeded
from domain.gateway_report import TransactionKind, TransactionStatus
from domain.payment_saga import PaymentSaga
from domain.saga_calls import TRIES_MAX
from domain.saga_steps import SagaStatus
from system.testing import SystemUnderTest
from tests.simulation.money_kit import CALLBACK_URL, DAY, TIME_OUT, assert_ended, moves, sar
from tests.simulation.saga_kit import TOO_MANY, opened, paid

WRONG_KEY = Refused(Refusal.AUTHENTICATION, "1", "Authentication failed.")


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


# A gateway that loses sight of what it has done


def lose_sight(s: SystemUnderTest, payment_id: UUID) -> None:
    """For a day the gateway's queries find nothing of a payment."""
    s.gateway.hide(lambda report: report in s.gateway.of(payment_id), DAY)


def test_a_dashboard_refund_that_the_gateway_loses_sight_of_is_not_forgotten(
    s: SystemUnderTest,
) -> None:
    payment_id = paid(s, callback_url=CALLBACK_URL)
    lose_sight(s, payment_id)

    s.gateway.refund_in_dashboard(payment_id, sar("4.00"))
    s.wait(3 * DAY)

    assert s.payment(payment_id).amount_refunded == sar("4.00")


def test_a_hold_released_in_part_that_the_gateway_loses_sight_of_is_not_kept(
    s: SystemUnderTest,
) -> None:
    payment_id = opened(s, callback_url=CALLBACK_URL)
    lose_sight(s, payment_id)
    s.gateway.hold(payment_id)

    s.gateway.release(payment_id, sar("4.00"))
    s.wait(3 * DAY)

    assert_ended(s, payment_id, "cancelled", "0")


def test_a_pending_refund_that_the_gateway_loses_sight_of_is_not_asked_for_again(
    s: SystemUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment_id = paid(s)
    s.gateway.follow_up_status = TransactionStatus.PENDING
    s.refund_payment(payment_id, sar("4.00"))
    s.run()
    [refund] = moves(s, TransactionKind.REFUND)

    with monkeypatch.context() as blind:
        blind.setattr(s.gateway, "query_transaction", lambda ref: Succeeded())
        blind.setattr(s.gateway, "query_cart", lambda cart_id: Succeeded())
        s.wait(3 * DAY)

    assert moves(s, TransactionKind.REFUND) == [refund]
    s.gateway.decide(refund.transaction_ref, is_done=True, silently=True)
    s.wait(2 * DAY)
    assert s.payment(payment_id).amount_refunded == sar("4.00")
    assert s.gateway.net_of(payment_id) == Decimal("6.00")


def test_what_the_gateway_never_finds_is_asked_about_for_days_and_not_for_ever(
    s: SystemUnderTest,
) -> None:
    payment_id = paid(s, callback_url=CALLBACK_URL)
    page = s.gateway.page_of(payment_id)
    lie = replace(
        page,
        kind=TransactionKind.REFUND,
        transaction_ref="TST9999999999999",
        previous_ref=page.transaction_ref,
    )

    s.receive(lie)
    s.wait(30 * DAY)
    asked = len(s.saga(payment_id).calls)
    s.wait(30 * DAY)

    assert_ended(s, payment_id, "completed", "10.00")
    assert len(s.saga(payment_id).calls) == asked
