"""The log of notifications that gateways sent us."""

from collections.abc import Mapping
from hashlib import sha256
from uuid import UUID, uuid5

from eventsourcing.persistence import IntegrityError

from application.event_log import EventLog
from application.payment_gateway import GatewayNotification
from application.ports import Clock, Persistence
from application.vault import Vault
from domain.gateway_report import payment_id_of
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
        is_known: bool,
    ) -> UUID:
        """Records a verified notification and returns its id; the saga works afterwards.

        The same bytes are the same webhook: a repetition is recorded as such and has no second
        effect. `is_known` says whether we have the payment; if not the webhook has failed.
        """
        webhook_id = uuid5(WEBHOOK_NAMESPACE, sha256(body).hexdigest())
        payment_id = payment_id_of(notification.report.cart_id) if is_known else None
        subject = f"payment:{payment_id or webhook_id}"
        personal = notification.personal
        webhook = Webhook.receive(
            webhook_id,
            payment_id=payment_id,
            provider=notification.provider,
            report=notification.report,
            payload=notification.payload,
            personal=self.vault.seal(subject, personal) if personal else None,
            signature=notification.signature,
            headers=dict(headers),
            ip_address=ip_address,
        )
        if payment_id is None:
            webhook.fail("unknown_payment")
        try:
            self.record(webhook)
        except IntegrityError:
            self.change(webhook_id, Webhook.see_again)
        return webhook_id
