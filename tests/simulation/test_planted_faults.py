"""The simulation has teeth: faults planted in the code are each seen within some hundred seeds."""

from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from domain import belief
from domain.belief import Judgement, Verdict
from domain.errors import InvalidTransition
from domain.gateway_report import GatewayReport
from domain.money import Money
from domain.payment import ALLOWED, Payment
from domain.payment_saga import Call, PaymentSaga
from domain.payment_terms import PaymentStatus
from domain.saga_calls import SagaCalls
from domain.saga_compensation import SagaCompensation
from domain.saga_decider import SagaDecider
from domain.saga_hearing import SagaHearing
from domain.saga_money import SagaMoney
from domain.saga_steps import Deadline, Step
from system.following import Following
from tests.simulation.runs import Failure, run

SEEDS_MAX = 400


def first_failure() -> Failure | None:
    """The first seed that fails, of `SEEDS_MAX`."""
    return next((failure for seed in range(SEEDS_MAX) if (failure := run(seed))), None)


def test_without_the_query_before_a_retry_money_moves_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest = SagaCalls.ask_after

    def repeats_blindly(self: SagaCalls, call: Call, due_at: datetime) -> None:
        if call.operation.is_follow_up:
            self.repeat(call, due_at)
        else:
            honest(self, call, due_at)

    monkeypatch.setattr(SagaCalls, "ask_after", repeats_blindly)

    assert first_failure() is not None


def test_a_wrong_amount_that_is_believed_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(belief, "_is_amount_right", lambda report, expected: True)

    assert first_failure() is not None


def test_late_money_that_is_forgotten_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = SagaMoney.give_back

    def forgets(self: SagaMoney, report: GatewayReport) -> None:
        if not self._saga.is_closing:
            honest(self, report)

    monkeypatch.setattr(SagaMoney, "give_back", forgets)

    failure = first_failure()

    assert failure is not None
    assert "gateway keeps" in failure.what or "held" in failure.what or "hang" in failure.what


def test_a_payment_that_settles_twice_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = SagaHearing._money_arrived

    def settles_again(self: SagaHearing, report: GatewayReport, *, is_authorization: bool) -> None:
        settled = self._saga.settlement
        is_second = settled is not None and report.transaction_ref != settled.transaction_ref
        if is_second and not self._saga.is_closing:
            self._calls.trigger(PaymentSaga.SettlementStarted, step=Step.SETTLE, report=report)
        else:
            honest(self, report, is_authorization=is_authorization)

    monkeypatch.setattr(SagaHearing, "_money_arrived", settles_again)

    assert first_failure() is not None


@pytest.mark.parametrize("lost", list(Deadline))
def test_a_lost_deadline_is_seen(monkeypatch: pytest.MonkeyPatch, lost: Deadline) -> None:
    honest = SagaCalls.set_deadline

    def loses(self: SagaCalls, deadline: Deadline, due_at: datetime) -> None:
        if deadline is not lost:
            honest(self, deadline, due_at)

    monkeypatch.setattr(SagaCalls, "set_deadline", loses)

    assert first_failure() is not None


def test_a_judgement_that_believes_everything_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = belief.judge

    def gullible(report: GatewayReport, expected: Any) -> Judgement:
        judgement = honest(report, expected)
        is_doubted = judgement.verdict is Verdict.DOUBTED
        return Judgement(Verdict.PAID) if is_doubted else judgement

    monkeypatch.setattr("domain.saga_hearing.judge", gullible)

    assert first_failure() is not None


def test_a_state_that_no_event_tells_of_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = SagaCalls.clear_deadlines

    def forgets(self: SagaCalls, *kept: Deadline) -> None:
        honest(self, *kept)
        self.saga.refund_refs.add("nobody was told")

    monkeypatch.setattr(SagaCalls, "clear_deadlines", forgets)

    failure = first_failure()

    assert failure is not None
    assert "replay" in failure.what


def test_steps_undone_in_another_order_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = SagaCompensation._undo_settling

    def closes_first(self: SagaCompensation) -> bool:
        self._abandon_page()
        return honest(self)

    monkeypatch.setattr(SagaCompensation, "_undo_settling", closes_first)

    failure = first_failure()

    assert failure is not None
    assert "undone in the wrong order" in failure.what


def test_what_the_gateway_loses_sight_of_is_seen_when_it_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(SagaCalls, "look_again", lambda self, call: None)

    failure = first_failure()

    assert failure is not None
    assert "the gateway keeps" in failure.what


def test_a_capture_in_the_dashboard_that_is_not_reckoned_with_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(PaymentSaga, "take", lambda self, transaction_ref, amount: None)

    assert first_failure() is not None


def test_a_strange_previous_reference_that_is_believed_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(belief, "_is_link_right", lambda report, expected: True)

    assert first_failure() is not None


def test_a_repeated_command_that_is_refused_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Payment.cancel

    def refuses_repetitions(self: Payment, reason: str) -> None:
        if self.status is PaymentStatus.CANCELLED:
            raise InvalidTransition("cancelled", self.status, ALLOWED["cancelled"])
        honest(self, reason)

    monkeypatch.setattr(Payment, "cancel", refuses_repetitions)

    failure = first_failure()

    assert failure is not None
    assert "had been obeyed was refused" in failure.what


def test_a_repeated_command_that_moves_money_again_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def asks_again(self: Payment, refund_id: UUID, amount: Money, reason: str | None) -> None:
        asked = {"refund_id": refund_id, "amount": amount, "reason": reason}
        self._require("refunded")
        self._require_refundable(amount)
        self.trigger_event(self.RefundRequested, **asked)

    monkeypatch.setattr(Payment, "request_refund", asks_again)

    failure = first_failure()

    assert failure is not None
    assert "repeated command" in failure.what or "had been obeyed" in failure.what


def test_a_step_that_goes_backwards_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = SagaDecider.refund_requested

    def starts_again(self: SagaDecider, refund_id: UUID, amount: Money) -> None:
        self._trigger(PaymentSaga.StepStarted, step=Step.SETTLE)
        self._trigger(PaymentSaga.StepSucceeded, step=Step.SETTLE)
        honest(self, refund_id, amount)

    monkeypatch.setattr(SagaDecider, "refund_requested", starts_again)

    failure = first_failure()

    assert failure is not None
    assert "went from" in failure.what


def test_a_status_that_goes_backwards_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ALLOWED, "cancelled", frozenset(PaymentStatus))

    failure = first_failure()

    assert failure is not None
    assert "the status went from" in failure.what


@pytest.mark.parametrize(
    ("follower", "deaf_to", "what"),
    [
        ("Agenda", PaymentSaga.DeadlineSet, "hangs"),
        ("Confirmations", Payment.Refunded, "the merchant was not told"),
        ("Operations", PaymentSaga.ReportDoubted, "a doubt without a security event"),
        ("Payments", PaymentSaga.RefundSettled, "a refund hangs"),
        ("PaymentsView", Payment.RefundRequested, "the view"),
        ("Contracts", Payment.Refunded, "was shared out of"),
    ],
)
def test_a_follower_that_does_not_listen_is_seen(
    monkeypatch: pytest.MonkeyPatch, follower: str, deaf_to: type, what: str
) -> None:
    honest = Following._apply

    def listens_to_all_but_one(self: Following, event: Any, *more: Any) -> None:
        if not (self.follower.name == follower and isinstance(event, deaf_to)):
            honest(self, event, *more)

    monkeypatch.setattr(Following, "_apply", listens_to_all_but_one)

    failure = first_failure()

    assert failure is not None
    assert what in failure.what
