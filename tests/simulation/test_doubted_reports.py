"""Reports that do not fit what was asked for are not believed, however well they are signed."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from domain.gateway_report import TransactionKind, TransactionStatus, cart_id_for
from domain.money import money
from domain.saga_steps import SagaStatus
from domain.security_incident import SecurityIncident
from system.projections.sagas_view import shown_status
from system.testing import SystemUnderTest
from tests.simulation import scenarios
from tests.simulation.money_kit import DAY, MINUTE, assert_ended, follow, moves, sar
from tests.simulation.saga_kit import opened, paid

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


# Callbacks that follow another transaction, or refuse it


def test_a_sale_that_follows_a_strange_transaction_is_not_believed(s: SystemUnderTest) -> None:
    payment_id = opened(s)
    sale = replace(
        s.gateway.page_of(payment_id),
        transaction_ref="TST7777",
        previous_ref="TST6666",
        status=TransactionStatus.AUTHORISED,
        amount=sar("10.00"),
    )

    s.receive(sale)
    s.run()

    assert s.payment(payment_id).status == "processing"
    [incident] = list(s.applications.operations.all())
    assert isinstance(incident, SecurityIncident.Recorded)


@pytest.mark.parametrize(
    "changes",
    [{"amount": sar("99.00")}, {"amount": money("10.00", "AED")}],
    ids=["amount", "currency"],
)
def test_a_refusal_of_other_money_is_not_believed_but_asked_after(
    s: SystemUnderTest, changes: dict[str, Any]
) -> None:
    payment_id = opened(s)
    page = s.gateway.page_of(payment_id)
    s.gateway.pay(payment_id, silently=True)

    s.receive(replace(page, status=TransactionStatus.DECLINED, **changes))
    s.run()

    assert_ended(s, payment_id, "completed", "10.00")
    assert [event["type"] for event in s.events()].count("security.event") == 1


@pytest.mark.parametrize("kind", [TransactionKind.REFUND, TransactionKind.VOID])
def test_a_refused_follow_up_does_not_fail_the_sale(
    s: SystemUnderTest, kind: TransactionKind
) -> None:
    payment_id = opened(s)
    page = s.gateway.page_of(payment_id)
    refused = replace(page, kind=kind, status=TransactionStatus.DECLINED, amount=sar("10.00"))

    s.receive(refused)
    s.run()
    assert s.payment(payment_id).status == "processing"

    s.gateway.pay(payment_id)
    s.run()
    assert_ended(s, payment_id, "completed", "10.00")


# Callbacks of refunds


def test_a_wrong_amount_in_the_callback_of_a_refund_is_a_security_event(s: SystemUnderTest) -> None:
    payment_id = paid(s)
    s.refund_payment(payment_id, sar("4.00"))
    s.run()
    [refund] = moves(s, TransactionKind.REFUND)

    s.receive(replace(refund, amount=sar("9.00")))
    s.run()

    incidents = list(s.applications.operations.all())
    assert [type(incident) for incident in incidents] == [SecurityIncident.Recorded]
    assert s.payment(payment_id).amount_refunded == sar("4.00")


def test_a_callback_of_another_kind_is_no_proof_that_a_refund_never_happened(
    s: SystemUnderTest,
) -> None:
    payment_id = paid(s)
    s.gateway.follow_up_status = TransactionStatus.PENDING
    s.refund_payment(payment_id, sar("4.00"))
    s.run()
    page = s.gateway.page_of(payment_id)
    cart_id = cart_id_for(payment_id, "r", 1)

    for amount in ("1.00", "2.00", "4.00"):
        s.receive(replace(page, cart_id=cart_id, amount=sar(amount)))
        s.wait(5 * MINUTE)

    refunds = moves(s, TransactionKind.REFUND)
    assert len(refunds) == 1
    assert len(list(s.applications.operations.all())) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": TransactionKind.SALE},
        {"amount": sar("9.00")},
        {"previous_ref": "TST6666"},
    ],
    ids=["type", "amount", "previous reference"],
)
def test_a_refusal_that_does_not_fit_a_refund_frees_nothing(
    s: SystemUnderTest, changes: dict[str, Any]
) -> None:
    payment_id = paid(s)
    s.gateway.follow_up_status = TransactionStatus.PENDING
    refund_id = s.refund_payment(payment_id, sar("4.00"))
    s.run()
    [refund] = moves(s, TransactionKind.REFUND)

    s.receive(replace(refund, status=TransactionStatus.DECLINED, **changes))
    s.run()

    assert s.payment(payment_id).refunds[refund_id].status == "pending"
    s.gateway.decide(refund.transaction_ref, is_done=True)
    s.run()
    assert_ended(s, payment_id, "completed", "6.00")


# Doubts that stay


def test_what_is_parked_for_a_doubt_is_not_doubted_anew_each_day(s: SystemUnderTest) -> None:
    payment_id = opened(s)
    s.gateway.defer(payment_id)
    s.run()
    s.cancel_payment(payment_id)
    s.run()
    follow(s, s.gateway.page_of(payment_id), TransactionKind.SALE, sar("12.00"))

    s.wait(10 * DAY)

    assert s.saga(payment_id).status is SagaStatus.PARKED
    assert len(list(s.applications.operations.all())) == 1
    s.compensate(payment_id)
    s.run()
    assert s.saga(payment_id).status is SagaStatus.COMPENSATED
    assert s.gateway.net_of(payment_id) == 0
