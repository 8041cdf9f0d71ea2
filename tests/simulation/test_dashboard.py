"""What is done in the gateway's dashboard behind our back is reckoned with, told of or not."""

from collections.abc import Callable
from uuid import UUID

import pytest

from domain.gateway_report import GatewayReport, TransactionKind, TransactionStatus
from domain.saga_steps import SagaStatus
from system.testing import SystemUnderTest
from tests.simulation.money_kit import (
    CALLBACK_URL,
    DAY,
    INVALID,
    MINUTE,
    TIME_OUT,
    assert_ended,
    authorized,
    follow,
    moves,
    sar,
)
from tests.simulation.saga_kit import (
    captured,
    done_with_more,
    garbled_status,
    go_one_step,
    nobody_told,
    opened,
    paid,
)

# Refunds


def test_a_dashboard_refund_may_be_heard_of_before_the_payment(s: SystemUnderTest) -> None:
    payment_id = opened(s)
    s.gateway.pay(payment_id, silently=True)

    s.gateway.refund_in_dashboard(payment_id, sar("3.00"))
    s.wait(5 * MINUTE)

    assert s.payment(payment_id).status == "completed"
    assert s.payment(payment_id).amount_refunded == sar("3.00")


def test_a_dashboard_refund_whose_status_is_unreadable_once_is_asked_after_again(
    s: SystemUnderTest,
) -> None:
    payment_id = paid(s)
    s.gateway.fall_ill(1, garbled_status)

    s.gateway.refund_in_dashboard(payment_id, sar("3.00"))
    s.wait(5 * MINUTE)

    assert s.payment(payment_id).amount_refunded == sar("3.00")


def test_a_dashboard_refund_never_reopens_a_cancelled_payment(s: SystemUnderTest) -> None:
    payment_id = opened(s)
    s.cancel_payment(payment_id)
    s.run()
    s.gateway.fall_ill(1, INVALID)
    s.gateway.pay(payment_id)
    s.run()

    s.gateway.refund_in_dashboard(payment_id, sar("4.00"))
    s.run()

    assert s.payment(payment_id).status == "cancelled"
    assert s.saga(payment_id).status is SagaStatus.COMPENSATED
    assert s.gateway.net_of(payment_id) == 0


def test_a_dashboard_refund_of_a_capture_is_not_taken_for_the_capture(s: SystemUnderTest) -> None:
    payment_id = paid(s, "manual")
    s.capture_payment(payment_id, sar("6.00"))
    s.run()

    s.gateway.refund_in_dashboard(payment_id, sar("2.00"))
    s.run()

    assert s.payment(payment_id).amount_refunded == sar("2.00")
    assert not list(s.applications.operations.all())


def test_a_dashboard_refund_while_a_capture_is_in_doubt_is_not_forgotten(
    s: SystemUnderTest,
) -> None:
    payment_id = paid(s, "manual")
    s.gateway.fall_ill(4, garbled_status)
    s.capture_payment(payment_id)
    s.run()

    s.gateway.refund_in_dashboard(payment_id, sar("3.00"))
    s.wait(DAY)
    s.retry(payment_id)
    s.wait(2 * DAY)

    assert s.payment(payment_id).status == "completed"
    assert s.payment(payment_id).amount_refunded == sar("3.00")


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


# Captures


def test_a_payment_captured_in_the_dashboard_at_once_is_not_taken_for_a_voided_one(
    s: SystemUnderTest,
) -> None:
    payment_id = opened(s, "manual", callback_url=CALLBACK_URL)
    s.gateway.pay(payment_id)
    s.gateway.capture_in_dashboard(payment_id, sar("10.00"))
    s.run()

    assert_ended(s, payment_id, "completed", "10.00")


def test_a_capture_in_the_dashboard_may_be_heard_of_before_what_it_takes(
    s: SystemUnderTest,
) -> None:
    payment_id = opened(s, "manual", callback_url=CALLBACK_URL)
    with nobody_told(s):
        s.gateway.pay(payment_id)

    s.gateway.capture_in_dashboard(payment_id, sar("4.00"))
    s.wait(8 * DAY)

    assert_ended(s, payment_id, "completed", "4.00")


def test_a_capture_made_in_the_dashboard_may_be_called_a_sale(s: SystemUnderTest) -> None:
    payment_id = paid(s, "manual")
    page = s.gateway.page_of(payment_id)

    s.receive(follow(s, page, TransactionKind.SALE, sar("4.00")))
    s.run()

    assert_ended(s, payment_id, "completed", "4.00")


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


def test_what_the_dashboard_captures_while_we_let_the_rest_go_goes_back(
    s: SystemUnderTest,
) -> None:
    payment_id = authorized(s)
    s.capture_payment(payment_id, sar("4.00"))
    s.follow()
    s.work_once()
    s.gateway.capture_in_dashboard(payment_id, sar("2.00"))

    s.wait(8 * DAY)

    assert_ended(s, payment_id, "completed", "4.00")


def test_what_the_dashboard_captured_of_a_cancelled_payment_goes_back_and_the_rest_is_let_go(
    s: SystemUnderTest,
) -> None:
    payment_id = authorized(s)
    s.cancel_payment(payment_id)
    s.gateway.capture_in_dashboard(payment_id, sar("4.00"))

    s.wait(8 * DAY)

    assert_ended(s, payment_id, "cancelled", "0")


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


