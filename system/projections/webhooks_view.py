"""The list of notifications, as operators search it."""

from typing import Any

from eventsourcing.dispatch import singledispatchmethod

from application.rows import Patch, RowChange, Upsert
from domain.event import PaySagaAggregate
from domain.webhook import Webhook, WebhookStatus
from system.followers.base import Projection
from system.persistence.tables import WEBHOOKS_VIEW


class WebhooksView(Projection):
    """Follows Webhooks."""

    name = "WebhooksView"
    tables = (WEBHOOKS_VIEW.name,)

    @singledispatchmethod
    def project(self, event: Any) -> list[RowChange]:
        """The row changes that an event means."""
        return []

    @project.register
    def _(self, event: Webhook.Received) -> list[RowChange]:
        report = event.report
        values = {
            "provider": event.provider,
            "status": WebhookStatus.RECEIVED.value,
            "payment_id": event.payment_id,
            "transaction_ref": report.transaction_ref if report else None,
            "transaction_kind": report.kind.value if report else None,
            "transaction_status": report.status.value if report else None,
            "times_seen": 1,
            "ip_address": event.ip_address,
            "version": event.originator_version,
            "received_at": event.timestamp,
            "updated_at": event.timestamp,
            "correlation_id": event.metadata.correlation_id,
        }
        return [Upsert(WEBHOOKS_VIEW.name, (event.originator_id,), values)]

    @project.register
    def _(self, event: Webhook.Repeated) -> list[RowChange]:
        return _patch(event, times_seen=event.times_seen)

    @project.register
    def _(self, event: Webhook.Matched) -> list[RowChange]:
        return _patch(event, payment_id=event.payment_id, **_BEGUN_AGAIN)

    @project.register
    def _(self, event: Webhook.Replayed) -> list[RowChange]:
        return _patch(event, payment_id=event.payment_id, **_BEGUN_AGAIN)

    @project.register
    def _(self, event: Webhook.Processed) -> list[RowChange]:
        return _patch(event, status=WebhookStatus.PROCESSED.value, outcome=event.outcome)

    @project.register
    def _(self, event: Webhook.Failed) -> list[RowChange]:
        return _patch(event, status=WebhookStatus.FAILED.value, reason=event.reason)


def webhook_row(webhook: Webhook) -> dict[str, Any]:
    """The row that the view shows of a notification, made from the notification itself; without
    where it came from, which it does not remember."""
    report = webhook.report
    return {
        "webhook_id": webhook.id,
        "status": webhook.status.value,
        "payment_id": webhook.payment_id,
        "transaction_ref": report.transaction_ref if report else None,
        "transaction_kind": report.kind.value if report else None,
        "transaction_status": report.status.value if report else None,
        "outcome": webhook.outcome,
        "reason": webhook.reason,
        "times_seen": webhook.times_seen,
        "version": webhook.version,
        "received_at": webhook.created_on,
        "updated_at": webhook.modified_on,
    }


_BEGUN_AGAIN: dict[str, Any] = {
    "status": WebhookStatus.RECEIVED.value,
    "outcome": None,
    "reason": None,
}


def _patch(event: PaySagaAggregate.Event, **columns: Any) -> list[RowChange]:
    stamp = {"version": event.originator_version, "updated_at": event.timestamp}
    return [Patch(WEBHOOKS_VIEW.name, (event.originator_id,), {**columns, **stamp})]
