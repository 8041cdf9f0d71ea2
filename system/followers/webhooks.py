"""Webhooks learn from the sagas what became of them."""

from typing import Any
from uuid import UUID

from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.system import ProcessApplication

from application.event_log import Work
from application.webhooks import Webhooks
from domain.payment_saga import PaymentSaga
from domain.webhook import Webhook
from system.followers.base import BatchFollower


class WebhooksFollower(Webhooks, ProcessApplication[UUID], BatchFollower):
    """Follows PaymentSagas."""

    name = "Webhooks"

    def foresees(self, event: Any) -> UUID | None:
        """See `BatchFollower.foresees`."""
        wanted: UUID = event.webhook_id
        return wanted

    @singledispatchmethod
    def policy(self, event: Any, work: Any) -> None:
        """Marks a webhook as processed; nothing about events without a rule."""

    @policy.register
    def _(self, event: PaymentSaga.NotificationHandled, work: Work) -> None:
        webhook: Webhook = work.get(event.webhook_id)
        webhook.process(event.payment_id, event.outcome.value)
