"""The list of payments, as clients search it."""

from typing import Any
from uuid import UUID

from eventsourcing.dispatch import singledispatchmethod

from application.rows import Patch, RowChange, Upsert
from application.vault import Vault, opened
from domain.payment import Payment
from domain.payment_terms import Failure, PaymentStatus, RefundStatus
from domain.sealed import Sealed
from system.followers.base import Projection
from system.persistence.tables import PAYMENTS_VIEW, REFUNDS_VIEW


class PaymentsView(Projection):
    """Follows Payments."""

    name = "PaymentsView"
    tables = (PAYMENTS_VIEW.name, REFUNDS_VIEW.name)

    @singledispatchmethod
    def project(self, event: Any) -> list[RowChange]:
        """The row changes that an event means."""
        return []

    @project.register
    def _(self, event: Payment.Initiated) -> list[RowChange]:
        values = {
            "status": PaymentStatus.INITIATED.value,
            "amount": event.amount.amount,
            "currency": event.amount.currency.code,
            "description": event.description,
            "contract_id": event.contract_id,
            "client_id": _client_id(event.client),
            "client_info": event.client,
            "payment_method": event.payment_method,
            "capture_method": event.capture_method,
            "redirect_url": event.redirect_url,
            "callback_url": event.callback_url,
            "merchant_metadata": event.merchant_metadata,
            "amount_captured": event.amount.amount * 0,
            "amount_refunded": event.amount.amount * 0,
            "created_at": event.timestamp,
            "correlation_id": event.metadata.correlation_id,
            "version": event.originator_version,
            "updated_at": event.timestamp,
        }
        return [Upsert(PAYMENTS_VIEW.name, (event.originator_id,), values)]

    @project.register
    def _(self, event: Payment.Processing) -> list[RowChange]:
        return _patch(
            event,
            status=PaymentStatus.PROCESSING.value,
            transaction_ref=event.transaction_ref,
            gateway_provider=event.gateway_provider,
            page_url=event.page_url,
            page_expires_at=event.page_expires_at if event.page_url else None,
        )

    @project.register
    def _(self, event: Payment.Authorized) -> list[RowChange]:
        return _patch(
            event,
            status=PaymentStatus.AUTHORIZED.value,
            transaction_ref=event.report.transaction_ref,
            **_NO_PAGE,
        )

    @project.register
    def _(self, event: Payment.Completed) -> list[RowChange]:
        return _patch(
            event,
            status=PaymentStatus.COMPLETED.value,
            transaction_ref=event.report.transaction_ref,
            amount_captured=event.amount.amount,
            **_NO_PAGE,
        )

    @project.register
    def _(self, event: Payment.Failed) -> list[RowChange]:
        failure = failure_document(event.failure)
        return _patch(event, status=PaymentStatus.FAILED.value, failure=failure, **_NO_PAGE)

    @project.register
    def _(self, event: Payment.Cancelled) -> list[RowChange]:
        return _patch(
            event,
            status=PaymentStatus.CANCELLED.value,
            cancellation_reason=event.reason,
            **_NO_PAGE,
        )

    @project.register
    def _(self, event: Payment.CaptureRequested) -> list[RowChange]:
        return _patch(event)

    @project.register
    def _(self, event: Payment.CaptureFailed) -> list[RowChange]:
        return _patch(event)

    @project.register
    def _(self, event: Payment.RefundRequested) -> list[RowChange]:
        values = {
            "payment_id": event.originator_id,
            "amount": event.amount.amount,
            "status": RefundStatus.PENDING.value,
            "reason": event.reason,
            "created_at": event.timestamp,
        }
        return [Upsert(REFUNDS_VIEW.name, (event.refund_id,), values), *_patch(event)]

    @project.register
    def _(self, event: Payment.RefundFailed) -> list[RowChange]:
        return [_refund(event.refund_id, status=RefundStatus.FAILED.value), *_patch(event)]

    @project.register
    def _(self, event: Payment.Refunded) -> list[RowChange]:
        outcome = {
            "status": RefundStatus.SUCCEEDED.value,
            "transaction_ref": event.transaction_ref,
        }
        foreign = {
            "payment_id": event.originator_id,
            "amount": event.amount.amount,
            "reason": event.reason,
            "created_at": event.timestamp,
        }
        succeeded: RowChange = _refund(event.refund_id, **outcome)
        if event.is_foreign:
            succeeded = Upsert(REFUNDS_VIEW.name, (event.refund_id,), {**foreign, **outcome})
        columns: dict[str, Any] = {"amount_refunded": event.amount_refunded.amount}
        if event.is_full:
            columns["status"] = PaymentStatus.REFUNDED.value
        return [succeeded, *_patch(event, **columns)]


def payment_row(payment: Payment, vault: Vault) -> dict[str, Any]:
    """The row that the view shows of a payment, made from the payment itself."""
    page = payment.next_action
    return {
        "payment_id": payment.id,
        "status": payment.status.value,
        "amount": payment.amount.amount,
        "currency": payment.amount.currency.code,
        "description": payment.description,
        "contract_id": payment.contract_id,
        "client_id": _client_id(payment.client),
        "client_info": opened(payment.client, vault),
        "payment_method": payment.payment_method,
        "capture_method": payment.capture_method,
        "redirect_url": payment.redirect_url,
        "callback_url": payment.callback_url,
        "merchant_metadata": payment.merchant_metadata,
        "amount_captured": payment.amount_captured.amount,
        "amount_refunded": payment.amount_refunded.amount,
        "transaction_ref": payment.transaction_ref,
        "gateway_provider": payment.gateway_provider,
        "page_url": page.url if page else None,
        "page_expires_at": page.expires_at if page else None,
        "failure": failure_document(payment.failure) if payment.failure else None,
        "cancellation_reason": payment.cancellation_reason,
        "version": payment.version,
        "created_at": payment.created_on,
        "updated_at": payment.modified_on,
        "correlation_id": payment.correlation_id,
    }


def _client_id(client: Sealed | None) -> UUID | None:
    return UUID(client.client_id) if client else None


def refund_rows(payment: Payment) -> list[dict[str, Any]]:
    """The rows that the view shows of a payment's refunds, made from the payment itself."""
    return [
        {
            **vars(refund),
            "payment_id": payment.id,
            "amount": refund.amount.amount,
            "status": refund.status.value,
        }
        for refund in payment.refunds.values()
    ]


_NO_PAGE: dict[str, Any] = {"page_url": None, "page_expires_at": None}


def failure_document(failure: Failure) -> dict[str, Any]:
    """A failure as the contract shows it."""
    return {
        "code": failure.code,
        "message": failure.message,
        "gatewayCode": failure.gateway_code,
    }


def _patch(event: Payment.Event, **columns: Any) -> list[RowChange]:
    stamp = {"version": event.originator_version, "updated_at": event.timestamp}
    return [Patch(PAYMENTS_VIEW.name, (event.originator_id,), {**columns, **stamp})]


def _refund(refund_id: UUID, **columns: Any) -> RowChange:
    return Patch(REFUNDS_VIEW.name, (refund_id,), columns)
