"""Operations hear of what sagas could not believe, of keys that the gateway refuses, and of what
people and keys asked of payments."""

from typing import Any
from uuid import UUID, uuid5

from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.system import ProcessApplication

from application.event_log import Work
from application.operations import Operations
from application.payment_gateway import Refusal
from domain.audit_entry import ACCEPTED, AuditEntry
from domain.event import PaySagaAggregate
from domain.gateway_call import GatewayCall
from domain.payment import Payment
from domain.payment_saga import PaymentSaga
from domain.security_incident import SecurityIncident
from system.followers.base import BatchFollower

GIVEN_BY_SOMEBODY = "api"
"""The source of events that a request with an API key recorded; followers name themselves."""


class OperationsFollower(Operations, ProcessApplication[UUID], BatchFollower):
    """Follows Payments, PaymentSagas and Gateway."""

    name = "Operations"

    @singledispatchmethod
    def policy(self, event: Any, work: Any) -> None:
        """Records a security event; nothing about events without a rule."""

    @policy.register
    def _(self, event: PaymentSaga.ReportDoubted, work: Work) -> None:
        work.add(
            SecurityIncident.record(
                uuid5(event.event_id, "security"),
                kind="gateway_report_doubted",
                severity="high",
                ip_address=None,
                detail={
                    "paymentId": str(event.payment_id),
                    "transactionRef": event.report.transaction_ref,
                    "reason": event.reason,
                },
            )
        )

    @policy.register
    def _(self, event: GatewayCall.Refused, work: Work) -> None:
        if event.reason == Refusal.AUTHENTICATION:
            work.add(
                SecurityIncident.record(
                    uuid5(event.event_id, "security"),
                    kind="gateway_key_refused",
                    severity="high",
                    ip_address=None,
                    detail={"paymentId": str(event.payment_id), "message": event.message},
                )
            )

    @policy.register
    def _(self, event: Payment.Initiated, work: Work) -> None:
        changes = {"status": "initiated", "amount": event.amount}
        _audit(work, event, event.originator_id, "create", changes)

    @policy.register
    def _(self, event: Payment.Cancelled, work: Work) -> None:
        changes = {"status": "cancelled"}
        _audit(work, event, event.originator_id, "cancel", changes, event.reason)

    @policy.register
    def _(self, event: Payment.CaptureRequested, work: Work) -> None:
        _audit(work, event, event.originator_id, "capture", {"amount": event.amount})

    @policy.register
    def _(self, event: Payment.RefundRequested, work: Work) -> None:
        changes = {"refundId": str(event.refund_id), "amount": event.amount}
        _audit(work, event, event.originator_id, "refund", changes, event.reason)

    @policy.register
    def _(self, event: PaymentSaga.Resumed, work: Work) -> None:
        """A command that ends several reasons for parking is one command, with one entry."""
        action = "compensate_saga" if event.is_given_up else "retry_saga"
        command = f"{action} {event.timestamp.isoformat()}"
        changes = {"saga": event.status.value, "parked": event.parked_detail}
        entry_id = uuid5(event.originator_id, command)
        if work.find(entry_id) is None:
            _audit(work, event, event.payment_id, action, changes, entry_id=entry_id)


def _audit(
    work: Work,
    event: PaySagaAggregate.Event,
    payment_id: UUID,
    action: str,
    changes: dict[str, Any],
    reason: str | None = None,
    entry_id: UUID | None = None,
) -> None:
    if event.metadata.source == GIVEN_BY_SOMEBODY:
        work.add(
            AuditEntry.record(
                entry_id or uuid5(event.event_id, "audit"),
                payment_id=payment_id,
                actor=event.metadata.user_id or "unknown",
                action=action,
                outcome=ACCEPTED,
                changes=changes,
                reason=reason,
            )
        )
