"""Payments follow the decisions of their sagas."""

from typing import Any
from uuid import UUID, uuid5

from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.system import ProcessApplication

from application.event_log import Work
from application.payments import Payments
from domain.gateway_report import TransactionKind
from domain.payment import Payment
from domain.payment_saga import PaymentSaga
from domain.payment_terms import PaymentStatus
from system.followers.base import BatchFollower


class PaymentsFollower(Payments, ProcessApplication[UUID], BatchFollower):
    """Follows PaymentSagas. A client may have closed the payment meanwhile: then the saga's
    decision comes too late, and the saga will hear of it from the payment's own events."""

    name = "Payments"

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
