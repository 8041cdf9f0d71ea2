"""One notification from a gateway whose signature was right."""

from enum import StrEnum
from typing import Any
from uuid import UUID

from domain.event import PaymentEventType, PaySagaAggregate
from domain.gateway_report import GatewayReport
from domain.sealed import Sealed


class WebhookStatus(StrEnum):
    """Received, then processed or failed; nothing in between."""

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
        event_type = PaymentEventType.WEBHOOK_REPEATED

        def apply(self, aggregate: "Webhook") -> None:
            aggregate.times_seen += 1

    class Processed(PaySagaAggregate.Event):
        event_type = PaymentEventType.WEBHOOK_PROCESSED
        payment_id: UUID
        outcome: str

        def apply(self, aggregate: "Webhook") -> None:
            aggregate.status = WebhookStatus.PROCESSED

    class Failed(PaySagaAggregate.Event):
        event_type = PaymentEventType.WEBHOOK_FAILED
        reason: str

        def apply(self, aggregate: "Webhook") -> None:
            aggregate.status = WebhookStatus.FAILED

    def __init__(self, payment_id: UUID | None, report: GatewayReport | None) -> None:
        self.payment_id = payment_id
        self.report = report
        self.status = WebhookStatus.RECEIVED
        self.times_seen = 1

    @classmethod
    def receive(cls, webhook_id: UUID, **received: Any) -> "Webhook":
        """Records a verified notification; the fields are those of `Received`."""
        return cls._create(cls.Received, id=webhook_id, **received)

    def see_again(self) -> None:
        """The same bytes came once more; that has no second effect."""
        self.trigger_event(self.Repeated)

    def process(self, payment_id: UUID, outcome: str) -> None:
        """The saga has taken note; `outcome` is its verdict."""
        if self.status is WebhookStatus.RECEIVED:
            self.trigger_event(self.Processed, payment_id=payment_id, outcome=outcome)

    def fail(self, reason: str) -> None:
        """Nothing can be made of it: its payment is not known, or it cannot be read."""
        if self.status is WebhookStatus.RECEIVED:
            self.trigger_event(self.Failed, reason=reason)
