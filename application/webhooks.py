"""The log of notifications that gateways sent us."""

from collections.abc import Mapping
from hashlib import sha256
from uuid import UUID, uuid5

from eventsourcing.persistence import IntegrityError

from application.event_log import EventLog
from application.payment_gateway import GatewayNotification, Unreadable
from application.ports import Clock, Persistence
from application.vault import Vault, payment_subject
from domain.webhook import Webhook

WEBHOOK_NAMESPACE = UUID("0b0a8f6e-54a1-5f6b-9a51-3c2f9a4c7d10")


class Webhooks(EventLog[Webhook]):
    """Holds `Webhook`."""

    name = "Webhooks"

    def __init__(self, persistence: Persistence, clock: Clock, vault: Vault) -> None:
        super().__init__(persistence, clock)
        self.vault = vault

    def receive(
        self,
        notification: GatewayNotification,
        *,
        body: bytes,
        headers: Mapping[str, str],
        ip_address: str | None,
        payment_id: UUID | None,
    ) -> UUID:
        """Records a verified notification and returns its id; the saga works afterwards.

        The same bytes are the same webhook: a repetition is recorded as such and has no second
        effect. `payment_id` is the payment that it speaks of; without one, or when nothing can be
        relied on in it, the webhook has failed at once.
        """
        webhook_id = uuid5(WEBHOOK_NAMESPACE, sha256(body).hexdigest())
        said = notification.report
        subject = payment_subject(payment_id or webhook_id)
        personal = notification.personal
        webhook = Webhook.receive(
            webhook_id,
            payment_id=payment_id,
            provider=notification.provider,
            report=None if isinstance(said, Unreadable) else said,
            payload=notification.payload,
            personal=self.vault.seal(subject, personal) if personal else None,
            signature=notification.signature,
            headers=dict(headers),
            ip_address=ip_address,
        )
        if isinstance(said, Unreadable):
            webhook.fail(f"unreadable: {said.reason}")
        elif payment_id is None:
            webhook.fail("unknown_payment")
        try:
            self.record(webhook)
        except IntegrityError:
            self.change(webhook_id, Webhook.see_again)
        return webhook_id
