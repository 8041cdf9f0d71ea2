"""What happens to money, sentence by sentence: refunds, captures, late and doubled payments."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from application.payment_gateway import Refusal, Refused, Unknown
from domain.errors import InvalidTransition
from domain.gateway_call import Operation
from domain.gateway_report import GatewayReport, TransactionKind, TransactionStatus
from domain.money import Money, money
from domain.payment_saga import PaymentSaga
from domain.payment_terms import CaptureExceedsAuthorized, CapturePending, RefundExceedsCaptured
from domain.saga_steps import Deadline, SagaStatus, Step, StepStatus
from domain.security_incident import SecurityIncident
from system.testing import SystemUnderTest

CALLBACK_URL = "https://merchant.example.com/told"
DUPLICATE = Refused(Refusal.DUPLICATE, "4", "Duplicate Request")
INVALID = Refused(Refusal.INVALID_REQUEST, "342", "Refund balance exceeded")
TIME_OUT = Unknown("time-out")
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def s() -> Iterator[SystemUnderTest]:
    with SystemUnderTest(seed=4) as system:
        yield system


def sar(amount: str) -> Money:
    return money(amount, "SAR")


def opened(s: SystemUnderTest, capture_method: str = "automatic") -> UUID:
    payment_id = s.create_payment(
        "10.00", "SAR", "Tea", callback_url=CALLBACK_URL, capture_method=capture_method
    )
    s.run()
    return payment_id


def paid(s: SystemUnderTest) -> UUID:
    payment_id = opened(s)
    s.gateway.pay(payment_id)
    s.run()
    return payment_id


def authorized(s: SystemUnderTest) -> UUID:
    payment_id = opened(s, "manual")
    s.gateway.pay(payment_id)
    s.run()
    return payment_id


def moves(s: SystemUnderTest, kind: TransactionKind) -> list[GatewayReport]:
    """What the gateway did of a kind, whatever came of it."""
    return [report for report in s.gateway.transactions.values() if report.kind is kind]


def refund_statuses(s: SystemUnderTest, payment_id: UUID) -> list[str]:
    return [refund.status.value for refund in s.payment(payment_id).refunds.values()]


def assert_ended(s: SystemUnderTest, payment_id: UUID, status: str, net: str) -> None:
    payment, saga = s.payment(payment_id), s.saga(payment_id)
    assert payment.status == status
    is_taken = status in {"completed", "refunded"}
    assert saga.status is (SagaStatus.COMPLETED if is_taken else SagaStatus.COMPENSATED)
    assert s.gateway.net_of(payment_id) == Decimal(net)
    assert s.gateway.held_of(payment_id) == 0


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

    def test_a_page_that_may_exist_is_opened_anew(self, s: SystemUnderTest) -> None:
        s.gateway.fall_ill(1, TIME_OUT, is_done=True)
        payment_id = opened(s)

        s.wait(MINUTE)

        assert len(s.gateway.pages_of(payment_id)) == 2
        assert s.payment(payment_id).status == "processing"


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


class TestOrderAndRepetition:
    def test_a_sale_on_hold_is_released_later_as_a_capture(self, s: SystemUnderTest) -> None:
        payment_id = opened(s)
        s.gateway.hold(payment_id)
        s.wait(3 * DAY)
        assert s.payment(payment_id).status == "processing"

        s.gateway.release(payment_id)
        s.run()

        assert_ended(s, payment_id, "completed", "10.00")

    def test_a_release_that_nobody_told_of_is_found_within_a_day(self, s: SystemUnderTest) -> None:
        payment_id = opened(s)
        s.gateway.hold(payment_id)
        s.wait(DAY)

        s.gateway.release(payment_id, sar("7.00"), silently=True)
        s.wait(DAY)

        assert_ended(s, payment_id, "completed", "7.00")

    def test_a_hold_that_is_never_released_ends(self, s: SystemUnderTest) -> None:
        payment_id = opened(s)
        s.gateway.hold(payment_id)

        s.wait(33 * DAY)

        assert_ended(s, payment_id, "cancelled", "0")

    @pytest.mark.parametrize("silently", [True, False])
    def test_a_pending_payment_is_settled_by_another_transaction(
        self, s: SystemUnderTest, silently: bool
    ) -> None:
        payment_id = opened(s)
        s.gateway.defer(payment_id)
        s.wait(2 * DAY)

        s.gateway.settle_deferred(payment_id, silently=silently)
        s.wait(DAY)

        assert_ended(s, payment_id, "completed", "10.00")

    def test_a_callback_before_our_own_answer_counts_once(self, s: SystemUnderTest) -> None:
        s.gateway.tells_of_follow_ups = True
        payment_id = paid(s)

        s.refund_payment(payment_id, sar("4.00"))
        s.run()

        assert refund_statuses(s, payment_id) == ["succeeded"]
        assert_ended(s, payment_id, "completed", "6.00")

    def test_a_callback_that_comes_twice_counts_once(self, s: SystemUnderTest) -> None:
        payment_id = paid(s)
        page = s.gateway.page_of(payment_id)

        s.receive(page)
        s.receive(replace(page, occurred_at=s.clock.now()))
        s.run()

        assert_ended(s, payment_id, "completed", "10.00")
        assert s.merchant.events_told == ["payment.completed"]

    def test_a_wrong_amount_is_not_believed_but_asked_after(self, s: SystemUnderTest) -> None:
        payment_id = opened(s)
        page = s.gateway.page_of(payment_id)
        forged = replace(page, status=TransactionStatus.AUTHORISED, amount=sar("1.00"))

        s.receive(forged)
        s.run()

        assert s.payment(payment_id).status == "processing"
        incidents = list(s.applications.operations.all())
        assert [type(incident) for incident in incidents] == [SecurityIncident.Recorded]
        operations = [call.operation for call in s.saga(payment_id).calls.values()]
        assert operations[-1] is Operation.QUERY_TRANSACTION


class TestLateMoney:
    @pytest.mark.parametrize("capture_method", ["automatic", "manual"])
    def test_what_is_paid_after_a_cancel_goes_back(
        self, s: SystemUnderTest, capture_method: str
    ) -> None:
        payment_id = opened(s, capture_method)
        s.cancel_payment(payment_id)
        s.run()

        s.gateway.pay(payment_id)
        s.run()

        assert_ended(s, payment_id, "cancelled", "0")
        assert s.merchant.events_told == ["payment.cancelled"]

    def test_what_is_paid_after_expiry_is_found_after_70_minutes(self, s: SystemUnderTest) -> None:
        payment_id = opened(s)
        s.wait(30 * MINUTE)
        assert s.payment(payment_id).cancellation_reason == "expired"

        s.gateway.pay(payment_id, silently=True)
        s.wait(45 * MINUTE)

        assert_ended(s, payment_id, "cancelled", "0.00")

    def test_the_second_of_two_pages_is_given_back(self, s: SystemUnderTest) -> None:
        s.gateway.fall_ill(1, TIME_OUT, is_done=True)
        payment_id = opened(s)
        s.wait(MINUTE)
        first, second = s.gateway.pages_of(payment_id)

        s.gateway.pay(payment_id, transaction_ref=second.transaction_ref)
        s.gateway.pay(payment_id, transaction_ref=first.transaction_ref)
        s.run()

        assert_ended(s, payment_id, "completed", "10.00")
        assert len(moves(s, TransactionKind.REFUND)) == 1


class TestParking:
    def parked(self, s: SystemUnderTest) -> UUID:
        """Money that came after a cancel, and that the gateway refuses to give back."""
        payment_id = opened(s)
        s.cancel_payment(payment_id)
        s.run()
        s.gateway.fall_ill(1, INVALID)
        s.gateway.pay(payment_id)
        s.run()
        return payment_id

    def test_a_refused_compensation_parks_with_advice(self, s: SystemUnderTest) -> None:
        payment_id = self.parked(s)

        saga = s.saga(payment_id)
        assert saga.status is SagaStatus.PARKED
        history = s.applications.sagas.history(saga.id)
        [parked] = [event for event in history if isinstance(event, PaymentSaga.Parked)]
        assert parked.reason == "needs_operator"
        assert "Refund balance exceeded" in parked.detail
        assert "retry the saga" in parked.advice

    @pytest.mark.parametrize("command", ["retry", "compensate"])
    def test_an_operator_lets_it_go_on(self, s: SystemUnderTest, command: str) -> None:
        payment_id = self.parked(s)

        getattr(s, command)(payment_id)
        s.run()

        assert_ended(s, payment_id, "cancelled", "0.00")

    def test_money_that_is_given_back_in_the_dashboard_ends_the_parking(
        self, s: SystemUnderTest
    ) -> None:
        payment_id = self.parked(s)

        s.gateway.refund_in_dashboard(payment_id, sar("10.00"))
        s.run()

        assert_ended(s, payment_id, "cancelled", "0.00")

    def test_an_operator_gives_up_a_payment_whose_reports_do_not_fit(
        self, s: SystemUnderTest
    ) -> None:
        payment_id = opened(s)
        s.gateway.pay(payment_id, silently=True)
        page = s.gateway.page_of(payment_id)
        s.gateway.transactions[page.transaction_ref] = replace(page, amount=sar("99.00"))
        s.wait(2 * MINUTE)
        assert s.saga(payment_id).status is SagaStatus.PARKED

        s.compensate(payment_id)
        s.run()

        assert s.payment(payment_id).cancellation_reason == "given_up"

    def test_retry_and_compensate_are_harmless_when_nothing_is_parked(
        self, s: SystemUnderTest
    ) -> None:
        payment_id = paid(s)

        s.retry(payment_id)
        s.compensate(payment_id)
        s.run()

        assert_ended(s, payment_id, "completed", "10.00")


class TestCommands:
    def test_an_illegal_command_is_told_what_is_and_what_would_be_allowed(
        self, s: SystemUnderTest
    ) -> None:
        payment_id = paid(s)

        with pytest.raises(InvalidTransition) as cancel:
            s.cancel_payment(payment_id)
        with pytest.raises(InvalidTransition) as capture:
            s.capture_payment(payment_id)

        assert cancel.value.current_status == "completed"
        assert cancel.value.allowed_statuses == ["authorized", "initiated", "processing"]
        assert capture.value.allowed_statuses == ["authorized"]

    def test_a_payment_without_money_cannot_be_refunded(self, s: SystemUnderTest) -> None:
        payment_id = opened(s)

        with pytest.raises(InvalidTransition) as refund:
            s.refund_payment(payment_id, sar("1.00"))

        assert refund.value.current_status == "processing"
        assert refund.value.allowed_statuses == ["completed"]

    def test_repeated_commands_change_nothing(self, s: SystemUnderTest) -> None:
        payment_id = authorized(s)
        s.capture_payment(payment_id)
        s.run()
        version = s.payment(payment_id).version

        s.capture_payment(payment_id)
        s.run()

        assert s.payment(payment_id).version == version
        assert len(moves(s, TransactionKind.CAPTURE)) == 1

    def test_a_cancel_that_comes_twice_is_one_cancel(self, s: SystemUnderTest) -> None:
        payment_id = authorized(s)

        s.cancel_payment(payment_id)
        s.cancel_payment(payment_id)
        s.run()

        assert len(moves(s, TransactionKind.VOID)) == 1
        assert_ended(s, payment_id, "cancelled", "0")


class TestDeadlines:
    def asked_at(self, s: SystemUnderTest, payment_id: UUID) -> list[int]:
        """When the gateway was asked about the page, in seconds after it was handed out."""
        saga = s.saga(payment_id)
        assert saga.page_opened_at is not None
        return [
            round((call.due_at - saga.page_opened_at).total_seconds())
            for call in saga.calls.values()
            if call.operation is Operation.QUERY_TRANSACTION
        ]

    def test_an_unused_page_is_asked_about_with_growing_gaps_at_its_end_and_once_more(
        self, s: SystemUnderTest
    ) -> None:
        payment_id = opened(s)

        s.wait(2 * DAY)

        assert self.asked_at(s, payment_id) == [60, 120, 240, 480, 960, 1260, 4200]
        assert_ended(s, payment_id, "cancelled", "0")

    def test_what_is_held_is_asked_about_daily(self, s: SystemUnderTest) -> None:
        payment_id = opened(s)
        s.gateway.hold(payment_id)

        s.wait(4 * DAY)

        seconds = self.asked_at(s, payment_id)
        assert [round(at / 86400) for at in seconds if at > 86000] == [1, 2, 3]

    def test_an_authorization_has_a_deadline_of_its_own(self, s: SystemUnderTest) -> None:
        payment_id = authorized(s)

        [deadline] = s.saga(payment_id).deadlines

        assert deadline is Deadline.AUTHORIZATION
        assert s.saga(payment_id).steps[Step.CAPTURE].status is StepStatus.RUNNING
