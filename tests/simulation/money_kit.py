"""Payments in the states that money tests begin with, and what such tests look at."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from application.payment_gateway import Refusal, Refused, Unknown
from domain.gateway_report import GatewayReport, TransactionKind, TransactionStatus
from domain.money import Money, money
from domain.saga_steps import SagaStatus
from system.testing import SystemUnderTest

CALLBACK_URL = "https://merchant.example.com/told"
DUPLICATE = Refused(Refusal.DUPLICATE, "4", "Duplicate Request")
INVALID = Refused(Refusal.INVALID_REQUEST, "342", "Refund balance exceeded")
TIME_OUT = Unknown("time-out")
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


def sar(amount: str) -> Money:
    return money(amount, "SAR")


def opened(
    s: SystemUnderTest,
    capture_method: str = "automatic",
    callback_url: str | None = CALLBACK_URL,
) -> UUID:
    payment_id = s.create_payment(
        "10.00", "SAR", "Tea", callback_url=callback_url, capture_method=capture_method
    )
    s.run()
    return payment_id


def paid(
    s: SystemUnderTest,
    capture_method: str = "automatic",
    callback_url: str | None = CALLBACK_URL,
) -> UUID:
    payment_id = opened(s, capture_method, callback_url)
    s.gateway.pay(payment_id)
    s.run()
    return payment_id


def authorized(s: SystemUnderTest) -> UUID:
    return paid(s, "manual")


def follow(
    s: SystemUnderTest, parent: GatewayReport, kind: TransactionKind, amount: Money
) -> GatewayReport:
    """The gateway's books get a transaction that follows another one; nobody is told."""
    report = replace(
        parent,
        transaction_ref=f"TST{9000 + len(s.gateway.transactions)}",
        kind=kind,
        status=TransactionStatus.AUTHORISED,
        amount=amount,
        previous_ref=parent.transaction_ref,
    )
    s.gateway.transactions[report.transaction_ref] = report
    return report


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
