"""Payments follow the decisions of their sagas."""

from typing import Any
from uuid import UUID, uuid5

from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.system import ProcessApplication

from application.event_log import Work
from application.payments import Payments
from domain.contract import Contract
from domain.gateway_report import TransactionKind
from domain.payment import ALLOWED, AUTOMATIC, Payment
from domain.payment_saga import PaymentSaga
from domain.payment_terms import PaymentStatus
from system.followers.base import BatchFollower

CONTRACT_CANCELLED = "contract_cancelled"
"""The reason that payments are cancelled for with their contract."""


class PaymentsFollower(Payments, ProcessApplication[UUID], BatchFollower):
    """Follows PaymentSagas and Contracts. A client may have closed the payment meanwhile: then a
    decision comes too late, and the saga will hear of it from the payment's own events."""

    name = "Payments"
    is_urgent = True
    rest_seconds = 0.0

    def foresees(self, event: Any) -> UUID | None:
        """See `BatchFollower.foresees`."""
        return event.payment_id if isinstance(event, PaymentSaga.Event) else None

    @singledispatchmethod
    def policy(self, event: Any, work: Any) -> None:
        """What a payment does about a decision; nothing about events without a rule."""

    @policy.register
    def _(self, event: PaymentSaga.PageOpened, work: Work) -> None:
        payment: Payment = work.get(event.payment_id)
        if not payment.is_closed:
            payment.process(event.transaction_ref, event.gateway, event.page_url, event.expires_at)

    @policy.register
    def _(self, event: PaymentSaga.SettlementStarted, work: Work) -> None:
        payment: Payment = work.get(event.payment_id)
        if not payment.is_closed and event.report.amount is not None:
            payment.complete(event.report.amount, event.report, event.timestamp)

    @policy.register
    def _(self, event: PaymentSaga.AuthorizationStarted, work: Work) -> None:
        payment: Payment = work.get(event.payment_id)
        if not payment.is_closed:
            payment.authorize(event.report)

    @policy.register
    def _(self, event: PaymentSaga.Captured, work: Work) -> None:
        payment: Payment = work.get(event.payment_id)
        if not event.is_closing and not payment.is_closed and event.report.amount is not None:
            payment.complete(event.report.amount, event.report, event.timestamp)

    @policy.register
    def _(self, event: PaymentSaga.CaptureRefused, work: Work) -> None:
        payment: Payment = work.get(event.payment_id)
        payment.refuse_capture(event.failure)

    @policy.register
    def _(self, event: PaymentSaga.RefundSettled, work: Work) -> None:
        payment: Payment = work.get(event.payment_id)
        payment.refund(event.refund_id, event.refund_ref)

    @policy.register
    def _(self, event: PaymentSaga.RefundRefused, work: Work) -> None:
        payment: Payment = work.get(event.payment_id)
        payment.refuse_refund(event.refund_id, event.failure)

    @policy.register
    def _(self, event: PaymentSaga.ForeignReturnSeen, work: Work) -> None:
        if event.kind is not TransactionKind.REFUND:
            return
        payment: Payment = work.get(event.payment_id)
        refund_id = uuid5(event.payment_id, event.refund_ref)
        payment.record_foreign_refund(refund_id, event.refund_ref, event.amount)

    @policy.register
    def _(self, event: PaymentSaga.RecordClosing, work: Work) -> None:
        payment: Payment = work.get(event.payment_id)
        if payment.is_closed:
            return
        if event.status is PaymentStatus.FAILED and event.failure is not None:
            payment.fail(event.failure, event.report)
        else:
            payment.cancel(event.cancellation_reason or "cancelled")

    @policy.register
    def _(self, event: Contract.PaymentDue, work: Work) -> None:
        work.add(
            Payment.initiate(
                event.payment_id,
                amount=event.amount,
                description=event.description,
                contract_id=event.contract_id,
                client=event.client,
                payment_method="all",
                capture_method=AUTOMATIC,
                redirect_url=None,
                callback_url=event.callback_url,
                merchant_metadata={"instalment": str(event.instalment)},
                request_fingerprint=None,
            )
        )

    @policy.register
    def _(self, event: Contract.Cancelled, work: Work) -> None:
        for payment_id in event.open_payments:
            payment: Payment = work.get(payment_id)
            if payment.status in ALLOWED["cancelled"]:
                payment.cancel(CONTRACT_CANCELLED)
