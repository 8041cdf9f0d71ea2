"""A call whose answer is lost may have been done, also when it is asked for a second time."""

from dataclasses import replace
from decimal import Decimal

import pytest

from domain.gateway_report import TransactionKind, TransactionStatus
from domain.saga_steps import SagaStatus
from system.testing import SystemUnderTest
from tests.simulation.money_kit import (
    CALLBACK_URL,
    DAY,
    MINUTE,
    TIME_OUT,
    assert_ended,
    authorized,
    moves,
    refund_statuses,
    sar,
)
from tests.simulation.saga_kit import HOUR, go_one_step, opened, paid


def test_a_repeated_refund_of_a_compensation_ends_it(s: SystemUnderTest) -> None:
    payment_id = opened(s)
    s.cancel_payment(payment_id)
    s.run()
    s.gateway.fall_ill(1, TIME_OUT, is_done=False)
    s.gateway.pay(payment_id)

    s.wait(20 * MINUTE)

    assert s.saga(payment_id).status is SagaStatus.COMPENSATED
    assert not s.saga(payment_id).follow_ups_under_way


def test_a_repetition_is_not_sent_when_the_first_attempt_is_heard_of_in_time(
    s: SystemUnderTest,
) -> None:
    payment_id = paid(s)
    s.gateway.fall_ill(1, TIME_OUT, is_done=True)
    s.refund_payment(payment_id, sar("4.00"))
    s.run()
    [refund] = moves(s, TransactionKind.REFUND)
    hidden = s.gateway.transactions[refund.transaction_ref]
    s.gateway.transactions[refund.transaction_ref] = replace(hidden, cart_id="not yet shown")
    s.wait(2 * MINUTE)
    for _ in range(10):
        s.clock.move_to(s.next_due_at() or s.clock.now())
        s.work_once()
        s.follow()
        if s.saga(payment_id).awaits(list(s.saga(payment_id).calls)[-1]):
            newest = list(s.saga(payment_id).calls.values())[-1]
            if newest.refund_id:
                break
    else:
        pytest.fail("the refund was not to be repeated")
    s.gateway.transactions[refund.transaction_ref] = hidden

    s.receive(hidden)
    s.follow()
    s.run()

    assert s.gateway.net_of(payment_id) == Decimal("6.00")


def test_of_two_attempts_in_one_cart_the_one_that_may_still_be_done_counts(
    s: SystemUnderTest,
) -> None:
    payment_id = paid(s)
    s.gateway.follow_up_status = TransactionStatus.PENDING
    s.gateway.fall_ill(1, TIME_OUT, is_done=True)
    refund_id = s.refund_payment(payment_id, sar("4.00"))
    s.run()
    [refund] = moves(s, TransactionKind.REFUND)
    refused = replace(refund, transaction_ref="TST8888", status=TransactionStatus.DECLINED)
    s.gateway.transactions["TST8888"] = refused

    s.wait(HOUR)

    assert s.payment(payment_id).refunds[refund_id].status == "pending"


def lose(s: SystemUnderTest, kind: TransactionKind) -> None:
    """The next call is done, its answer is lost, and queries do not show it before it has been
    taken for one that never happened, and was asked for again."""
    s.gateway.fall_ill(1, TIME_OUT, is_done=True)
    s.gateway.hide(lambda report: report.kind is kind and len(moves(s, kind)) == 1, DAY)


class TestDoneAfterAll:
    """An attempt of which the gateway knew nothing for long had been done."""

    def test_a_void_that_was_asked_for_again_needs_no_other(self, s: SystemUnderTest) -> None:
        payment_id = authorized(s)
        lose(s, TransactionKind.VOID)
        s.cancel_payment(payment_id)

        s.wait(DAY)

        assert_ended(s, payment_id, "cancelled", "0")

    def test_an_operator_ends_the_parking_for_what_was_done_long_ago(
        self, s: SystemUnderTest
    ) -> None:
        payment_id = opened(s, callback_url=CALLBACK_URL)
        s.cancel_payment(payment_id)
        s.run()
        s.gateway.fall_ill(1, TIME_OUT, is_done=True)
        s.gateway.hide(lambda report: report.kind is TransactionKind.REFUND, HOUR)
        s.gateway.pay(payment_id)
        s.wait(DAY)

        s.retry(payment_id)
        s.wait(DAY)

        assert_ended(s, payment_id, "cancelled", "0.00")

    def test_a_refund_is_not_said_to_have_failed(self, s: SystemUnderTest) -> None:
        payment_id = paid(s, callback_url=CALLBACK_URL)
        lose(s, TransactionKind.REFUND)
        s.refund_payment(payment_id, sar("10.00"))

        s.wait(DAY)

        assert refund_statuses(s, payment_id) == ["succeeded"]
        assert_ended(s, payment_id, "refunded", "0.00")

    def test_a_refund_that_is_refused_the_second_time_and_not_shown_has_failed(
        self, s: SystemUnderTest
    ) -> None:
        payment_id = paid(s, callback_url=CALLBACK_URL)
        s.gateway.fall_ill(1, TIME_OUT)
        s.refund_payment(payment_id, sar("10.00"))
        go_one_step(s)
        s.wait(2 * MINUTE)
        s.gateway.hide(lambda report: report.kind is TransactionKind.REFUND, DAY)
        s.gateway.follow_up_status = TransactionStatus.DECLINED

        s.wait(DAY)

        assert len(moves(s, TransactionKind.REFUND)) == 1
        assert refund_statuses(s, payment_id) == ["failed"]
        assert_ended(s, payment_id, "completed", "10.00")

    def test_a_capture_that_was_said_to_have_failed_completes_the_payment(
        self, s: SystemUnderTest
    ) -> None:
        payment_id = authorized(s)
        s.gateway.fall_ill(1, TIME_OUT, is_done=True)
        s.capture_payment(payment_id, sar("6.00"))
        go_one_step(s)
        [capture] = moves(s, TransactionKind.CAPTURE)
        s.receive(replace(capture, status=TransactionStatus.DECLINED))
        s.run()

        s.receive(capture)
        s.run()

        assert s.payment(payment_id).amount_captured == sar("6.00")
        assert_ended(s, payment_id, "completed", "6.00")

    def test_a_capture_that_was_said_to_have_failed_goes_back_when_the_payment_is_closed(
        self, s: SystemUnderTest
    ) -> None:
        payment_id = authorized(s)
        s.gateway.fall_ill(1, TIME_OUT, is_done=True)
        s.capture_payment(payment_id, sar("6.00"))
        go_one_step(s)
        s.gateway.hide(lambda report: report.kind is TransactionKind.CAPTURE, MINUTE)
        [capture] = moves(s, TransactionKind.CAPTURE)
        s.receive(replace(capture, status=TransactionStatus.DECLINED))
        s.wait(2 * MINUTE)

        s.cancel_payment(payment_id)
        s.wait(DAY)

        assert_ended(s, payment_id, "cancelled", "0.00")
