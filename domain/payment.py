"""One payment: what was asked for, how it stands, and which commands its status allows."""

from datetime import datetime
from typing import Any
from uuid import UUID

from domain.errors import InvalidTransition
from domain.event import PaymentEventType, PaySagaAggregate, Priority
from domain.gateway_report import GatewayReport
from domain.money import Money, written
from domain.payment_terms import (
    CaptureExceedsAuthorized,
    CapturePending,
    Failure,
    NextAction,
    PaymentStatus,
    Refund,
    RefundExceedsCaptured,
    RefundStatus,
    UnknownRefund,
)
from domain.sealed import Sealed

AUTOMATIC = "automatic"
"""The capture method by which the customer's paying takes the money."""

ALLOWED: dict[str, frozenset[PaymentStatus]] = {
    "processed": frozenset({PaymentStatus.INITIATED}),
    "authorized": frozenset({PaymentStatus.PROCESSING}),
    "completed": frozenset({PaymentStatus.PROCESSING, PaymentStatus.AUTHORIZED}),
    "failed": frozenset(
        {PaymentStatus.INITIATED, PaymentStatus.PROCESSING, PaymentStatus.AUTHORIZED}
    ),
    "cancelled": frozenset(
        {PaymentStatus.INITIATED, PaymentStatus.PROCESSING, PaymentStatus.AUTHORIZED}
    ),
    "captured": frozenset({PaymentStatus.AUTHORIZED}),
    "refunded": frozenset({PaymentStatus.COMPLETED}),
}
"""Which statuses allow a payment to be …; the keys are the words used in the refusal."""


