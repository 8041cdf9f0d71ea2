"""One notification from a gateway whose signature was right."""

from enum import StrEnum
from typing import Any
from uuid import UUID

from domain.errors import DomainError
from domain.event import PaymentEventType, PaySagaAggregate
from domain.gateway_report import GatewayReport
from domain.sealed import Sealed

UNKNOWN_PAYMENT = "unknown_payment"
"""Why a webhook has failed whose payment is not known; it may be matched later."""

UNREADABLE = "unreadable"
"""Why a webhook has failed that says nothing to rely on; what is wrong follows after a colon."""

TIMES_SEEN_MAX = 100
"""How often a webhook is seen at most: of more repetitions nothing is recorded."""


class WebhookUnreadable(DomainError):
    """There is nothing in the webhook that a saga could be told (contract 5)."""

    code = "webhook_unreadable"


class PaymentUnknown(DomainError):
    """No payment fits the webhook so far."""

    code = UNKNOWN_PAYMENT


class WebhookStatus(StrEnum):
    """Received, then processed or failed; nothing in between. A webhook that is matched with its
    payment later, or replayed, is received once more."""

    RECEIVED = "received"
    PROCESSED = "processed"
    FAILED = "failed"


class Webhook(PaySagaAggregate):
    """A notification, kept with the customer's own data sealed. One that cannot be read has no
    `report`, and has failed."""

    class Received(PaySagaAggregate.Created):
        event_type = PaymentEventType.WEBHOOK_RECEIVED
        payment_id: UUID | None
        provider: str
        report: GatewayReport | None
        payload: dict[str, Any]
        personal: Sealed | None
        signature: str
        headers: dict[str, str]
        ip_address: str | None

    class Repeated(PaySagaAggregate.Event):
        """`body_digest` is the SHA-256 of what came, in hex: it may have been reworded."""

        event_type = PaymentEventType.WEBHOOK_REPEATED
        times_seen: int
        body_digest: str

        def apply(self, aggregate: "Webhook") -> None:
            aggregate.times_seen = self.times_seen

    class Matched(PaySagaAggregate.Event):
        """The payment turned up that was not known when the webhook came."""

        event_type = PaymentEventType.WEBHOOK_MATCHED
        payment_id: UUID
        report: GatewayReport

        def apply(self, aggregate: "Webhook") -> None:
            aggregate.payment_id = self.payment_id
            aggregate.begin_again()

    class Replayed(PaySagaAggregate.Event):
        """An operator (`actor`) hands the report to the saga again."""

        event_type = PaymentEventType.WEBHOOK_REPLAYED
        payment_id: UUID
        report: GatewayReport
        actor: str

        def apply(self, aggregate: "Webhook") -> None:
            aggregate.payment_id = self.payment_id
            aggregate.begin_again()

    class Processed(PaySagaAggregate.Event):
        event_type = PaymentEventType.WEBHOOK_PROCESSED
        payment_id: UUID
        outcome: str

        def apply(self, aggregate: "Webhook") -> None:
            aggregate.status = WebhookStatus.PROCESSED
            aggregate.outcome = self.outcome

    class Failed(PaySagaAggregate.Event):
        event_type = PaymentEventType.WEBHOOK_FAILED
        reason: str

        def apply(self, aggregate: "Webhook") -> None:
            aggregate.status = WebhookStatus.FAILED
            aggregate.reason = self.reason

    def __init__(
        self, payment_id: UUID | None, provider: str, report: GatewayReport | None
    ) -> None:
        self.payment_id = payment_id
        self.provider = provider
        self.report = report
        self.status = WebhookStatus.RECEIVED
        self.outcome: str | None = None
        self.reason: str | None = None
        self.times_seen = 1

    @classmethod
    def receive(cls, webhook_id: UUID, **received: Any) -> "Webhook":
        """Records a verified notification; the fields are those of `Received`."""
        return cls._create(cls.Received, id=webhook_id, **received)

    @property
    def is_unmatched(self) -> bool:
        """True while its payment is not known."""
        is_failed = self.status is WebhookStatus.FAILED
        return is_failed and self.reason == UNKNOWN_PAYMENT and self.report is not None

    def begin_again(self) -> None:
        """The saga is to be told once more: nothing has come of that yet."""
        self.status = WebhookStatus.RECEIVED
        self.outcome = self.reason = None

    def see_again(self, body_digest: str) -> None:
        """The same message came once more; that has no second effect."""
        if self.times_seen < TIMES_SEEN_MAX:
            times_seen = self.times_seen + 1
            self.trigger_event(self.Repeated, times_seen=times_seen, body_digest=body_digest)

    def match(self, payment_id: UUID) -> None:
        """Its payment has turned up: the saga is told. Nothing to do when it was known before."""
        if self.is_unmatched:
            self.trigger_event(self.Matched, payment_id=payment_id, report=self.report)

    def replay(self, actor: str, payment_id: UUID | None) -> None:
        """The saga is told once more what it was told before, the same way.

        Raises:
            WebhookUnreadable: there is nothing to tell.
            PaymentUnknown: there is nobody to be told; `payment_id` is the payment found now.
        """
        if self.report is None:
            raise WebhookUnreadable(
                "nothing in this webhook can be relied on: compare its payload with the payment, "
                "and let the saga ask the gateway"
            )
        found = self.payment_id or payment_id
        if found is None:
            raise PaymentUnknown("no payment has this cart or this transaction so far")
        self.trigger_event(self.Replayed, payment_id=found, report=self.report, actor=actor)

    def process(self, payment_id: UUID, outcome: str) -> None:
        """The saga has taken note; `outcome` is its verdict."""
        if self.status is WebhookStatus.RECEIVED:
            self.trigger_event(self.Processed, payment_id=payment_id, outcome=outcome)

    def fail(self, reason: str) -> None:
        """Nothing can be made of it: its payment is not known, or it cannot be read."""
        if self.status is WebhookStatus.RECEIVED:
            self.trigger_event(self.Failed, reason=reason)
