"""A payment's commands: which its status allows, what they change, and what they never do."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import DomainError, InvalidTransition
from domain.money import Money, money
from domain.payment import (
    ALLOWED,
    CaptureExceedsAuthorized,
    CapturePending,
    Failure,
    Payment,
    PaymentStatus,
    RefundExceedsCaptured,
    UnknownRefund,
)
from tests.unit.domain_kit import (
    NOW,
    PAGE_REF,
    SAR_10,
    at,
    completed,
    initiated,
    processing,
    report,
)

REFUNDS = [UUID(int=number) for number in range(1, 5)]
DECLINED = Failure("card_declined", "Declined", "310")


def refund(payment: Payment, number: int, amount: str) -> None:
    """Asks for a refund."""
    payment.request_refund(REFUNDS[number], money(amount, "SAR"), None)


def test_the_time_that_processing_took_is_measured_from_the_page() -> None:
    payment = processing()
    with at(NOW + timedelta(seconds=90)):
        payment.complete(SAR_10, report(), NOW + timedelta(seconds=90))
    done = [e for e in payment.pending_events if isinstance(e, Payment.Completed)]
    assert [e.processing_duration_ms for e in done] == [90_000]


def test_a_refused_command_names_the_status_and_those_that_allow_it() -> None:
    payment = completed()
    with at(), pytest.raises(InvalidTransition) as refusal:
        payment.cancel("changed my mind")
    assert refusal.value.current_status == "completed"
    assert refusal.value.allowed_statuses == ["authorized", "initiated", "processing"]


def test_more_than_was_agreed_upon_is_not_captured() -> None:
    payment = processing()
    with at(), pytest.raises(CaptureExceedsAuthorized):
        payment.complete(money("10.01", "SAR"), report(), NOW)


def test_another_currency_is_not_captured() -> None:
    payment = processing()
    with at(), pytest.raises(CaptureExceedsAuthorized):
        payment.complete(money("10.00", "AED"), report(), NOW)


def test_an_authorized_payment_completes_or_is_cancelled() -> None:
    payment = processing()
    with at():
        payment.authorize(report())
        assert payment.status is PaymentStatus.AUTHORIZED
        payment.complete(money("4.00", "SAR"), report(), NOW)
    assert payment.amount_captured == money("4.00", "SAR")


def test_a_partly_refunded_payment_stays_completed() -> None:
    payment = completed()
    with at():
        refund(payment, 0, "4.00")
        payment.refund(REFUNDS[0], "TST2")
    assert payment.status is PaymentStatus.COMPLETED
    assert payment.amount_refundable == money("6.00", "SAR")


def test_a_fully_refunded_payment_is_refunded() -> None:
    payment = completed()
    with at():
        refund(payment, 0, "4.00")
        refund(payment, 1, "6.00")
        payment.refund(REFUNDS[0], "TST2")
        payment.refund(REFUNDS[1], "TST3")
    assert payment.status is PaymentStatus.REFUNDED
    assert payment.amount_refunded == SAR_10


def test_a_pending_refund_already_holds_its_money() -> None:
    payment = completed()
    with at():
        refund(payment, 0, "6.00")
        with pytest.raises(RefundExceedsCaptured, match=r"4\.00"):
            refund(payment, 1, "4.01")


def test_a_refused_refund_frees_its_money() -> None:
    payment = completed()
    with at():
        refund(payment, 0, "10.00")
        payment.refuse_refund(REFUNDS[0], DECLINED)
        refund(payment, 1, "10.00")
    assert payment.refunds[REFUNDS[0]].status == "failed"


def test_two_equal_refunds_are_two_refunds() -> None:
    payment = completed()
    with at():
        refund(payment, 0, "3.00")
        refund(payment, 1, "3.00")
    assert len(payment.refunds) == 2


def test_a_refund_in_another_currency_is_refused() -> None:
    payment = completed()
    with at(), pytest.raises(RefundExceedsCaptured):
        payment.request_refund(REFUNDS[0], money("1.00", "AED"), None)


def test_an_unknown_refund_is_refused() -> None:
    payment = completed()
    with at(), pytest.raises(UnknownRefund):
        payment.refund(REFUNDS[0], "TST2")


def test_a_late_success_of_a_refused_refund_cannot_exceed_what_was_captured() -> None:
    payment = completed()
    with at():
        refund(payment, 0, "10.00")
        payment.refuse_refund(REFUNDS[0], DECLINED)
        refund(payment, 1, "10.00")
        payment.refund(REFUNDS[1], "TST3")
        with pytest.raises(RefundExceedsCaptured):
            payment.refund(REFUNDS[0], "TST2")
    assert payment.amount_refunded == SAR_10


def test_nothing_is_no_refund_even_when_nothing_is_left() -> None:
    payment = completed()
    with at():
        refund(payment, 0, "10.00")
        with pytest.raises(RefundExceedsCaptured):
            payment.request_refund(REFUNDS[1], payment.amount_refundable, None)
    assert list(payment.refunds) == [REFUNDS[0]]


def test_a_refund_made_in_the_dashboard_counts_and_is_marked_as_foreign() -> None:
    payment = completed()
    with at():
        for _ in range(2):
            payment.record_foreign_refund(REFUNDS[0], "TST2", money("4.00", "SAR"))
    [event] = [e for e in payment.pending_events if isinstance(e, Payment.Refunded)]
    assert (event.is_foreign, event.is_full) == (True, False)
    assert payment.amount_refundable == money("6.00", "SAR")


def authorized() -> Payment:
    """A payment that the customer has authorized."""
    payment = processing()
    with at():
        payment.authorize(report())
    return payment


def test_a_capture_that_is_under_way_is_not_asked_for_twice() -> None:
    payment = authorized()
    with at():
        payment.request_capture(SAR_10)
        payment.request_capture(SAR_10)
    assert sum(isinstance(e, Payment.CaptureRequested) for e in payment.pending_events) == 1


def test_a_capture_asked_for_again_changes_nothing_even_after_the_refund() -> None:
    payment = initiated(capture_method="manual")
    with at():
        payment.process(PAGE_REF, "paytabs", None, NOW)
        payment.complete(SAR_10, report(), NOW)
        payment.request_capture(SAR_10)
        payment.request_refund(REFUNDS[0], SAR_10, None)
        payment.refund(REFUNDS[0], "TST9")
        payment.request_capture(SAR_10)
        with pytest.raises(InvalidTransition):
            payment.request_capture(money("3.33", "SAR"))
    assert not any(isinstance(e, Payment.CaptureRequested) for e in payment.pending_events)


def test_another_capture_has_to_wait_for_the_first() -> None:
    payment = authorized()
    with at():
        payment.request_capture(SAR_10)
        with pytest.raises(CapturePending, match=r"10\.00 SAR"):
            payment.request_capture(money("4.00", "SAR"))


@pytest.mark.parametrize("amount", [money("10.01", "SAR"), money("10.00", "AED")])
def test_more_than_was_authorized_cannot_be_captured(amount: Money) -> None:
    payment = authorized()
    with at(), pytest.raises(CaptureExceedsAuthorized):
        payment.request_capture(amount)
    assert payment.capture_pending is None


def test_a_refused_capture_may_be_asked_for_again() -> None:
    payment = authorized()
    with at():
        payment.request_capture(SAR_10)
        payment.refuse_capture(DECLINED)
        payment.request_capture(money("4.00", "SAR"))
    assert payment.status is PaymentStatus.AUTHORIZED
    assert payment.capture_pending == money("4.00", "SAR")


def test_only_an_authorized_payment_can_be_captured() -> None:
    for payment in (initiated(), processing(), completed()):
        with at(), pytest.raises(InvalidTransition) as refusal:
            payment.request_capture(SAR_10)
        assert refusal.value.allowed_statuses == ["authorized"]


class Model:
    """A payment as anybody would describe it in a few lines."""

    def __init__(self) -> None:
        self.status = "initiated"
        self.captured = Decimal(0)
        self.refunds: dict[UUID, list[Any]] = {}

    def go(self, action: str, target: str) -> bool:
        """Moves to `target` if allowed; repeating is fine and changes nothing."""
        if self.status != target:
            if self.status not in ALLOWED[action]:
                raise InvalidTransition(action, self.status, [])
            self.status = target
            return True
        return False

    @property
    def refunded(self) -> Decimal:
        """What has gone back."""
        return sum((a for a, s in self.refunds.values() if s == "succeeded"), Decimal(0))

    @property
    def held(self) -> Decimal:
        """What has gone back or may still."""
        return sum((a for a, s in self.refunds.values() if s != "failed"), Decimal(0))

    def process(self) -> None:
        """The page is there."""
        self.go("processed", "processing")

    def authorize(self) -> None:
        """The customer authorized."""
        self.go("authorized", "authorized")

    def complete(self) -> None:
        """The money is ours."""
        if self.go("completed", "completed"):
            self.captured = Decimal("10.00")

    def fail(self) -> None:
        """It failed."""
        self.go("failed", "failed")

    def cancel(self) -> None:
        """It was cancelled."""
        self.go("cancelled", "cancelled")

    def ask(self, which: UUID, amount: Money) -> None:
        """A refund is asked for."""
        if which in self.refunds:
            return
        if self.status != "completed":
            raise InvalidTransition("refunded", self.status, [])
        if amount.amount > self.captured - self.held:
            raise RefundExceedsCaptured
        self.refunds[which] = [amount.amount, "pending"]

    def give(self, which: UUID) -> None:
        """The gateway gave it back."""
        if which not in self.refunds:
            raise UnknownRefund
        amount, status = self.refunds[which]
        if status == "failed" and amount > self.captured - self.held:
            raise RefundExceedsCaptured
        self.refunds[which][1] = "succeeded"
        if self.refunded == self.captured:
            self.status = "refunded"

    def refuse(self, which: UUID) -> None:
        """The gateway would not give it back."""
        if which not in self.refunds:
            raise UnknownRefund
        if self.refunds[which][1] == "pending":
            self.refunds[which][1] = "failed"


AMOUNTS = [money(text, "SAR") for text in ("0.01", "3.33", "5.00", "10.00", "10.01")]
STEPS = st.one_of(
    st.tuples(st.sampled_from(["process", "authorize", "complete", "fail", "cancel"])),
    st.tuples(st.just("complete")),
    st.tuples(st.just("ask"), st.sampled_from(REFUNDS), st.sampled_from(AMOUNTS)),
    st.tuples(st.sampled_from(["give", "refuse"]), st.sampled_from(REFUNDS)),
)
MONEY_FIRST = st.builds(lambda steps: [("process",), ("complete",), *steps], st.lists(STEPS))
HISTORIES = st.one_of(st.lists(STEPS, max_size=30), MONEY_FIRST)
REAL: dict[str, Any] = {
    "process": lambda p: p.process(PAGE_REF, "paytabs", None, NOW),
    "authorize": lambda p: p.authorize(report()),
    "complete": lambda p: p.complete(SAR_10, report(), NOW),
    "fail": lambda p: p.fail(DECLINED),
    "cancel": lambda p: p.cancel("requested"),
    "ask": lambda p, which, amount: p.request_refund(which, amount, None),
    "give": lambda p, which: p.refund(which, f"TST{uuid5(which, 'ref').hex[:6]}"),
    "refuse": lambda p, which: p.refuse_refund(which, DECLINED),
}
RANKS = ("initiated", "processing", "authorized", "completed", "refunded")


def outcome(act: Any, *arguments: Any) -> str | None:
    """The code of the refusal, or None when the command went through."""
    try:
        act(*arguments)
    except DomainError as refusal:
        return refusal.code
    return None


@given(HISTORIES)
def test_a_payment_does_what_its_plain_description_says(steps: list[tuple[Any, ...]]) -> None:
    payment, model = initiated(), Model()
    with at():
        for name, *arguments in steps:
            before = payment.status
            said = outcome(REAL[name], payment, *arguments)
            assert said == outcome(getattr(model, name), *arguments)
            assert payment.status == model.status
            assert payment.amount_captured.amount == model.captured
            assert payment.amount_refunded.amount == model.refunded
            assert payment.amount_refunded <= payment.amount_captured
            assert_not_backwards(before, payment.status)


def assert_not_backwards(before: str, after: str) -> None:
    """Closed is closed, and the others only go on."""
    if before in {"failed", "cancelled"}:
        assert after == before
    elif after in RANKS:
        assert RANKS.index(after) >= RANKS.index(before)


@given(HISTORIES, STEPS)
def test_a_repeated_command_changes_nothing(
    steps: list[tuple[Any, ...]], last: tuple[Any, ...]
) -> None:
    payment = initiated()
    with at():
        for name, *arguments in [*steps, last]:
            outcome(REAL[name], payment, *arguments)
        first = outcome(REAL[last[0]], payment, *last[1:])
        count = len(payment.pending_events)
        assert outcome(REAL[last[0]], payment, *last[1:]) == first
        assert len(payment.pending_events) == count