class Payment(PaySagaAggregate):
    """A payment from request to final state. Decisions come from its saga, cancels from clients.

    The events that merchants are told of carry the `callback_url` they are told at; those that a
    contract hears of carry its `contract_id`.
    """

    class Initiated(PaySagaAggregate.Created):
        event_type = PaymentEventType.PAYMENT_INITIATED
        amount: Money
        description: str
        contract_id: str | None
        client: Sealed | None
        payment_method: str
        capture_method: str
        redirect_url: str | None
        callback_url: str | None
        merchant_metadata: dict[str, str]
        request_fingerprint: str | None

    class Processing(PaySagaAggregate.Event):
        event_type = PaymentEventType.PAYMENT_PROCESSING
        transaction_ref: str
        gateway_provider: str
        page_url: str | None
        page_expires_at: datetime

        def apply(self, aggregate: "Payment") -> None:
            aggregate.status = PaymentStatus.PROCESSING
            aggregate.transaction_ref = self.transaction_ref
            aggregate.gateway_provider = self.gateway_provider
            aggregate.processing_since = self.timestamp
            if self.page_url:
                aggregate.next_action = NextAction(self.page_url, self.page_expires_at)

    class Authorized(PaySagaAggregate.Event):
        event_type = PaymentEventType.PAYMENT_AUTHORIZED
        priority = Priority.HIGH
        report: GatewayReport
        callback_url: str | None

        def apply(self, aggregate: "Payment") -> None:
            aggregate.status = PaymentStatus.AUTHORIZED
            aggregate.transaction_ref = self.report.transaction_ref
            aggregate.next_action = None

    class CaptureRequested(PaySagaAggregate.Event):
        event_type = PaymentEventType.PAYMENT_CAPTURE_REQUESTED
        amount: Money

        def apply(self, aggregate: "Payment") -> None:
            aggregate.capture_pending = self.amount

    class CaptureFailed(PaySagaAggregate.Event):
        event_type = PaymentEventType.PAYMENT_CAPTURE_FAILED
        priority = Priority.HIGH
        failure: Failure

        def apply(self, aggregate: "Payment") -> None:
            aggregate.capture_pending = None

    class Completed(PaySagaAggregate.Event):
        event_type = PaymentEventType.PAYMENT_COMPLETED
        priority = Priority.HIGH
        amount: Money
        report: GatewayReport
        processing_duration_ms: int
        contract_id: str | None
        callback_url: str | None

        def apply(self, aggregate: "Payment") -> None:
            aggregate.status = PaymentStatus.COMPLETED
            aggregate.transaction_ref = self.report.transaction_ref
            aggregate.amount_captured = self.amount
            aggregate.capture_pending = None
            aggregate.next_action = None

    class Failed(PaySagaAggregate.Event):
        event_type = PaymentEventType.PAYMENT_FAILED
        priority = Priority.HIGH
        failure: Failure
        report: GatewayReport | None
        contract_id: str | None
        callback_url: str | None

        def apply(self, aggregate: "Payment") -> None:
            aggregate.status = PaymentStatus.FAILED
            aggregate.failure = self.failure
            aggregate.next_action = None

    class Cancelled(PaySagaAggregate.Event):
        event_type = PaymentEventType.PAYMENT_CANCELLED
        priority = Priority.HIGH
        reason: str
        contract_id: str | None
        callback_url: str | None

        def apply(self, aggregate: "Payment") -> None:
            aggregate.status = PaymentStatus.CANCELLED
            aggregate.cancellation_reason = self.reason
            aggregate.next_action = None

    class RefundRequested(PaySagaAggregate.Event):
        event_type = PaymentEventType.PAYMENT_REFUND_REQUESTED
        refund_id: UUID
        amount: Money
        reason: str | None

        def apply(self, aggregate: "Payment") -> None:
            aggregate.refunds[self.refund_id] = Refund(
                self.refund_id,
                self.amount,
                RefundStatus.PENDING,
                self.reason,
                self.timestamp,
            )

    class RefundFailed(PaySagaAggregate.Event):
        event_type = PaymentEventType.PAYMENT_REFUND_FAILED
        priority = Priority.HIGH
        refund_id: UUID
        failure: Failure

        def apply(self, aggregate: "Payment") -> None:
            aggregate.refunds[self.refund_id].status = RefundStatus.FAILED

    class Refunded(PaySagaAggregate.Event):
        event_type = PaymentEventType.PAYMENT_REFUNDED
        priority = Priority.HIGH
        refund_id: UUID
        transaction_ref: str
        amount: Money
        amount_refunded: Money
        is_full: bool
        is_foreign: bool
        """True for a refund made in the gateway's dashboard, which nobody asked us for."""
        reason: str | None
        contract_id: str | None
        callback_url: str | None

        def apply(self, aggregate: "Payment") -> None:
            new = Refund(
                self.refund_id,
                self.amount,
                RefundStatus.PENDING,
                self.reason,
                self.timestamp,
            )
            refund = aggregate.refunds.setdefault(self.refund_id, new)
            refund.status = RefundStatus.SUCCEEDED
            refund.transaction_ref = self.transaction_ref
            aggregate.amount_refunded = self.amount_refunded
            if self.is_full:
                aggregate.status = PaymentStatus.REFUNDED

    def __init__(
        self,
        amount: Money,
        description: str,
        contract_id: str | None,
        client: Sealed | None,
        payment_method: str,
        capture_method: str,
        redirect_url: str | None,
        callback_url: str | None,
        merchant_metadata: dict[str, str],
        request_fingerprint: str | None,
        metadata: Any,
    ) -> None:
        self.amount = amount
        self.description = description
        self.contract_id = contract_id
        self.client = client
        self.payment_method = payment_method
        self.capture_method = capture_method
        self.redirect_url = redirect_url
        self.callback_url = callback_url
        self.merchant_metadata = merchant_metadata
        self.request_fingerprint = request_fingerprint
        self.correlation_id: str = metadata.correlation_id
        self.trace_id: str | None = metadata.trace_id
        self.span_id: str | None = metadata.span_id
        self.status = PaymentStatus.INITIATED
        self.amount_captured = amount * 0
        self.amount_refunded = amount * 0
        self.gateway_provider: str | None = None
        self.transaction_ref: str | None = None
        self.processing_since: datetime | None = None
        self.next_action: NextAction | None = None
        self.failure: Failure | None = None
        self.cancellation_reason: str | None = None
        self.capture_pending: Money | None = None
        self.refunds: dict[UUID, Refund] = {}

    @classmethod
    def initiate(cls, payment_id: UUID, **request: Any) -> "Payment":
        """Records the request for a payment; the fields are those of `Initiated`."""
        return cls._create(cls.Initiated, id=payment_id, **request)

    @property
    def is_closed(self) -> bool:
        """True when no customer can pay any more: the payment failed or was cancelled."""
        return self.status in {PaymentStatus.FAILED, PaymentStatus.CANCELLED}

    @property
    def captures_itself(self) -> bool:
        """True when the customer's paying takes the money; False when the merchant captures it."""
        return self.capture_method == AUTOMATIC

    @property
    def amount_refundable(self) -> Money:
        """What was captured less every refund that succeeded or may still succeed."""
        held = [r.amount for r in self.refunds.values() if r.status is not RefundStatus.FAILED]
        return self.amount_captured - sum(held, start=self.amount * 0)

    def process(
        self,
        transaction_ref: str,
        gateway_provider: str,
        page_url: str | None,
        expires_at: datetime,
    ) -> None:
        """The gateway has opened a page for the customer.

        Raises:
            InvalidTransition: the payment is not `initiated`.
        """
        if self.status is PaymentStatus.PROCESSING and self.transaction_ref == transaction_ref:
            return
        self._require("processed")
        self.trigger_event(
            self.Processing,
            transaction_ref=transaction_ref,
            gateway_provider=gateway_provider,
            page_url=page_url,
            page_expires_at=expires_at,
        )

    def authorize(self, report: GatewayReport) -> None:
        """The customer authorized the amount; it waits to be captured.

        Raises:
            InvalidTransition: the payment is not `processing`.
        """
        if self.status is PaymentStatus.AUTHORIZED:
            return
        self._require("authorized")
        self.trigger_event(self.Authorized, report=report, callback_url=self.callback_url)

    def request_capture(self, amount: Money) -> None:
        """Asks for authorized money to be taken; the gateway's word decides.

        Raises:
            InvalidTransition: the payment is not `authorized`.
            CaptureExceedsAuthorized: the amount is above what was authorized.
            CapturePending: another capture is under way.
        """
        was_taken = self.status in {PaymentStatus.COMPLETED, PaymentStatus.REFUNDED}
        is_taken = was_taken and self.amount_captured == amount
        if self.capture_pending == amount or (is_taken and not self.captures_itself):
            return
        self._require("captured")
        if self.capture_pending is not None:
            raise CapturePending(
                f"a capture of {written(self.capture_pending)} is under way: wait for it"
            )
        self._require_within_amount(amount)
        self.trigger_event(self.CaptureRequested, amount=amount)

    def refuse_capture(self, failure: Failure) -> None:
        """The gateway would not take the money; it may be asked again."""
        if self.capture_pending is not None:
            self.trigger_event(self.CaptureFailed, failure=failure)

    def complete(self, amount: Money, report: GatewayReport, now: datetime) -> None:
        """The gateway has the customer's money.

        Raises:
            InvalidTransition: the payment is neither `processing` nor `authorized`.
            CaptureExceedsAuthorized: the amount is above the payment's, or of another currency.
        """
        if self.status is PaymentStatus.COMPLETED:
            return
        self._require("completed")
        self._require_within_amount(amount)
        started = self.processing_since or now
        self.trigger_event(
            self.Completed,
            amount=amount,
            report=report,
            processing_duration_ms=round((now - started).total_seconds() * 1000),
            contract_id=self.contract_id,
            callback_url=self.callback_url,
        )

    def fail(self, failure: Failure, report: GatewayReport | None = None) -> None:
        """The payment cannot succeed: the card was declined or the gateway refused.

        Raises:
            InvalidTransition: the payment is completed, refunded or cancelled.
        """
        if self.status is PaymentStatus.FAILED:
            return
        self._require("failed")
        self.trigger_event(
            self.Failed,
            failure=failure,
            report=report,
            contract_id=self.contract_id,
            callback_url=self.callback_url,
        )

    def cancel(self, reason: str) -> None:
        """Nobody wants the payment any more, or its page ran out (reason `expired`).

        Raises:
            InvalidTransition: the payment is completed, refunded or failed.
        """
        if self.status is PaymentStatus.CANCELLED:
            return
        self._require("cancelled")
        self.trigger_event(
            self.Cancelled,
            reason=reason,
            contract_id=self.contract_id,
            callback_url=self.callback_url,
        )

    def request_refund(self, refund_id: UUID, amount: Money, reason: str | None) -> None:
        """Asks for captured money to be given back; the gateway's word decides.

        Raises:
            InvalidTransition: the payment is not `completed`.
            RefundExceedsCaptured: all refunds together would exceed what was captured.
        """
        if refund_id in self.refunds:
            return
        self._require("refunded")
        self._require_refundable(amount)
        self.trigger_event(self.RefundRequested, refund_id=refund_id, amount=amount, reason=reason)

    def refund(self, refund_id: UUID, transaction_ref: str) -> None:
        """The gateway gave the refund's money back.

        Raises:
            UnknownRefund: that refund was never asked for.
            RefundExceedsCaptured: it had been refused, and its amount was refunded otherwise.
        """
        refund = self._refund(refund_id)
        if refund.status is RefundStatus.SUCCEEDED:
            return
        if refund.status is RefundStatus.FAILED:
            self._require_refundable(refund.amount)
        self._refunded(refund_id, transaction_ref, refund.amount, refund.reason, is_foreign=False)

    def record_foreign_refund(self, refund_id: UUID, transaction_ref: str, amount: Money) -> None:
        """Somebody gave money back in the gateway's dashboard: it is gone, whatever we think.

        What comes back to the customer of a closed payment is no refund of it.
        """
        if refund_id not in self.refunds and not self.is_closed:
            reason = "refunded_at_gateway"
            self._refunded(refund_id, transaction_ref, amount, reason, is_foreign=True)

    def _refunded(
        self,
        refund_id: UUID,
        transaction_ref: str,
        amount: Money,
        reason: str | None,
        *,
        is_foreign: bool,
    ) -> None:
        amount_refunded = self.amount_refunded + amount
        self.trigger_event(
            self.Refunded,
            refund_id=refund_id,
            transaction_ref=transaction_ref,
            amount=amount,
            amount_refunded=amount_refunded,
            is_full=amount_refunded >= self.amount_captured,
            is_foreign=is_foreign,
            reason=reason,
            contract_id=self.contract_id,
            callback_url=self.callback_url,
        )

    def refuse_refund(self, refund_id: UUID, failure: Failure) -> None:
        """The gateway refused the refund for good; its amount may be refunded again.

        Raises:
            UnknownRefund: that refund was never asked for.
        """
        if self._refund(refund_id).status is RefundStatus.PENDING:
            self.trigger_event(self.RefundFailed, refund_id=refund_id, failure=failure)

    def _require_refundable(self, amount: Money) -> None:
        is_same_currency = amount.currency == self.amount.currency
        if not (is_same_currency and self.amount * 0 < amount <= self.amount_refundable):
            raise RefundExceedsCaptured(
                f"{written(amount)} cannot be refunded: {written(self.amount_refundable)} of the "
                f"{written(self.amount_captured)} captured is left"
            )

    def _refund(self, refund_id: UUID) -> Refund:
        try:
            return self.refunds[refund_id]
        except KeyError:
            raise UnknownRefund(f"payment {self.id} has no refund {refund_id}") from None

    def _require_within_amount(self, amount: Money) -> None:
        if amount.currency != self.amount.currency or amount > self.amount:
            raise CaptureExceedsAuthorized(
                f"{written(amount)} is more than the {written(self.amount)} agreed upon"
            )

    def _require(self, action: str) -> None:
        if self.status not in ALLOWED[action]:
            raise InvalidTransition(action, self.status, ALLOWED[action])
