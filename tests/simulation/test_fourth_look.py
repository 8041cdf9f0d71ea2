"""Bugs that a fourth reading found, each as the shortest story in which it shows."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from domain.gateway_report import GatewayReport, TransactionKind, TransactionStatus
from domain.saga_steps import SagaStatus
from system.testing import SystemUnderTest
from tests.simulation.money_kit import (
    DAY,
    INVALID,
    MINUTE,
    TIME_OUT,
    assert_ended,
    authorized,
    follow,
    moves,
    opened,
    paid,
    refund_statuses,
    sar,
)

HOUR = timedelta(hours=1)


@pytest.fixture
def s() -> Iterator[SystemUnderTest]:
    with SystemUnderTest(seed=21) as system:
        yield system


def go_one_step(s: SystemUnderTest) -> None:
    """The next call goes out, and what came of it is heard; its sequel is not yet due."""
    s.follow()
    s.work_once()
    s.follow()


def lose(s: SystemUnderTest, kind: TransactionKind) -> None:
    """The next call is done, its answer is lost, and queries do not show it before it has been
    taken for one that never happened, and was asked for again."""
    s.gateway.fall_ill(1, TIME_OUT, is_done=True)
    s.gateway.hide(lambda report: report.kind is kind and len(moves(s, kind)) == 1, DAY)


def older_sale(s: SystemUnderTest, payment_id: UUID) -> None:
    """A sale of before a recovery of the database bears the cart of the page of today."""
    page = s.gateway.page_of(payment_id)
    authorised = TransactionStatus.AUTHORISED
    old = replace(page, transaction_ref="TSTOLD", status=authorised, amount=sar("10.00"))
    s.gateway.transactions = {old.transaction_ref: old, **s.gateway.transactions}


def strange(report: GatewayReport) -> GatewayReport:
    """A callback about a transaction that nobody knows."""
    authorised = TransactionStatus.AUTHORISED
    return replace(report, transaction_ref="TST999", status=authorised, amount=sar("1.00"))


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
        payment_id = opened(s)
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
        payment_id = paid(s)
        lose(s, TransactionKind.REFUND)
        s.refund_payment(payment_id, sar("10.00"))

        s.wait(DAY)

        assert refund_statuses(s, payment_id) == ["succeeded"]
        assert_ended(s, payment_id, "refunded", "0.00")

    def test_a_refund_that_is_refused_the_second_time_and_not_shown_has_failed(
        self, s: SystemUnderTest
    ) -> None:
        payment_id = paid(s)
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

    def test_a_capture_made_in_the_dashboard_without_a_word_is_found_when_ours_is_refused(
        self, s: SystemUnderTest
    ) -> None:
        payment_id = authorized(s)
        follow(s, s.gateway.page_of(payment_id), TransactionKind.CAPTURE, sar("10.00"))

        s.capture_payment(payment_id)
        s.run()

        assert_ended(s, payment_id, "completed", "10.00")


class TestTheEndOfTheWait:
    def test_an_answer_about_something_else_does_not_end_a_hold(self, s: SystemUnderTest) -> None:
        payment_id = opened(s)
        s.gateway.hold(payment_id)
        s.wait(2 * DAY)

        s.receive(strange(s.gateway.page_of(payment_id)))
        s.run()
        assert s.payment(payment_id).status == "processing"

        s.gateway.release(payment_id)
        s.run()
        assert_ended(s, payment_id, "completed", "10.00")

    def test_a_hold_is_watched_when_an_operator_has_ended_the_parking_for_something_else(
        self, s: SystemUnderTest
    ) -> None:
        payment_id = opened(s)
        s.gateway.hold(payment_id)
        s.run()
        held = s.gateway.page_of(payment_id)
        odd = follow(s, held, TransactionKind.UNKNOWN, sar("10.00"))
        s.receive(odd)
        s.wait(2 * DAY)
        assert s.saga(payment_id).status is SagaStatus.PARKED

        del s.gateway.transactions[odd.transaction_ref]
        s.retry(payment_id)
        s.wait(DAY)
        assert s.payment(payment_id).status == "processing"

        s.gateway.release(payment_id, silently=True)
        s.wait(DAY)
        assert_ended(s, payment_id, "completed", "10.00")

    def test_an_older_sale_with_the_same_cart_is_found_when_the_page_runs_out(
        self, s: SystemUnderTest
    ) -> None:
        payment_id = opened(s)
        older_sale(s, payment_id)

        s.wait(DAY)

        assert_ended(s, payment_id, "completed", "10.00")

    def test_an_older_sale_with_the_same_cart_goes_back_after_a_cancel(
        self, s: SystemUnderTest
    ) -> None:
        payment_id = opened(s)
        older_sale(s, payment_id)
        s.cancel_payment(payment_id)

        s.wait(DAY)

        assert_ended(s, payment_id, "cancelled", "0.00")

    def test_a_page_that_was_refused_and_is_held_all_the_same_is_watched(
        self, s: SystemUnderTest
    ) -> None:
        payment_id = s.create_payment("10.00", "SAR", "Tea")

        def hold() -> None:
            s.gateway.hold(payment_id)
            s.follow()

        s.gateway.fall_ill(1, INVALID, is_done=True, during=hold)
        s.wait(DAY)
        s.gateway.release(payment_id, silently=True)
        s.wait(2 * DAY)

        assert_ended(s, payment_id, "completed", "10.00")


class TestWhatAnOperatorGivesUp:
    def test_a_refund_of_what_was_never_paid_needs_nobody_any_more(
        self, s: SystemUnderTest
    ) -> None:
        payment_id = paid(s)
        unknown = replace(s.gateway.page_of(payment_id), transaction_ref="TST999")
        s.receive(follow(s, unknown, TransactionKind.REFUND, sar("3.00")))
        s.wait(60 * DAY)
        assert s.saga(payment_id).status is SagaStatus.PARKED

        s.compensate(payment_id)
        s.wait(DAY)

        assert s.saga(payment_id).status is SagaStatus.COMPLETED
        assert not s.payment(payment_id).refunds
