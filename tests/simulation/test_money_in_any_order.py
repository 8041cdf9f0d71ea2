"""Late, doubled and odd money, parking, commands and deadlines, sentence by sentence."""

from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID

import pytest

from domain.errors import InvalidTransition
from domain.gateway_call import Operation
from domain.gateway_report import TransactionKind, TransactionStatus
from domain.payment_saga import PaymentSaga
from domain.saga_steps import Deadline, SagaStatus, Step, StepStatus
from domain.security_incident import SecurityIncident
from system.testing import SystemUnderTest
from tests.simulation.money_kit import (
    DAY,
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
        seconds = [
            round((call.due_at - saga.page_opened_at).total_seconds())
            for call in saga.calls.values()
            if call.operation.is_query
        ]
        return list(dict.fromkeys(seconds))

    def test_an_unused_page_is_asked_about_with_growing_gaps_at_its_end_and_twice_more(
        self, s: SystemUnderTest
    ) -> None:
        payment_id = opened(s)

        s.wait(2 * DAY)

        assert self.asked_at(s, payment_id) == [60, 120, 240, 480, 960, 1260, 4200, 11400]
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
