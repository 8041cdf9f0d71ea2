"""Contracts from their first instalment to the last, in the test mode."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from domain.contract import InstalmentStatus
from domain.money import money
from domain.payment_terms import PaymentStatus
from system.testing import SystemUnderTest
from tests.simulation.contract_kit import AGREED, CONTRACT, agree, instalments


@pytest.fixture
def s() -> Iterator[SystemUnderTest]:
    with SystemUnderTest(seed=1) as s:
        yield s


def pay(s: SystemUnderTest, payment_id: UUID) -> None:
    """The customer pays on the hosted page."""
    s.gateway.pay(payment_id)
    s.run()


def earned(s: SystemUnderTest) -> list[tuple[Decimal, Decimal, Decimal]]:
    """Gross, fee and net of every earnings event."""
    found = [event["data"] for event in s.events() if event["type"] == "earnings.calculated"]
    return [(data["gross"], data["platformFee"], data["net"]) for data in found]


def test_each_instalment_starts_its_payment_on_its_day(s: SystemUnderTest) -> None:
    agree(s, 0, 30)
    [first, second] = instalments(s)
    assert (first.status, second.status) == (InstalmentStatus.DUE, InstalmentStatus.SCHEDULED)
    payment = s.payment(first.payment_ids[0])
    assert payment.status is PaymentStatus.PROCESSING
    assert payment.contract_id == AGREED
    assert payment.next_action
    s.wait(timedelta(days=30))
    assert instalments(s)[1].status is InstalmentStatus.DUE


def test_a_paid_instalment_yields_earnings(s: SystemUnderTest) -> None:
    agree(s, 0)
    pay(s, instalments(s)[0].payment_ids[0])
    assert instalments(s)[0].status is InstalmentStatus.PAID
    assert earned(s) == [(Decimal("100.01"), Decimal("2.50"), Decimal("97.51"))]


def test_refunds_take_earnings_back_in_proportion(s: SystemUnderTest) -> None:
    agree(s, 0)
    payment_id = instalments(s)[0].payment_ids[0]
    pay(s, payment_id)
    for amount in ("33.33", "66.68"):
        s.refund_payment(payment_id, money(amount, "SAR"))
        s.run()
    assert [sum(column) for column in zip(*earned(s), strict=True)] == [0, 0, 0]
    assert len(earned(s)) == 3


def test_a_payment_that_names_the_contract_yields_earnings_too(s: SystemUnderTest) -> None:
    agree(s, 30)
    payment_id = s.create_payment("10.00", "SAR", "Deposit", contract_id=AGREED)
    s.run()
    pay(s, payment_id)
    assert earned(s) == [(Decimal("10.00"), Decimal("0.25"), Decimal("9.75"))]


def test_a_payment_that_names_a_contract_kept_elsewhere_is_left_alone(s: SystemUnderTest) -> None:
    payment_id = s.create_payment("10.00", "SAR", "Deposit", contract_id="kept elsewhere")
    s.run()
    pay(s, payment_id)
    s.refund_payment(payment_id)
    s.run()
    assert s.payment(payment_id).status is PaymentStatus.REFUNDED
    assert earned(s) == []


def test_a_page_that_runs_out_leaves_the_instalment_unpaid_and_overdue(s: SystemUnderTest) -> None:
    agree(s, 0)
    s.wait(timedelta(days=2))
    [instalment] = instalments(s)
    assert instalment.status is InstalmentStatus.UNPAID
    assert instalment.is_overdue(s.clock.now().date())
    with s.acting("test"):
        s.applications.contracts.ask_again(CONTRACT, 1)
    s.run()
    [_, second_try] = instalments(s)[0].payment_ids
    pay(s, second_try)
    assert instalments(s)[0].status is InstalmentStatus.PAID


def test_cancelling_a_contract_cancels_its_open_payments(s: SystemUnderTest) -> None:
    agree(s, 0, 30)
    with s.acting("test"):
        s.applications.contracts.cancel(CONTRACT, "moved out")
    s.run()
    open_payment = s.payment(instalments(s)[0].payment_ids[0])
    assert open_payment.status is PaymentStatus.CANCELLED
    assert open_payment.cancellation_reason == "contract_cancelled"
    s.wait(timedelta(days=60))
    assert instalments(s)[1].payment_ids == []
    assert not s.persistence.tables.rows["agenda"]


def test_money_paid_after_the_payment_was_cancelled_with_its_contract_goes_back(
    s: SystemUnderTest,
) -> None:
    agree(s, 0)
    payment_id = instalments(s)[0].payment_ids[0]
    with s.acting("test"):
        s.applications.contracts.cancel(CONTRACT, "moved out")
    s.follow()
    s.gateway.pay(payment_id)
    s.wait(timedelta(days=2))
    assert s.payment(payment_id).status is PaymentStatus.CANCELLED
    assert s.gateway.net_of(payment_id) == 0
    assert earned(s) == []


def test_money_that_was_quicker_than_the_cancelling_stays_and_is_shared_out(
    s: SystemUnderTest,
) -> None:
    agree(s, 0)
    payment_id = instalments(s)[0].payment_ids[0]
    with s.acting("test"):
        s.applications.contracts.cancel(CONTRACT, "moved out")
    s.gateway.pay(payment_id)
    s.wait(timedelta(days=2))
    assert s.payment(payment_id).status is PaymentStatus.COMPLETED
    assert instalments(s)[0].status is InstalmentStatus.PAID
    assert len(earned(s)) == 1


def test_a_payment_due_is_told_as_the_contract_says(s: SystemUnderTest) -> None:
    agree(s, 0)
    [due] = [event["data"] for event in s.events() if event["type"] == "contract.payment_due"]
    assert due == {
        "contractId": AGREED,
        "instalment": 1,
        "amount": Decimal("100.01"),
        "currency": "SAR",
        "dueOn": s.clock.now().date().isoformat(),
        "paymentId": str(instalments(s)[0].payment_ids[0]),
    }
