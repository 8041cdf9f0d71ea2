"""Reports that do not fit what was asked for are not believed, however well they are signed."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from domain.gateway_report import TransactionKind, TransactionStatus
from domain.money import money
from system.projections.sagas_view import shown_status
from system.testing import SystemUnderTest
from tests.simulation import scenarios

LIES: dict[str, dict[str, Any]] = {
    "too little": {"amount": money("1.00", "SAR")},
    "too much": {"amount": money("100.00", "SAR")},
    "another currency": {"amount": money("10.00", "AED")},
    "no amount": {"amount": None},
    "an unheard-of status": {"status": TransactionStatus.UNKNOWN},
    "an unheard-of type": {"kind": TransactionKind.UNKNOWN},
    "an authorization instead of a sale": {"kind": TransactionKind.AUTHORIZATION},
    "a capture of another transaction": {
        "kind": TransactionKind.CAPTURE,
        "transaction_ref": "TST8888888888888",
        "previous_ref": "TST7777777777777",
    },
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_report_that_does_not_fit_is_not_believed(lie: dict[str, Any]) -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.opened(s)
        s.receive(scenarios.paid_report(s, payment_id, **lie))
        s.run()
        assert s.payment(payment_id).status == "processing"
        incidents = [e for e in s.events() if e["type"] == "security.event"]
        assert [e["data"]["kind"] for e in incidents] == ["gateway_report_doubted"]
        assert incidents[0]["data"]["detail"]["paymentId"] == str(payment_id)


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_the_gateway_is_asked_itself_and_the_truth_is_believed(lie: dict[str, Any]) -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.opened(s)
        s.gateway.pay(payment_id, silently=True)
        s.receive(scenarios.paid_report(s, payment_id, **lie))
        s.run()
        assert s.payment(payment_id).status == "completed"


def test_the_cart_of_another_payment_settles_nothing() -> None:
    with SystemUnderTest() as s:
        mine, other = scenarios.opened(s), scenarios.opened(s)
        report = scenarios.paid_report(s, mine)
        s.receive(replace(report, cart_id=f"{other}-a7"))
        s.run()
        assert s.payment(mine).status == "processing"
        assert s.payment(other).status == "processing"
        assert [e["type"] for e in s.events()].count("security.event") == 1


@pytest.mark.parametrize("cart_id", ["another payment's", "ORDER-17", ""])
def test_a_callback_that_names_somebody_elses_transaction_parks_nobody(cart_id: str) -> None:
    with SystemUnderTest() as s:
        mine, other = scenarios.opened(s), scenarios.opened(s)
        theirs = scenarios.paid_report(s, other)
        if cart_id != "another payment's":
            theirs = replace(theirs, cart_id=cart_id, transaction_ref="TST9999999999999")
        s.gateway.transactions[theirs.transaction_ref] = theirs
        s.receive(replace(theirs, cart_id=f"{mine}-a7"))
        s.wait(timedelta(seconds=30))
        assert s.saga(mine).status == "waiting"
        assert [e["type"] for e in s.events()].count("security.event") == 1
        s.gateway.pay(mine)
        s.run()
        assert s.payment(mine).status == "completed"


def test_the_payments_own_transaction_under_another_cart_needs_a_person() -> None:
    with SystemUnderTest() as s:
        mine, other = scenarios.opened(s), scenarios.opened(s)
        report = scenarios.paid_report(s, mine)
        strange = replace(report, cart_id=f"{other}-a1")
        s.gateway.transactions[strange.transaction_ref] = strange
        s.wait(timedelta(minutes=2))
        assert s.saga(mine).status == "parked"


def test_an_answer_of_the_gateway_itself_that_does_not_fit_needs_a_person() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.opened(s)
        strange = scenarios.paid_report(s, payment_id, amount=money("1.00", "SAR"))
        s.gateway.transactions[strange.transaction_ref] = strange
        s.wait(timedelta(minutes=2))
        saga = s.saga(payment_id)
        assert s.payment(payment_id).status == "processing"
        assert saga.status == "parked"
        row = s.row("view_sagas", saga.id)
        assert row is not None
        assert strange.transaction_ref in row["advice"]


def test_a_strange_answer_about_a_lost_page_opens_no_other_page() -> None:
    with SystemUnderTest() as s:
        s.gateway.fall_ill(outcome=scenarios.TIME_OUT, is_done=True)
        payment_id = scenarios.opened(s)
        strange = scenarios.paid_report(s, payment_id, amount=money("1.00", "SAR"))
        s.gateway.transactions[strange.transaction_ref] = strange
        s.wait(scenarios.SHORTLY)
        assert s.saga(payment_id).status == "parked"
        assert len(s.gateway.transactions) == 1
        row = s.row("view_sagas", s.saga(payment_id).id)
        assert row is not None
        assert shown_status(row) == "parked"


def test_a_parked_payment_completes_when_the_right_money_is_reported() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.opened(s)
        strange = scenarios.paid_report(s, payment_id, amount=money("1.00", "SAR"))
        s.gateway.transactions[strange.transaction_ref] = strange
        s.wait(timedelta(minutes=2))
        s.receive(scenarios.paid_report(s, payment_id))
        s.run()
        assert s.payment(payment_id).status == "completed"
        row = s.row("view_sagas", s.saga(payment_id).id)
        assert row is not None
        assert (row["status"], row["parked_detail"]) == ("completed", None)


def test_a_doubted_report_after_completion_changes_nothing() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.paid(s)
        s.receive(scenarios.paid_report(s, payment_id, amount=money("1.00", "SAR")))
        s.wait(timedelta(hours=2))
        assert s.payment(payment_id).status == "completed"
        assert s.saga(payment_id).status == "completed"
        assert s.payment(payment_id).amount_captured == money("10.00", "SAR")


@pytest.mark.parametrize(
    "status",
    [TransactionStatus.DECLINED, TransactionStatus.CANCELLED, TransactionStatus.EXPIRED],
)
def test_a_refusal_after_completion_changes_nothing(status: TransactionStatus) -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.paid(s)
        s.receive(scenarios.paid_report(s, payment_id, status=status))
        s.wait(timedelta(hours=2))
        assert s.payment(payment_id).status == "completed"
        assert s.saga(payment_id).status == "completed"


@pytest.mark.parametrize(
    ("status", "payment_status", "reason"),
    [
        (TransactionStatus.DECLINED, "failed", "card_declined"),
        (TransactionStatus.ERROR, "failed", "gateway_error"),
        (TransactionStatus.VOIDED, "failed", "gateway_error"),
        (TransactionStatus.CANCELLED, "cancelled", "cancelled_by_customer"),
        (TransactionStatus.EXPIRED, "cancelled", "expired"),
    ],
)
def test_each_refusal_has_its_own_end(
    status: TransactionStatus, payment_status: str, reason: str
) -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.opened(s)
        s.receive(scenarios.paid_report(s, payment_id, status=status))
        s.run()
        payment = s.payment(payment_id)
        assert payment.status == payment_status
        given = payment.failure.code if payment.failure else payment.cancellation_reason
        assert given == reason