def test_a_capture_made_in_the_dashboard_without_a_word_is_found_when_ours_is_refused(
    s: SystemUnderTest,
) -> None:
    payment_id = authorized(s)
    follow(s, s.gateway.page_of(payment_id), TransactionKind.CAPTURE, sar("10.00"))

    s.capture_payment(payment_id)
    s.run()

    assert_ended(s, payment_id, "completed", "10.00")


class TestTwoCaptures:
    """A capture in the dashboard is heard of while the fate of ours is unknown."""

    def test_ours_was_lost_and_goes_back(self, s: SystemUnderTest) -> None:
        payment_id = authorized(s)
        s.gateway.fall_ill(1, TIME_OUT, is_done=True)
        s.capture_payment(payment_id, sar("5.00"))
        go_one_step(s)

        s.gateway.capture_in_dashboard(payment_id, sar("3.00"))
        s.wait(DAY)

        assert s.payment(payment_id).amount_captured == sar("3.00")
        assert_ended(s, payment_id, "completed", "3.00")

    def test_ours_was_pending_and_goes_back(self, s: SystemUnderTest) -> None:
        payment_id = authorized(s)
        s.gateway.follow_up_status = TransactionStatus.PENDING
        s.capture_payment(payment_id, sar("5.00"))
        s.run()
        s.gateway.follow_up_status = TransactionStatus.AUTHORISED
        s.gateway.capture_in_dashboard(payment_id, sar("3.00"))
        s.run()

        ours = moves(s, TransactionKind.CAPTURE)[0]
        s.gateway.decide(ours.transaction_ref, is_done=True)
        s.wait(DAY)

        assert s.payment(payment_id).amount_captured == sar("3.00")
        assert_ended(s, payment_id, "completed", "3.00")

    def test_a_pending_capture_and_one_in_the_dashboard_need_nobody_for_the_rest(
        self, s: SystemUnderTest
    ) -> None:
        payment_id = authorized(s)
        s.gateway.follow_up_status = TransactionStatus.PENDING
        s.capture_payment(payment_id, sar("5.00"))
        s.run()
        s.gateway.follow_up_status = TransactionStatus.AUTHORISED

        s.gateway.capture_in_dashboard(payment_id, sar("3.00"))
        s.wait(DAY)
        assert s.saga(payment_id).status is SagaStatus.COMPLETED
        assert moves(s, TransactionKind.RELEASE) == []

        [ours] = [r for r in s.gateway.of(payment_id) if r.status is TransactionStatus.PENDING]
        s.gateway.decide(ours.transaction_ref, is_done=False)
        s.run()
        assert_ended(s, payment_id, "completed", "3.00")


# Voids


def test_an_authorization_voided_in_the_dashboard_closes_its_payment(s: SystemUnderTest) -> None:
    payment_id = paid(s, "manual")

    s.gateway.void_in_dashboard(payment_id, sar("10.00"))
    s.run()

    assert s.payment(payment_id).status == "cancelled"
    assert s.payment(payment_id).cancellation_reason == "voided_at_gateway"
    assert s.saga(payment_id).status is SagaStatus.COMPENSATED


def test_what_was_voided_in_the_dashboard_without_a_word_needs_nobody(s: SystemUnderTest) -> None:
    payment_id = paid(s, "manual")
    with nobody_told(s):
        s.gateway.void_in_dashboard(payment_id, sar("10.00"))

    s.wait(8 * DAY)

    assert s.payment(payment_id).status == "cancelled"
    assert s.saga(payment_id).status is SagaStatus.COMPENSATED


def test_an_authorization_voided_while_it_is_captured_closes_its_payment(
    s: SystemUnderTest,
) -> None:
    payment_id = authorized(s)
    s.capture_payment(payment_id)
    s.follow()

    s.gateway.void_in_dashboard(payment_id, sar("10.00"))
    s.run()

    assert s.payment(payment_id).status == "cancelled"
    assert s.saga(payment_id).status is SagaStatus.COMPENSATED


def test_of_an_authorization_released_in_part_only_the_rest_is_let_go(s: SystemUnderTest) -> None:
    payment_id = paid(s, "manual")
    s.gateway.void_in_dashboard(payment_id, sar("3.00"))
    s.run()

    s.capture_payment(payment_id, sar("6.00"))
    s.run()

    assert s.saga(payment_id).status is SagaStatus.COMPLETED
    assert s.gateway.held_of(payment_id) == 0


def test_a_void_in_the_dashboard_ends_what_was_parked_for_it(s: SystemUnderTest) -> None:
    payment_id = paid(s, "manual")
    s.gateway.fall_ill(1, INVALID)
    s.cancel_payment(payment_id)
    s.run()
    assert s.saga(payment_id).status is SagaStatus.PARKED

    s.gateway.void_in_dashboard(payment_id, sar("10.00"))
    s.run()

    assert s.saga(payment_id).status is SagaStatus.COMPENSATED


def test_a_void_in_the_dashboard_does_not_leave_our_own_in_the_dark(s: SystemUnderTest) -> None:
    payment_id = paid(s, "manual")
    late: list[GatewayReport] = []
    s.gateway.notify = late.append
    s.gateway.void_in_dashboard(payment_id, sar("10.00"))
    s.gateway.fall_ill(1, TIME_OUT, is_done=True)
    s.gateway.fall_ill(3, done_with_more)
    s.cancel_payment(payment_id)
    s.wait(MINUTE * 5)
    assert s.saga(payment_id).status is SagaStatus.PARKED

    for report in late:
        s.receive(report)
    s.wait(DAY)

    assert s.saga(payment_id).status is SagaStatus.COMPENSATED
