"""Payments in the states that money tests begin with, and what such tests look at."""

from decimal import Decimal
from uuid import UUID

from domain.gateway_report import GatewayReport, TransactionKind
from domain.money import Money, money
from domain.saga_steps import SagaStatus
from system.testing import SystemUnderTest

CALLBACK_URL = "https://merchant.example.com/told"


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
