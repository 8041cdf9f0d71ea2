"""What happens to money, sentence by sentence: refunds, captures, unknown outcomes."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from application.payment_gateway import FollowUpRequest, Refused, Unknown
from domain.gateway_call import Operation
from domain.gateway_report import TransactionKind, TransactionStatus
from domain.payment_saga import PaymentSaga
from domain.payment_terms import CaptureExceedsAuthorized, CapturePending, RefundExceedsCaptured
from domain.saga_steps import SagaStatus, Step
from system.testing import SystemUnderTest
from tests.simulation.money_kit import (
    CALLBACK_URL,
    DAY,
    DUPLICATE,
    INVALID,
    MINUTE,
    TIME_OUT,
    assert_ended,
    authorized,
    moves,
    opened,
    paid,
    refund_statuses,
    sar,
)


@pytest.fixture
def s() -> Iterator[SystemUnderTest]:
    with SystemUnderTest(seed=4) as system:
        yield system


class TestRefunds:
    def test_a_full_refund_gives_everything_back(self, s: SystemUnderTest) -> None:
        payment_id = paid(s)

        s.refund_payment(payment_id)
        s.run()

        assert_ended(s, payment_id, "refunded", "0.00")
        assert s.merchant.events_told == ["payment.completed", "payment.refunded"]

    def test_a_partial_refund_leaves_the_payment_completed(self, s: SystemUnderTest) -> None:
        payment_id = paid(s)

        s.refund_payment(payment_id, sar("4.00"))
        s.run()

        assert_ended(s, payment_id, "completed", "6.00")
        assert s.payment(payment_id).amount_refundable == sar("6.00")

    def test_several_partial_refunds_add_up_to_a_full_one(self, s: SystemUnderTest) -> None:
        payment_id = paid(s)

        for amount in ("4.00", "1.00", "5.00"):
            s.refund_payment(payment_id, sar(amount))
            s.run()

        assert_ended(s, payment_id, "refunded", "0.00")
        assert refund_statuses(s, payment_id) == ["succeeded"] * 3

    def test_two_equal_refunds_at_once_are_two_refunds(self, s: SystemUnderTest) -> None:
        payment_id = paid(s)

        s.refund_payment(payment_id, sar("3.00"))
        s.refund_payment(payment_id, sar("3.00"))
        s.run()

        assert_ended(s, payment_id, "completed", "4.00")
        carts = {report.cart_id for report in moves(s, TransactionKind.REFUND)}
        assert len(carts) == 2

    def test_refunds_under_way_count_against_what_is_left(self, s: SystemUnderTest) -> None:
        payment_id = paid(s)
        s.refund_payment(payment_id, sar("7.00"))

        with pytest.raises(RefundExceedsCaptured, match=r"3\.00 SAR"):
            s.refund_payment(payment_id, sar("4.00"))

        s.run()
        assert_ended(s, payment_id, "completed", "3.00")

    def test_a_refused_refund_frees_its_amount(self, s: SystemUnderTest) -> None:
        payment_id = paid(s)
        s.gateway.fall_ill(1, INVALID)

        s.refund_payment(payment_id)
        s.run()

        assert refund_statuses(s, payment_id) == ["failed"]
        s.refund_payment(payment_id)
        s.run()
        assert_ended(s, payment_id, "refunded", "0.00")

    @pytest.mark.parametrize("is_approved", [True, False])
    def test_a_refund_that_is_pending_for_days_is_watched_and_never_asked_for_again(
        self, s: SystemUnderTest, is_approved: bool
    ) -> None:
        payment_id = paid(s)
        s.gateway.follow_up_status = TransactionStatus.PENDING
        s.refund_payment(payment_id, sar("4.00"))

        s.wait(5 * DAY)

        assert refund_statuses(s, payment_id) == ["pending"]
        [refund] = moves(s, TransactionKind.REFUND)
        s.gateway.decide(refund.transaction_ref, is_done=is_approved, silently=True)
        s.wait(DAY)
        assert len(moves(s, TransactionKind.REFUND)) == 1
        assert refund_statuses(s, payment_id) == ["succeeded" if is_approved else "failed"]
        assert_ended(s, payment_id, "completed", "6.00" if is_approved else "10.00")

    def test_a_refund_that_is_never_decided_is_parked_with_advice(self, s: SystemUnderTest) -> None:
        payment_id = paid(s)
        s.gateway.follow_up_status = TransactionStatus.PENDING
        s.refund_payment(payment_id, sar("4.00"))

        s.wait(50 * DAY)

        saga = s.saga(payment_id)
        assert saga.status is SagaStatus.PARKED
        assert "still says pending" in (saga.parked_detail or "")
        [refund] = moves(s, TransactionKind.REFUND)
        s.gateway.decide(refund.transaction_ref, is_done=True)
        s.run()
        assert_ended(s, payment_id, "completed", "6.00")

    def test_all_reasons_for_which_a_saga_is_parked_are_shown_together(
        self, s: SystemUnderTest
    ) -> None:
        payment_id = paid(s)
        s.gateway.follow_up_status = TransactionStatus.PENDING
        for amount in ("4.00", "3.00"):
            s.refund_payment(payment_id, sar(amount))

        s.wait(50 * DAY)

        saga = s.saga(payment_id)
        assert (saga.parked_detail or "").count("still says pending") == 2
        row = s.row("view_sagas", saga.id)
        assert row["parked_detail"] == saga.parked_detail
        first, second = moves(s, TransactionKind.REFUND)
        s.gateway.decide(first.transaction_ref, is_done=True)
        s.run()
        shown = s.row("view_sagas", saga.id)["parked_detail"]
        assert shown == s.saga(payment_id).parked_detail
        s.gateway.decide(second.transaction_ref, is_done=True)
        s.run()
        assert_ended(s, payment_id, "completed", "3.00")

    def test_a_refund_in_the_dashboard_is_taken_note_of(self, s: SystemUnderTest) -> None:
        payment_id = paid(s)

        s.gateway.refund_in_dashboard(payment_id, sar("3.00"))
        s.run()

        payment = s.payment(payment_id)
        assert payment.amount_refunded == sar("3.00")
        assert [refund.reason for refund in payment.refunds.values()] == ["refunded_at_gateway"]
        assert_ended(s, payment_id, "completed", "7.00")


class TestUnknownOutcomes:
    @pytest.mark.parametrize("is_done", [True, False])
    @pytest.mark.parametrize("answer", [TIME_OUT, DUPLICATE], ids=["time-out", "409"])
    def test_a_refund_is_asked_after_and_repeated_only_with_proof(
        self, s: SystemUnderTest, answer: Unknown | Refused, is_done: bool
    ) -> None:
        payment_id = paid(s)
        s.gateway.fall_ill(1, answer, is_done=is_done)

        s.refund_payment(payment_id, sar("4.00"))
        s.wait(2 * MINUTE)

        assert len(moves(s, TransactionKind.REFUND)) == int(is_done)
        s.wait(10 * MINUTE)
        assert len(moves(s, TransactionKind.REFUND)) == 1
        assert_ended(s, payment_id, "completed", "6.00")

    @pytest.mark.parametrize("is_done", [True, False])
    def test_a_capture_is_asked_after_and_repeated_only_with_proof(
        self, s: SystemUnderTest, is_done: bool
    ) -> None:
        payment_id = authorized(s)
        s.gateway.fall_ill(1, TIME_OUT, is_done=is_done)

        s.capture_payment(payment_id)
        s.wait(10 * MINUTE)

        assert len(moves(s, TransactionKind.CAPTURE)) == 1
        assert_ended(s, payment_id, "completed", "10.00")

    @pytest.mark.parametrize("is_done", [True, False])
    def test_a_void_is_asked_after_and_repeated_only_with_proof(
        self, s: SystemUnderTest, is_done: bool
    ) -> None:
        payment_id = authorized(s)
        s.gateway.fall_ill(1, TIME_OUT, is_done=is_done)

        s.cancel_payment(payment_id)
        s.wait(10 * MINUTE)

        assert len(moves(s, TransactionKind.VOID)) == 1
        assert_ended(s, payment_id, "cancelled", "0")

    def test_the_first_question_comes_before_any_repetition(self, s: SystemUnderTest) -> None:
        payment_id = paid(s)
        s.gateway.fall_ill(1, TIME_OUT)
        s.refund_payment(payment_id, sar("4.00"))

        s.wait(10 * MINUTE)

        operations = [call.operation for call in s.saga(payment_id).calls.values()]
        after_page = operations[operations.index(Operation.REFUND) :]
        assert after_page[:3] == [Operation.REFUND, Operation.QUERY_CART, Operation.QUERY_CART]
        assert after_page.count(Operation.REFUND) == 2

    def test_a_refund_that_takes_effect_late_is_not_repeated(self, s: SystemUnderTest) -> None:
        payment_id = paid(s)
        s.gateway.fall_ill(1, TIME_OUT, done_after=timedelta(seconds=100))

        s.refund_payment(payment_id, sar("4.00"))
        s.wait(10 * MINUTE)

        assert len(moves(s, TransactionKind.REFUND)) == 1
        assert_ended(s, payment_id, "completed", "6.00")

    @pytest.mark.parametrize("was_sent", [True, False])
    def test_a_refund_whose_worker_died_is_asked_after_and_made_once(
        self, s: SystemUnderTest, was_sent: bool
    ) -> None:
        payment_id = paid(s)
        s.refund_payment(payment_id, sar("4.00"))
        s.follow()
        item = s.agenda.claim_next(s.clock.now())
        assert item is not None
        s.agenda.put_back(item, s.clock.now(), was_begun=True)
        if was_sent:
            [*_, call] = s.saga(payment_id).calls.values()
            page = s.gateway.page_of(payment_id)
            ref, cart_id = page.transaction_ref, call.cart_id or ""
            s.gateway.refund(FollowUpRequest(cart_id, sar("4.00"), "Refund", ref, CALLBACK_URL))

        s.wait(2 * MINUTE)

        assert len(moves(s, TransactionKind.REFUND)) == int(was_sent)
        s.wait(10 * MINUTE)
        assert len(moves(s, TransactionKind.REFUND)) == 1
        assert_ended(s, payment_id, "completed", "6.00")

    def test_a_page_that_may_exist_is_opened_anew(self, s: SystemUnderTest) -> None:
        s.gateway.fall_ill(1, TIME_OUT, is_done=True)
        payment_id = opened(s)

        s.wait(MINUTE)

        assert len(s.gateway.pages_of(payment_id)) == 2
        assert s.payment(payment_id).status == "processing"

    def test_each_attempt_at_a_step_is_an_event(self, s: SystemUnderTest) -> None:
        s.gateway.fall_ill(1, TIME_OUT, is_done=True)
        payment_id = opened(s)

        s.wait(MINUTE)

        saga = s.saga(payment_id)
        started = [
            event.step
            for event in s.applications.sagas.history(saga.id)
            if isinstance(event, PaymentSaga.StepStarted)
        ]
        assert started.count(Step.OPEN_AT_GATEWAY) == 2
        assert saga.steps[Step.OPEN_AT_GATEWAY].attempts == 2


class TestManualCapture:
    def test_a_full_capture_takes_everything(self, s: SystemUnderTest) -> None:
        payment_id = authorized(s)

        s.capture_payment(payment_id)
        s.run()

        assert_ended(s, payment_id, "completed", "10.00")
        assert not moves(s, TransactionKind.VOID)

    def test_a_partial_capture_lets_go_of_the_rest(self, s: SystemUnderTest) -> None:
        payment_id = authorized(s)

        s.capture_payment(payment_id, sar("6.00"))
        s.run()

        assert_ended(s, payment_id, "completed", "6.00")
        [release] = moves(s, TransactionKind.RELEASE)
        assert release.amount == sar("4.00")

    def test_what_was_captured_can_be_refunded_and_no_more(self, s: SystemUnderTest) -> None:
        payment_id = authorized(s)
        s.capture_payment(payment_id, sar("6.00"))
        s.run()

        with pytest.raises(RefundExceedsCaptured):
            s.refund_payment(payment_id, sar("6.01"))
        s.refund_payment(payment_id)
        s.run()

        assert_ended(s, payment_id, "refunded", "0.00")

    def test_an_authorization_that_nobody_captures_is_let_go(self, s: SystemUnderTest) -> None:
        payment_id = authorized(s)

        s.wait(6 * DAY)
        assert s.payment(payment_id).status == "authorized"
        s.wait(2 * DAY)

        assert s.payment(payment_id).cancellation_reason == "authorization_expired"
        assert_ended(s, payment_id, "cancelled", "0")

    def test_a_cancelled_authorization_is_voided(self, s: SystemUnderTest) -> None:
        payment_id = authorized(s)

        s.cancel_payment(payment_id)
        s.run()

        assert_ended(s, payment_id, "cancelled", "0")
        [void] = moves(s, TransactionKind.VOID)
        assert void.amount == sar("10.00")

    def test_a_capture_that_loses_to_a_cancel_is_given_back(self, s: SystemUnderTest) -> None:
        payment_id = authorized(s)
        s.gateway.fall_ill(1, TIME_OUT, is_done=True)
        s.capture_payment(payment_id, sar("6.00"))
        s.run()

        s.cancel_payment(payment_id)
        s.wait(10 * MINUTE)

        assert_ended(s, payment_id, "cancelled", "0.00")
        undone = [
            step.name for step in s.saga(payment_id).steps.values() if step.status == "compensated"
        ]
        assert undone == [Step.CREATE_RECORD, Step.OPEN_AT_GATEWAY, Step.SETTLE, Step.CAPTURE]

    def test_a_refused_capture_may_be_asked_for_again(self, s: SystemUnderTest) -> None:
        payment_id = authorized(s)
        s.gateway.fall_ill(1, INVALID)
        s.capture_payment(payment_id)
        s.run()
        assert s.payment(payment_id).capture_pending is None

        s.capture_payment(payment_id)
        s.run()

        assert_ended(s, payment_id, "completed", "10.00")

    def test_more_than_was_authorized_is_not_captured(self, s: SystemUnderTest) -> None:
        payment_id = authorized(s)

        with pytest.raises(CaptureExceedsAuthorized):
            s.capture_payment(payment_id, sar("10.01"))

    def test_one_capture_waits_for_another(self, s: SystemUnderTest) -> None:
        payment_id = authorized(s)
        s.capture_payment(payment_id, sar("6.00"))

        with pytest.raises(CapturePending):
            s.capture_payment(payment_id, sar("4.00"))
