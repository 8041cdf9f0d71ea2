"""Of an authorization nothing stays on hold: it is captured, let go, or left to a person."""

from dataclasses import replace
from uuid import UUID

import pytest

from application.payment_gateway import Outcome
from domain.gateway_report import TransactionKind, TransactionStatus
from domain.payment_saga import PaymentSaga
from domain.saga_steps import SagaStatus, Step
from system.testing import SystemUnderTest
from tests.simulation.money_kit import DAY, INVALID, MINUTE, TIME_OUT, assert_ended, moves, sar
from tests.simulation.saga_kit import (
    HOUR,
    TOO_MANY,
    captured,
    circuit_open_for,
    paid,
    with_two_pages,
)

# Letting go


def undone(s: SystemUnderTest, payment_id: UUID) -> list[Step]:
    history = s.applications.sagas.history(s.saga(payment_id).id)
    return [event.step for event in history if isinstance(event, PaymentSaga.StepCompensated)]


def test_returned_money_is_a_step_undone_before_the_record_is_closed(s: SystemUnderTest) -> None:
    payment_id = paid(s, "manual")

    s.wait(8 * DAY)

    assert undone(s, payment_id) == [Step.SETTLE, Step.OPEN_AT_GATEWAY, Step.CREATE_RECORD]


def test_a_payment_is_not_closed_while_its_authorization_cannot_be_let_go(
    s: SystemUnderTest,
) -> None:
    payment_id = paid(s, "manual")
    s.wait(6 * DAY)
    s.gateway.fall_ill(1, INVALID)

    s.wait(2 * DAY)

    assert s.saga(payment_id).status is SagaStatus.PARKED
    assert s.payment(payment_id).status == "authorized"
    s.retry(payment_id)
    s.run()
    assert s.payment(payment_id).status == "cancelled"
    assert s.gateway.held_of(payment_id) == 0


def test_a_rest_that_the_gateway_will_not_let_go_needs_a_person(s: SystemUnderTest) -> None:
    payment_id = paid(s, "manual")
    s.gateway.fall_ill(1, lambda answer: answer)
    s.gateway.fall_ill(1, INVALID)

    s.capture_payment(payment_id, sar("6.00"))
    s.run()

    assert s.payment(payment_id).status == "completed"
    assert s.saga(payment_id).status is SagaStatus.PARKED
    s.retry(payment_id)
    s.run()
    assert s.saga(payment_id).status is SagaStatus.COMPLETED
    assert s.gateway.held_of(payment_id) == 0


@pytest.mark.parametrize("status", [TransactionStatus.EXPIRED, TransactionStatus.VOIDED])
def test_an_authorization_that_the_bank_let_go_needs_nobody(
    s: SystemUnderTest, status: TransactionStatus
) -> None:
    payment_id = paid(s, "manual")
    page = s.gateway.page_of(payment_id)
    s.gateway.transactions[page.transaction_ref] = replace(page, status=status)

    s.wait(8 * DAY)

    assert s.payment(payment_id).status == "cancelled"
    assert s.saga(payment_id).status is SagaStatus.COMPENSATED


@pytest.mark.parametrize("number", [0, 1])
def test_of_two_authorizations_the_bank_may_let_either_go(s: SystemUnderTest, number: int) -> None:
    payment_id = with_two_pages(s, "manual")
    first, second = s.gateway.pages_of(payment_id)
    s.gateway.pay(payment_id, transaction_ref=first.transaction_ref)
    s.run()
    s.gateway.fall_ill(1, INVALID)
    s.gateway.pay(payment_id, transaction_ref=second.transaction_ref)
    s.run()
    page = s.gateway.pages_of(payment_id)[number]
    lapsed = replace(page, status=TransactionStatus.EXPIRED)
    s.gateway.transactions[page.transaction_ref] = lapsed

    s.wait(8 * DAY)
    s.retry(payment_id)
    s.run()

    assert s.payment(payment_id).status == "cancelled"
    assert s.saga(payment_id).status is SagaStatus.COMPENSATED
    assert s.gateway.held_of(payment_id) == 0


# Captures of what is cancelled, given up or given back


def test_a_partial_capture_of_a_cancelled_payment_leaves_nothing_on_hold(
    s: SystemUnderTest,
) -> None:
    payment_id = paid(s, "manual")
    s.gateway.fall_ill(1, TIME_OUT, is_done=True)
    s.capture_payment(payment_id, sar("6.00"))
    s.run()
    s.cancel_payment(payment_id)

    s.wait(10 * MINUTE)

    assert s.gateway.net_of(payment_id) == 0
    assert s.gateway.held_of(payment_id) == 0
    assert undone(s, payment_id)[:2] == [Step.CAPTURE, Step.SETTLE]


@pytest.mark.parametrize("outcome", [TIME_OUT, TOO_MANY], ids=["lost", "put off"])
def test_a_capture_that_never_arrived_is_not_repeated_for_a_cancelled_payment(
    s: SystemUnderTest, outcome: Outcome
) -> None:
    payment_id = paid(s, "manual")
    s.gateway.fall_ill(1, outcome, during=lambda: s.cancel_payment(payment_id))
    s.capture_payment(payment_id)

    s.wait(HOUR)

    assert moves(s, TransactionKind.CAPTURE) == []
    assert s.saga(payment_id).status is SagaStatus.COMPENSATED
    assert s.payment(payment_id).capture_pending is None
    assert s.gateway.held_of(payment_id) == 0


def test_a_capture_that_waits_for_the_gateway_is_not_sent_for_a_cancelled_payment(
    s: SystemUnderTest,
) -> None:
    payment_id = paid(s, "manual")
    s.gateway.fall_ill(1, during=circuit_open_for(5 * MINUTE))
    s.capture_payment(payment_id)
    s.run()
    s.cancel_payment(payment_id)

    s.wait(HOUR)

    assert [r.kind for r in s.gateway.of(payment_id)] == ["authorization", "void"]
    assert s.saga(payment_id).status is SagaStatus.COMPENSATED
    assert s.payment(payment_id).capture_pending is None


def test_a_capture_of_a_payment_that_is_being_given_up_is_refused(s: SystemUnderTest) -> None:
    payment_id = paid(s, "manual")
    s.wait(6 * DAY)
    s.gateway.fall_ill(1, INVALID)
    s.wait(2 * DAY)

    s.capture_payment(payment_id)
    s.run()

    assert s.payment(payment_id).capture_pending is None


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
