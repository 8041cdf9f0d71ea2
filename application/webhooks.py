"""The log of notifications that gateways sent us."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from uuid import UUID, uuid5

from eventsourcing.persistence import IntegrityError

from application.event_log import EventLog
from application.payment_gateway import GatewayNotification, Unreadable
from application.ports import Clock, Persistence
from application.rows import RowChange
from application.vault import Vault
from domain.gateway_report import GatewayReport
from domain.money import written
from domain.payment import Payment
from domain.sealed import Sealed
from domain.webhook import UNKNOWN_PAYMENT, UNREADABLE, Webhook

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
        payment: Payment | None,
    ) -> UUID:
        """Records a verified notification and returns its id; the saga works afterwards.

        What says the same is the same webhook, see `webhook_id_of`: a repetition is recorded as
        such and has no second effect. `payment` is the payment that it speaks of; without one,
        or when nothing can be relied on in it, the webhook has failed at once.
        """
        digest = sha256(body).hexdigest()
        webhook_id = webhook_id_of(notification.report, digest)
        webhook = self._received(webhook_id, notification, headers, ip_address, payment)
        try:
            self.record(webhook)
        except IntegrityError:
            self._see_again(webhook_id, digest, payment.id if payment else None)
        return webhook_id

    def _see_again(self, webhook_id: UUID, body_digest: str, payment_id: UUID | None) -> None:
        """In a burst of repetitions some are not recorded: what they say is, and it is answered."""

        def decide(webhook: Webhook) -> None:
            webhook.see_again(body_digest)
            if payment_id is not None:
                webhook.match(payment_id)

        with suppress(IntegrityError):
            self.change(webhook_id, decide)

    def _received(
        self,
        webhook_id: UUID,
        notification: GatewayNotification,
        headers: Mapping[str, str],
        ip_address: str | None,
        payment: Payment | None,
    ) -> Webhook:
        said = notification.report
        webhook = Webhook.receive(
            webhook_id,
            payment_id=payment.id if payment else None,
            provider=notification.provider,
            report=None if isinstance(said, Unreadable) else said,
            payload=notification.payload,
            personal=self._sealed(webhook_id, notification.personal, payment),
            signature=notification.signature,
            headers=dict(headers),
            ip_address=ip_address,
        )
        if isinstance(said, Unreadable):
            webhook.fail(f"{UNREADABLE}: {said.reason}")
        elif payment is None:
            webhook.fail(UNKNOWN_PAYMENT)
        return webhook

    def _sealed(
        self, webhook_id: UUID, personal: Mapping[str, object], payment: Payment | None
    ) -> Sealed | None:
        """Before its payment is known a notification is sealed under its own id."""
        if not personal:
            return None
        client, known_by = (payment.client, payment.id) if payment else (None, webhook_id)
        return self.vault.seal_beside(client, known_by, personal)

    def match(self, webhook_id: UUID, payment_id: UUID, rows: Sequence[RowChange] = ()) -> Webhook:
        """The payment of a webhook has turned up; harmless when it was known before.

        Raises:
            AggregateNotFoundError: there is no such webhook.
        """
        return self.change(webhook_id, lambda webhook: webhook.match(payment_id), rows)

    def replay(self, webhook_id: UUID, actor: str, payment_id: UUID | None) -> Webhook:
        """An operator has the saga told again; harmless however often.

        Raises:
            AggregateNotFoundError: there is no such webhook.
            WebhookUnreadable, PaymentUnknown: see `Webhook.replay`.
        """
        return self.change(webhook_id, lambda webhook: webhook.replay(actor, payment_id))


def webhook_id_of(said: GatewayReport | Unreadable, body_digest: str) -> UUID:
    """The id of a notification, the same for all that say the same: the same transaction, type
    and status (PayTabs, section 7.5), and of the same money. Where that is not clear only the
    same bytes are the same notification."""
    if isinstance(said, Unreadable) or not said.is_clear:
        return uuid5(WEBHOOK_NAMESPACE, body_digest)
    amount = written(said.amount) if said.amount else ""
    what = (*said.identity, amount, said.cart_id, said.previous_ref or "")
    return uuid5(WEBHOOK_NAMESPACE, "|".join(what))
