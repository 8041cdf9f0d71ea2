"""Open points of another reading, each as a short story."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from application.payment_gateway import Outcome, Refusal, Refused
from domain.gateway_report import GatewayReport, TransactionKind, TransactionStatus
from domain.money import money
from domain.payment_saga import PaymentSaga
from domain.saga_calls import TRIES_MAX
from domain.saga_steps import SagaStatus, Step, StepStatus
from system.testing import SystemUnderTest
from tests.simulation import money_kit
from tests.simulation.money_kit import DAY, INVALID, TIME_OUT, assert_ended, follow, moves, sar

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


# Money that comes by another way than it was asked for


def lift_hold(s: SystemUnderTest, payment_id: UUID) -> GatewayReport:
    """The gateway shows the held sale as what it is now: an authorization, and authorised."""
    page = s.gateway.page_of(payment_id)
    lifted = replace(page, status=TransactionStatus.AUTHORISED, amount=sar("10.00"))
    s.gateway.transactions[page.transaction_ref] = lifted
    return lifted


def test_a_hold_that_was_lifted_waits_for_the_capture_that_brings_its_money(
    s: SystemUnderTest,
) -> None:
    payment_id = opened(s)
    s.gateway.hold(payment_id)
    s.run()
    lift_hold(s, payment_id)
    s.wait(3 * DAY)
    assert s.saga(payment_id).status is SagaStatus.WAITING

    lifted = s.gateway.page_of(payment_id)
    follow(s, lifted, TransactionKind.CAPTURE, sar("10.00"))
    s.wait(2 * DAY)

    assert_ended(s, payment_id, "completed", "10.00")
    s.wait(40 * DAY)
    assert s.next_due_at() is None


def test_a_lifted_hold_that_is_heard_of_by_callback_parks_nobody(s: SystemUnderTest) -> None:
    payment_id = opened(s)
    s.gateway.hold(payment_id)
    s.run()
    s.receive(lift_hold(s, payment_id))
    s.run()
    assert s.saga(payment_id).status is SagaStatus.WAITING

    lifted = s.gateway.page_of(payment_id)
    s.receive(follow(s, lifted, TransactionKind.CAPTURE, sar("10.00")))
    s.run()

    assert_ended(s, payment_id, "completed", "10.00")


@pytest.mark.parametrize("taken", ["0", "4.00", "10.00"])
def test_a_hold_that_was_lifted_for_a_cancelled_payment_is_let_go(
    s: SystemUnderTest, taken: str
) -> None:
    payment_id = opened(s)
    s.gateway.hold(payment_id)
    s.run()
    s.cancel_payment(payment_id)
    s.run()
    lifted = lift_hold(s, payment_id)
    if taken != "0":
        follow(s, lifted, TransactionKind.CAPTURE, sar(taken))

    s.wait(3 * DAY)

    assert_ended(s, payment_id, "cancelled", "0.00")


def test_cash_for_a_payment_that_the_merchant_captures_completes_it(s: SystemUnderTest) -> None:
    payment_id = opened(s, "manual")
    s.gateway.defer(payment_id)
    s.run()

    s.gateway.settle_deferred(payment_id)
    s.run()

    assert_ended(s, payment_id, "completed", "10.00")
    assert s.payment(payment_id).amount_captured == sar("10.00")
    assert s.saga(payment_id).steps[Step.CAPTURE].status is StepStatus.SUCCEEDED
    s.refund_payment(payment_id, sar("4.00"))
    s.run()
    assert_ended(s, payment_id, "completed", "6.00")


def test_cash_for_a_cancelled_payment_that_the_merchant_captures_goes_back(
    s: SystemUnderTest,
) -> None:
    payment_id = opened(s, "manual")
    s.gateway.defer(payment_id)
    s.run()
    s.cancel_payment(payment_id)
    s.run()

    s.gateway.settle_deferred(payment_id, silently=True)
    s.wait(2 * DAY)

    assert_ended(s, payment_id, "cancelled", "0.00")


# Refusals that are not about what they seem to be


@pytest.mark.parametrize("kind", [TransactionKind.REFUND, TransactionKind.VOID])
def test_a_refused_follow_up_does_not_fail_the_sale(
    s: SystemUnderTest, kind: TransactionKind
) -> None:
    payment_id = opened(s)
    page = s.gateway.page_of(payment_id)
    refused = replace(page, kind=kind, status=TransactionStatus.DECLINED, amount=sar("10.00"))

    s.receive(refused)
    s.run()
    assert s.payment(payment_id).status == "processing"

    s.gateway.pay(payment_id)
    s.run()
    assert_ended(s, payment_id, "completed", "10.00")


@pytest.mark.parametrize(
    "changes",
    [{"amount": sar("99.00")}, {"amount": money("10.00", "AED")}],
    ids=["amount", "currency"],
)
def test_a_refusal_of_other_money_is_not_believed_but_asked_after(
    s: SystemUnderTest, changes: dict[str, Any]
) -> None:
    payment_id = opened(s)
    page = s.gateway.page_of(payment_id)
    s.gateway.pay(payment_id, silently=True)

    s.receive(replace(page, status=TransactionStatus.DECLINED, **changes))
    s.run()

    assert_ended(s, payment_id, "completed", "10.00")
    assert [event["type"] for event in s.events()].count("security.event") == 1


def test_a_capture_called_sale_that_fails_leaves_the_hold_as_it_was(s: SystemUnderTest) -> None:
    payment_id = opened(s)
    s.gateway.hold(payment_id)
    s.run()
    page = s.gateway.page_of(payment_id)
    failed = replace(
        page,
        kind=TransactionKind.SALE,
        transaction_ref="TST7777",
        previous_ref=page.transaction_ref,
        status=TransactionStatus.ERROR,
    )

    s.receive(failed)
    s.run()
    assert s.payment(payment_id).status == "processing"

    s.gateway.release(payment_id)
    s.run()
    assert_ended(s, payment_id, "completed", "10.00")


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": TransactionKind.SALE},
        {"amount": sar("9.00")},
        {"previous_ref": "TST6666"},
    ],
    ids=["type", "amount", "previous reference"],
)
def test_a_refusal_that_does_not_fit_a_refund_frees_nothing(
    s: SystemUnderTest, changes: dict[str, Any]
) -> None:
    payment_id = paid(s)
    s.gateway.follow_up_status = TransactionStatus.PENDING
    refund_id = s.refund_payment(payment_id, sar("4.00"))
    s.run()
    [refund] = moves(s, TransactionKind.REFUND)

    s.receive(replace(refund, status=TransactionStatus.DECLINED, **changes))
    s.run()

    assert s.payment(payment_id).refunds[refund_id].status == "pending"
    s.gateway.decide(refund.transaction_ref, is_done=True)
    s.run()
    assert_ended(s, payment_id, "completed", "6.00")


# What people do in the dashboard


def test_two_captures_made_in_the_dashboard_leave_only_what_neither_took_to_let_go(
    s: SystemUnderTest,
) -> None:
    payment_id = paid(s, "manual")
    page = s.gateway.page_of(payment_id)
    first = follow(s, page, TransactionKind.CAPTURE, sar("4.00"))
    second = follow(s, page, TransactionKind.CAPTURE, sar("3.00"))

    s.receive(first)
    s.run()
    s.receive(second)
    s.run()
    s.retry(payment_id)
    s.run()

    assert_ended(s, payment_id, "completed", "4.00")
    assert s.payment(payment_id).amount_captured == sar("4.00")


def test_what_was_captured_in_the_dashboard_of_a_cancelled_authorization_goes_back(
    s: SystemUnderTest,
) -> None:
    payment_id = paid(s, "manual")
    follow(s, s.gateway.page_of(payment_id), TransactionKind.CAPTURE, sar("4.00"))

    s.cancel_payment(payment_id)
    s.run()
    s.retry(payment_id)
    s.run()

    assert_ended(s, payment_id, "cancelled", "0.00")


def test_a_capture_made_in_the_dashboard_may_be_called_a_sale(s: SystemUnderTest) -> None:
    payment_id = paid(s, "manual")
    page = s.gateway.page_of(payment_id)

    s.receive(follow(s, page, TransactionKind.SALE, sar("4.00")))
    s.run()

    assert_ended(s, payment_id, "completed", "4.00")


def captured(s: SystemUnderTest) -> UUID:
    payment_id = paid(s, "manual")
    s.capture_payment(payment_id)
    s.run()
    return payment_id


@pytest.mark.parametrize("begin", [paid, captured], ids=["sale", "capture"])
def test_a_refund_is_refused_and_what_was_given_back_without_a_word_is_found(
    s: SystemUnderTest, begin: Callable[[SystemUnderTest], UUID]
) -> None:
    payment_id = begin(s)
    whole = moves(s, TransactionKind.CAPTURE) or [s.gateway.page_of(payment_id)]
    follow(s, whole[0], TransactionKind.REFUND, sar("4.00"))

    refund_id = s.refund_payment(payment_id)
    s.run()

    assert s.payment(payment_id).refunds[refund_id].status == "failed"
    assert s.payment(payment_id).amount_refunded == sar("4.00")
    s.refund_payment(payment_id)
    s.run()
    assert_ended(s, payment_id, "refunded", "0.00")


def test_a_capture_that_was_given_back_without_a_word_needs_nobody(s: SystemUnderTest) -> None:
    payment_id = paid(s, "manual")
    s.gateway.fall_ill(1, lambda answer: answer, during=lambda: s.cancel_payment(payment_id))
    s.gateway.fall_ill(1, INVALID)
    s.capture_payment(payment_id)
    s.run()
    assert s.saga(payment_id).status is SagaStatus.PARKED
    [capture] = moves(s, TransactionKind.CAPTURE)
    follow(s, capture, TransactionKind.REFUND, sar("10.00"))

    s.retry(payment_id)
    s.run()

    assert_ended(s, payment_id, "cancelled", "0.00")


def test_a_capture_that_is_asked_for_again_after_the_refund_changes_nothing(
    s: SystemUnderTest,
) -> None:
    payment_id = captured(s)
    s.refund_payment(payment_id)
    s.run()
    version = s.payment(payment_id).version

    s.capture_payment(payment_id, sar("10.00"))
    s.run()

    assert s.payment(payment_id).version == version
    assert_ended(s, payment_id, "refunded", "0.00")
