"""The database was set back: what moves money is asked after before it is sent at first."""

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest

from application.payment_gateway import FollowUpRequest
from domain.gateway_report import TransactionKind, cart_id_for
from domain.money import money
from domain.payment_terms import PaymentStatus
from system.handlers import GatewayCallHandler
from system.testing import SystemUnderTest
from system.work_item import WorkKind

AMOUNT, PART = money("100.00", "SAR"), money("30.00", "SAR")
A_DAY = timedelta(days=1)


@pytest.fixture
def s() -> Iterator[SystemUnderTest]:
    with SystemUnderTest(seed=1) as s:
        yield s


def paid(s: SystemUnderTest, **request: str) -> UUID:
    payment_id = s.create_payment("100.00", "SAR", "Tea", **request)
    s.run()
    s.gateway.pay(payment_id)
    s.run()
    return payment_id


def forget(s: SystemUnderTest, payment_id: UUID, purpose: str) -> FollowUpRequest:
    """What PaySaga asked of the gateway, and what the recovered database knows nothing of."""
    page = s.gateway.page_of(payment_id)
    return FollowUpRequest(
        cart_id=cart_id_for(payment_id, purpose, 1),
        amount=PART,
        description="before",
        transaction_ref=page.transaction_ref,
        callback_url="https://paysaga.example/v1/webhooks/paytabs",
    )


def recover(s: SystemUnderTest) -> None:
    """From now on the handler is the one of a worker with RECOVERED_AT."""
    s.wait(timedelta(minutes=5))
    s.handlers = {
        **s.handlers,
        WorkKind.GATEWAY_CALL: GatewayCallHandler(
            s.applications, s.gateway, "https://paysaga.example", s.clock.now()
        ),
    }


def moved(s: SystemUnderTest, payment_id: UUID, kind: TransactionKind) -> int:
    return sum(report.kind is kind for report in s.gateway.of(payment_id))


def test_a_refund_that_was_forgotten_is_found_and_not_made_again(s: SystemUnderTest) -> None:
    payment_id = paid(s)
    s.gateway.refund(forget(s, payment_id, "r"))
    recover(s)
    s.refund_payment(payment_id, PART)
    s.wait(A_DAY)
    assert s.payment(payment_id).amount_refunded == PART
    assert moved(s, payment_id, TransactionKind.REFUND) == 1


def test_without_being_told_of_the_recovery_it_would_be_made_again(s: SystemUnderTest) -> None:
    payment_id = paid(s)
    s.gateway.refund(forget(s, payment_id, "r"))
    s.refund_payment(payment_id, PART)
    s.wait(A_DAY)
    assert moved(s, payment_id, TransactionKind.REFUND) == 2


def test_a_refund_that_never_was_is_made_once(s: SystemUnderTest) -> None:
    payment_id = paid(s)
    recover(s)
    s.refund_payment(payment_id, PART)
    s.wait(A_DAY)
    assert s.payment(payment_id).amount_refunded == PART
    assert moved(s, payment_id, TransactionKind.REFUND) == 1


def test_a_capture_that_was_forgotten_is_found(s: SystemUnderTest) -> None:
    payment_id = paid(s, capture_method="manual")
    s.gateway.capture(forget(s, payment_id, "k"))
    recover(s)
    s.capture_payment(payment_id, PART)
    s.wait(A_DAY)
    payment = s.payment(payment_id)
    assert (payment.status, payment.amount_captured) == (PaymentStatus.COMPLETED, PART)
    assert moved(s, payment_id, TransactionKind.CAPTURE) == 1


def test_a_forgotten_refund_of_another_amount_is_left_to_a_person(s: SystemUnderTest) -> None:
    payment_id = paid(s)
    s.gateway.refund(forget(s, payment_id, "r"))
    recover(s)
    s.refund_payment(payment_id, money("50.00", "SAR"))
    s.wait(A_DAY)
    assert moved(s, payment_id, TransactionKind.REFUND) == 1
    assert s.saga(payment_id).parked


def test_a_payment_of_after_the_recovery_is_refunded_without_a_question(
    s: SystemUnderTest,
) -> None:
    recover(s)
    payment_id = paid(s)
    s.refund_payment(payment_id, PART)
    s.run()
    assert s.payment(payment_id).amount_refunded == PART
