"""What the gateway says counts the same, however it was learned; and where that is written down."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from domain.gateway_report import TransactionKind, TransactionStatus, payment_id_of
from domain.saga_steps import SagaStatus, Step
from system.testing import SystemUnderTest
from system.work_item import WorkKind
from tests.simulation.money_kit import DAY, TIME_OUT, moves, opened, paid, sar

Happening = Callable[..., None]


def hold_and_release(s: SystemUnderTest, payment_id: UUID, *, silently: bool) -> None:
    s.gateway.hold(payment_id, silently=silently)
    s.run()
    s.gateway.release(payment_id, silently=silently)


def defer_and_settle(s: SystemUnderTest, payment_id: UUID, *, silently: bool) -> None:
    s.gateway.defer(payment_id, silently=silently)
    s.run()
    s.gateway.settle_deferred(payment_id, silently=silently)


def defer_and_expire(s: SystemUnderTest, payment_id: UUID, *, silently: bool) -> None:
    s.gateway.defer(payment_id, silently=silently)
    s.run()
    s.gateway.expire_deferred(payment_id, silently=silently)


HAPPENINGS: dict[str, Happening] = {
    "paid": lambda s, payment_id, **how: s.gateway.pay(payment_id, **how),
    "declined": lambda s, payment_id, **how: s.gateway.decline(payment_id, **how),
    "cancelled": lambda s, payment_id, **how: s.gateway.cancel(payment_id, **how),
    "released": hold_and_release,
    "paid in cash": defer_and_settle,
    "never paid in cash": defer_and_expire,
}


def ending(s: SystemUnderTest, payment_id: UUID) -> dict[str, Any]:
    payment, saga = s.payment(payment_id), s.saga(payment_id)
    return {
        "status": payment.status,
        "captured": payment.amount_captured,
        "refunded": payment.amount_refunded,
        "refunds": [refund.status for refund in payment.refunds.values()],
        "failure": payment.failure,
        "reason": payment.cancellation_reason,
        "saga": saga.status,
        "steps": {step: state.status for step, state in saga.steps.items()},
        "net": s.gateway.net_of(payment_id),
        "held": s.gateway.held_of(payment_id),
    }


@pytest.mark.parametrize("capture_method", ["automatic", "manual"])
@pytest.mark.parametrize("happening", HAPPENINGS.values(), ids=HAPPENINGS.keys())
def test_a_callback_and_a_question_lead_to_the_same_end(
    happening: Happening, capture_method: str
) -> None:
    ends = []
    for silently in (False, True):
        with SystemUnderTest() as s:
            payment_id = opened(s, capture_method, None)
            happening(s, payment_id, silently=silently)
            s.wait(2 * DAY)
            ends.append(ending(s, payment_id))
    assert ends[0] == ends[1]
    assert ends[0]["saga"] in {SagaStatus.COMPLETED, SagaStatus.COMPENSATED, SagaStatus.WAITING}


@pytest.mark.parametrize("is_done", [True, False], ids=["done", "refused"])
def test_an_answer_a_callback_and_a_question_about_a_refund_lead_to_the_same_end(
    is_done: bool,
) -> None:
    ends = []
    for learned in ("answer", "callback", "question"):
        with SystemUnderTest() as s:
            payment_id = paid(s)
            if not is_done:
                s.gateway.follow_up_status = TransactionStatus.DECLINED
            if learned != "answer":
                s.gateway.tells_of_follow_ups = learned == "callback"
                s.gateway.fall_ill(1, TIME_OUT, is_done=True)
            s.refund_payment(payment_id, sar("4.00"))
            s.wait(DAY)
            ends.append(ending(s, payment_id))
            assert len(moves(s, TransactionKind.REFUND)) == 1
    assert ends[0] == ends[1] == ends[2]
    assert ends[0]["refunds"] == ["succeeded" if is_done else "failed"]


def test_each_follow_up_has_a_cart_of_its_own_that_names_its_payment() -> None:
    with SystemUnderTest() as s:
        payment_id = paid(s, "manual", None)
        s.capture_payment(payment_id, sar("6.00"))
        s.run()
        for _ in range(2):
            s.refund_payment(payment_id, sar("3.00"))
        s.run()
        carts = [report.cart_id for report in s.gateway.of(payment_id)]
    assert carts == [f"{payment_id}-{purpose}" for purpose in ("a1", "k1", "v2", "r3", "r4")]
    assert {payment_id_of(cart_id) for cart_id in carts} == {payment_id}


def cancelled(s: SystemUnderTest) -> UUID:
    payment_id = opened(s)
    s.cancel_payment(payment_id)
    s.run()
    return payment_id


@pytest.mark.parametrize(
    ("begin", "deadlines"),
    [
        (opened, ["reconcile"]),
        (cancelled, ["late_money"]),
        (lambda s: paid(s, "manual"), ["authorization"]),
        (paid, []),
    ],
    ids=["page open", "cancelled", "authorized", "completed"],
)
def test_each_deadline_is_an_event_and_a_row_of_the_agenda(
    begin: Callable[[SystemUnderTest], UUID], deadlines: list[str]
) -> None:
    with SystemUnderTest() as s:
        saga = s.saga(begin(s))
        rows = s.persistence.tables.rows["agenda"].values()
        due = [row["due_at"] for row in rows if row["kind"] == WorkKind.SAGA_DEADLINE]
        set_by_events = {
            event.deadline: event.due_at
            for event in s.applications.sagas.history(saga.id)
            if type(event).__name__ == "DeadlineSet"
        }
        assert list(saga.deadlines) == deadlines
        assert due == [set_by_events[deadline] for deadline in saga.deadlines]


def test_what_took_effect_is_undone_last_first_each_money_step_by_a_call_of_its_own() -> None:
    with SystemUnderTest() as s:
        payment_id = paid(s, "manual", None)
        s.gateway.fall_ill(1, lambda answer: answer, during=lambda: s.cancel_payment(payment_id))
        s.capture_payment(payment_id, sar("6.00"))
        s.run()
        history = s.applications.sagas.history(s.saga(payment_id).id)
        told = [
            (type(event).__name__, str(getattr(event, "step", getattr(event, "amount", ""))))
            for event in history
            if type(event).__name__
            in {"StepCompensationStarted", "MoneyReturned", "StepCompensated", "Compensated"}
        ]
        undone = [step for name, step in told if name == "StepCompensated"]
        assert undone == [Step.CAPTURE, Step.SETTLE, Step.OPEN_AT_GATEWAY, Step.CREATE_RECORD]
        assert told[:6] == [
            ("StepCompensationStarted", "capture"),
            ("MoneyReturned", str(sar("6.00"))),
            ("StepCompensated", "capture"),
            ("StepCompensationStarted", "settle"),
            ("MoneyReturned", str(sar("4.00"))),
            ("StepCompensated", "settle"),
        ]
        assert told[-1] == ("Compensated", "")
        [refund] = moves(s, TransactionKind.REFUND)
        [release] = moves(s, TransactionKind.RELEASE)
        assert (refund.amount, release.amount) == (sar("6.00"), sar("4.00"))
