"""Sagas hear what happened to their payments, calls, notifications and confirmations."""

from typing import Any
from uuid import UUID

from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.system import ProcessApplication

from application.event_log import Work
from application.payment_gateway import Refusal
from application.payment_sagas import PaymentSagas
from domain.confirmation import Confirmation
from domain.event import PaymentEventType
from domain.gateway_call import GatewayCall
from domain.payment import AUTOMATIC, Payment
from domain.payment_saga import PaymentSaga
from domain.payment_terms import Failure
from domain.saga_decider import SagaDecider
from domain.webhook import Webhook
from system.followers.base import BatchFollower

RATE_LIMIT_PAUSE_MS = 60_000
"""How long to leave the gateway alone when it said "too many" but not for how long."""


HandedOver = (
    Confirmation.Delivered
    | Confirmation.Postponed
    | Confirmation.AttemptFailed
    | Confirmation.Exhausted
)
"""With the first of these a confirmation is delivered, or in the hands of its schedule."""

Notified = Webhook.Received | Webhook.Matched | Webhook.Replayed
"""A notification comes once, is matched with its payment later, or is told again: all the same."""

FINAL_WORDS = frozenset(
    {
        PaymentEventType.PAYMENT_COMPLETED,
        PaymentEventType.PAYMENT_FAILED,
        PaymentEventType.PAYMENT_CANCELLED,
    }
)
"""What a merchant must be told before the saga is over."""


class PaymentSagasFollower(PaymentSagas, ProcessApplication[UUID], BatchFollower):
    """Follows Payments, Gateway, Webhooks and Confirmations."""

    name = "PaymentSagas"
    is_urgent = True
    rest_seconds = 0.0

    def _decider_for(self, payment_id: UUID, work: Work) -> SagaDecider:
        return self.decider(work.get(PaymentSaga.create_id(payment_id)))

    def foresees(self, event: Any) -> UUID | None:
        """See `BatchFollower.foresees`."""
        if isinstance(event, Payment.Initiated):
            return None
        return PaymentSaga.create_id(getattr(event, "payment_id", None) or event.originator_id)

    @singledispatchmethod
    def policy(self, event: Any, work: Any) -> None:
        """What a saga does about an event; nothing about events without a rule."""

    @policy.register
    def _(self, event: Payment.Initiated, work: Work) -> None:
        saga = PaymentSaga.begin(
            event.originator_id,
            event.amount,
            event.timestamp + self.timings.page_ttl,
            capture=event.capture_method == AUTOMATIC,
        )
        work.add(saga)
        self.decider(saga).start()

    @policy.register
    def _(self, event: Payment.Authorized, work: Work) -> None:
        self._decider_for(event.originator_id, work).payment_authorized()

    @policy.register
    def _(self, event: Payment.CaptureRequested, work: Work) -> None:
        self._decider_for(event.originator_id, work).capture_requested(event.amount)

    @policy.register
    def _(self, event: Payment.RefundRequested, work: Work) -> None:
        decider = self._decider_for(event.originator_id, work)
        decider.refund_requested(event.refund_id, event.amount)

    @policy.register
    def _(self, event: Payment.Completed, work: Work) -> None:
        decider = self._decider_for(event.originator_id, work)
        decider.payment_completed(is_told=event.callback_url is not None)

    @policy.register
    def _(self, event: Payment.Failed, work: Work) -> None:
        decider = self._decider_for(event.originator_id, work)
        decider.payment_closed(event.failure.message, is_told=event.callback_url is not None)

    @policy.register
    def _(self, event: Payment.Cancelled, work: Work) -> None:
        decider = self._decider_for(event.originator_id, work)
        decider.payment_closed(event.reason, is_told=event.callback_url is not None)

    @policy.register
    def _(self, event: GatewayCall.Succeeded, work: Work) -> None:
        decider = self._decider_for(event.payment_id, work)
        if event.transaction_ref:
            decider.page_opened(event.originator_id, event.transaction_ref, event.page_url)
        else:
            decider.reports_received(event.originator_id, event.reports)

    @policy.register
    def _(self, event: GatewayCall.Refused, work: Work) -> None:
        decider = self._decider_for(event.payment_id, work)
        if event.reason == Refusal.DUPLICATE:
            decider.call_lost(event.originator_id)
            return
        pause_ms = event.retry_after_ms
        if event.reason == Refusal.RATE_LIMITED:
            pause_ms = pause_ms or RATE_LIMIT_PAUSE_MS
        code = "gateway_unavailable" if event.reason == Refusal.GAVE_UP else "gateway_refused"
        failure = Failure(code, event.message, event.code)
        decider.call_refused(event.originator_id, failure, pause_ms)

    @policy.register
    def _(self, event: GatewayCall.OutcomeUnknown, work: Work) -> None:
        self._decider_for(event.payment_id, work).call_lost(event.originator_id)

    @policy.register
    def _(self, event: Notified, work: Work) -> None:
        if event.payment_id is None:
            return
        decider = self._decider_for(event.payment_id, work)
        if event.report is None:
            decider.hurry("notification_unreadable")
        else:
            decider.notified(event.originator_id, event.report)

    @policy.register
    def _(self, event: HandedOver, work: Work) -> None:
        if event.told in FINAL_WORDS:
            is_closed = event.told is not PaymentEventType.PAYMENT_COMPLETED
            self._decider_for(event.payment_id, work).merchant_told(is_closed=is_closed)
