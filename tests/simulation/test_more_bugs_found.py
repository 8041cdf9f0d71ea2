"""Bugs that the simulation found when it asked whether an operator can end what is parked, and
when it was made harder: each as the shortest story in which it showed."""

from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID

import pytest

from application.payment_gateway import Outcome, Succeeded
from domain.gateway_report import TransactionKind, TransactionStatus
from domain.saga_steps import SagaStatus
from system.testing import SystemUnderTest
from tests.simulation.money_kit import DAY, assert_ended, moves, opened, paid, sar


@pytest.fixture
def s() -> Iterator[SystemUnderTest]:
    with SystemUnderTest(seed=9) as system:
        yield system


def paid_with_more(answer: Outcome) -> Outcome:
    """A false answer: a payment of 10.00 was paid with 30.00."""
    assert isinstance(answer, Succeeded)
    done = TransactionStatus.AUTHORISED
    reports = [replace(r, status=done, amount=sar("30.00")) for r in answer.reports]
    return replace(answer, reports=tuple(reports))


def parked_for_a_false_answer(s: SystemUnderTest, payment_id: UUID) -> None:
    """A forged callback makes us ask about the page, and the gateway's answer is false."""
    unclear = replace(s.gateway.page_of(payment_id), status=TransactionStatus.UNKNOWN)
    s.gateway.fall_ill(1, paid_with_more)
    s.receive(unclear)
    s.run()
    assert s.saga(payment_id).status is SagaStatus.PARKED


def paid_with_another_amount(s: SystemUnderTest) -> UUID:
    """The gateway's books really say that a payment of 10.00 was paid with 30.00."""
    payment_id = opened(s)
    s.gateway.asked[s.gateway.page_of(payment_id).transaction_ref] = sar("30.00")
    s.gateway.pay(payment_id)
    s.run()
    assert s.saga(payment_id).status is SagaStatus.PARKED
    return payment_id


def test_what_was_never_paid_is_not_given_back_for_an_answer_that_was_false_once(
    s: SystemUnderTest,
) -> None:
    payment_id = opened(s, "manual")
    s.gateway.decline(payment_id)
    s.run()
    parked_for_a_false_answer(s, payment_id)

    s.compensate(payment_id)
    s.run()

    assert_ended(s, payment_id, "failed", "0")
    assert moves(s, TransactionKind.VOID) == []


def test_a_captured_authorization_is_not_let_go_for_an_answer_that_was_false_once(
    s: SystemUnderTest,
) -> None:
    payment_id = paid(s, "manual")
    s.capture_payment(payment_id)
    s.run()
    parked_for_a_false_answer(s, payment_id)

    s.compensate(payment_id)
    s.run()

    assert_ended(s, payment_id, "completed", "10.00")
    assert moves(s, TransactionKind.RELEASE) == []


def test_what_a_completed_payment_took_is_never_given_back_for_a_doubt(
    s: SystemUnderTest,
) -> None:
    payment_id = paid(s)
    parked_for_a_false_answer(s, payment_id)
    s.gateway.fall_ill(1, paid_with_more)

    s.compensate(payment_id)
    s.run()

    assert s.saga(payment_id).status is SagaStatus.PARKED
    assert moves(s, TransactionKind.REFUND) == []


def test_of_doubted_money_only_the_rest_goes_back_after_a_refund_in_the_dashboard(
    s: SystemUnderTest,
) -> None:
    payment_id = paid_with_another_amount(s)
    s.gateway.refund_in_dashboard(payment_id, sar("4.00"))
    s.wait(40 * DAY)

    s.compensate(payment_id)
    s.run()

    assert_ended(s, payment_id, "cancelled", "0")


def test_a_refund_refused_as_a_whole_is_asked_for_again_for_the_rest(s: SystemUnderTest) -> None:
    payment_id = paid_with_another_amount(s)
    told = s.gateway.notify
    s.gateway.notify = lambda report: None
    s.gateway.refund_in_dashboard(payment_id, sar("4.00"))
    s.gateway.notify = told

    s.compensate(payment_id)
    s.run()

    assert_ended(s, payment_id, "cancelled", "0")
