"""Sagas that wait for a person, for tests of what people do about them."""

from functools import partial
from uuid import UUID

from domain.gateway_report import GatewayReport, TransactionKind, TransactionStatus
from domain.money import money
from domain.payment_saga import PaymentSaga
from tests.e2e.house import House
from tests.integration.production_kit import context


def park(home: House, payment_id: str, transaction_ref: str) -> None:
    """Records that the saga doubts a report of the gateway about that transaction."""
    report = GatewayReport(
        transaction_ref,
        TransactionKind.SALE,
        TransactionStatus.AUTHORISED,
        "a cart of somebody else",
        money("1.00", "SAR"),
    )
    saga_id = PaymentSaga.create_id(UUID(payment_id))
    with context():
        home.context.applications.sagas.change(saga_id, partial(_park, report))


def _park(report: GatewayReport, saga: PaymentSaga) -> None:
    saga.trigger_event(PaymentSaga.ReportDoubted, report=report, reason="odd")
    saga.trigger_event(
        PaymentSaga.Parked,
        reason="doubted",
        detail="odd",
        parked_detail="odd",
        advice="look",
        call_id=None,
        transaction_ref=report.transaction_ref,
    )
