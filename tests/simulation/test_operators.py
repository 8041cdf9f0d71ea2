"""Whatever is parked, an operator can end: by a retry, by giving up, or in the dashboard."""

from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import pytest

from domain.gateway_report import TransactionKind, TransactionStatus
from domain.saga_steps import SagaStatus
from system.testing import SystemUnderTest
from tests.simulation.money_kit import (
    CALLBACK_URL,
    DAY,
    INVALID,
    TIME_OUT,
    assert_ended,
    authorized,
    follow,
    moves,
    sar,
)
from tests.simulation.saga_kit import done_with_more, nobody_told, opened, paid, with_two_pages

# Retries


def test_every_reason_for_parking_is_kept_and_tried_again(s: SystemUnderTest) -> None:
    payment_id = with_two_pages(s)
    s.cancel_payment(payment_id)
    s.run()
    s.gateway.fall_ill(2, INVALID)
    for page in s.gateway.pages_of(payment_id):
        s.gateway.pay(payment_id, transaction_ref=page.transaction_ref)
    s.run()
    assert s.saga(payment_id).status is SagaStatus.PARKED
    row = s.row("view_sagas", s.saga(payment_id).id)
    assert row is not None
    assert row["parked_detail"]

    s.retry(payment_id)
    s.run()

    assert s.saga(payment_id).status is SagaStatus.COMPENSATED
    assert s.gateway.net_of(payment_id) == 0
    assert row["parked_detail"] is None


def test_an_operator_may_give_money_back_in_the_dashboard_and_retry(s: SystemUnderTest) -> None:
    payment_id = opened(s)
    s.cancel_payment(payment_id)
    s.run()
    s.gateway.fall_ill(1, INVALID)
    s.gateway.pay(payment_id)
    s.run()
    with nobody_told(s):
        s.gateway.refund_in_dashboard(payment_id, sar("10.00"))
    assert s.saga(payment_id).status is SagaStatus.PARKED

    s.retry(payment_id)
    s.run()

    assert s.saga(payment_id).status is SagaStatus.COMPENSATED
    assert s.gateway.net_of(payment_id) == 0


def with_a_refund_given_up(s: SystemUnderTest, monkeypatch: pytest.MonkeyPatch) -> UUID:
    """No request for a refund of 4.00 ever reaches the gateway, until a person has to look."""
    payment_id = paid(s)
    with monkeypatch.context() as cut_off:
        cut_off.setattr(s.gateway, "refund", lambda request: TIME_OUT)
        s.refund_payment(payment_id, sar("4.00"))
        s.wait(2 * DAY)
    assert s.saga(payment_id).status is SagaStatus.PARKED
    return payment_id


def test_an_operators_retry_is_another_attempt_at_what_came_to_nothing(
    s: SystemUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment_id = with_a_refund_given_up(s, monkeypatch)

    s.retry(payment_id)
    s.wait(DAY)

    assert s.saga(payment_id).status is SagaStatus.COMPLETED
    assert s.payment(payment_id).amount_refunded == sar("4.00")
    assert s.gateway.net_of(payment_id) == Decimal("6.00")


def test_a_refund_that_an_operator_makes_in_the_dashboard_instead_is_that_refund(
    s: SystemUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment_id = with_a_refund_given_up(s, monkeypatch)

    s.gateway.refund_in_dashboard(payment_id, sar("4.00"))
    s.wait(DAY)
    s.retry(payment_id)
    s.wait(DAY)

    assert s.saga(payment_id).status is SagaStatus.COMPLETED
    assert [r.status for r in s.payment(payment_id).refunds.values()] == ["succeeded"]
    assert s.payment(payment_id).amount_refunded == sar("4.00")
    assert s.gateway.net_of(payment_id) == Decimal("6.00")


# Giving up money that was doubted for an answer that was false once


def parked_for_a_false_answer(s: SystemUnderTest, payment_id: UUID) -> None:
    """A forged callback makes us ask about the page, and the gateway's answer is false."""
    unclear = replace(s.gateway.page_of(payment_id), status=TransactionStatus.UNKNOWN)
    s.gateway.fall_ill(1, done_with_more)
    s.receive(unclear)
    s.run()
    assert s.saga(payment_id).status is SagaStatus.PARKED


def test_what_was_never_paid_is_not_given_back_for_an_answer_that_was_false_once(
    s: SystemUnderTest,
) -> None:
    payment_id = opened(s, "manual", callback_url=CALLBACK_URL)
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
    payment_id = authorized(s)
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
    payment_id = paid(s, callback_url=CALLBACK_URL)
    parked_for_a_false_answer(s, payment_id)
    s.gateway.fall_ill(1, done_with_more)

    s.compensate(payment_id)
    s.run()

    assert s.saga(payment_id).status is SagaStatus.PARKED
    assert moves(s, TransactionKind.REFUND) == []


# Giving up money that is odd indeed


def paid_with_another_amount(s: SystemUnderTest) -> UUID:
    """The gateway's books really say that a payment of 10.00 was paid with 30.00."""
    payment_id = opened(s, callback_url=CALLBACK_URL)
    s.gateway.asked[s.gateway.page_of(payment_id).transaction_ref] = sar("30.00")
    s.gateway.pay(payment_id)
    s.run()
    assert s.saga(payment_id).status is SagaStatus.PARKED
    return payment_id


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
    with nobody_told(s):
        s.gateway.refund_in_dashboard(payment_id, sar("4.00"))

    s.compensate(payment_id)
    s.run()

    assert_ended(s, payment_id, "cancelled", "0")


def test_what_gave_money_back_is_never_given_back_itself(s: SystemUnderTest) -> None:
    payment_id = opened(s)
    s.gateway.defer(payment_id)
    odd = follow(s, s.gateway.page_of(payment_id), TransactionKind.SALE, sar("12.00"))
    s.receive(odd)
    s.run()
    s.gateway.refund_in_dashboard(payment_id, sar("4.00"))
    s.wait(40 * DAY)
    assert s.saga(payment_id).status is SagaStatus.PARKED

    s.compensate(payment_id)
    s.run()

    asked = [call for call in s.saga(payment_id).calls.values() if call.operation.is_follow_up]
    assert {call.transaction_ref for call in asked} == {odd.transaction_ref}


def test_a_refund_of_what_was_never_paid_needs_nobody_any_more(s: SystemUnderTest) -> None:
    payment_id = paid(s, callback_url=CALLBACK_URL)
    unknown = replace(s.gateway.page_of(payment_id), transaction_ref="TST999")
    s.receive(follow(s, unknown, TransactionKind.REFUND, sar("3.00")))
    s.wait(60 * DAY)
    assert s.saga(payment_id).status is SagaStatus.PARKED

    s.compensate(payment_id)
    s.wait(DAY)

    assert s.saga(payment_id).status is SagaStatus.COMPLETED
    assert not s.payment(payment_id).refunds
