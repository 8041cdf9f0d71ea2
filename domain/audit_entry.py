"""What somebody asked of a payment and what came of it, kept for auditors."""

from typing import Any
from uuid import UUID

from domain.event import PaymentEventType, PaySagaAggregate, Priority

ACCEPTED = "accepted"
REFUSED = "refused"


class AuditEntry(PaySagaAggregate):
    """One command that a person or a key gave to a payment (contract 6, `payment.audit_log`)."""

    class Recorded(PaySagaAggregate.Created):
        """`outcome` is `accepted` or `refused`; `reason` is the caller's own, or the code of the
        refusal."""

        event_type = PaymentEventType.PAYMENT_AUDIT_LOG
        priority = Priority.LOW
        payment_id: UUID
        actor: str
        action: str
        outcome: str
        changes: dict[str, Any]
        reason: str | None

    def __init__(self, payment_id: UUID) -> None:
        self.payment_id = payment_id

    @classmethod
    def record(
        cls,
        entry_id: UUID,
        *,
        payment_id: UUID,
        actor: str,
        action: str,
        outcome: str,
        changes: dict[str, Any],
        reason: str | None,
    ) -> "AuditEntry":
        """Records a command; `changes` are the members of the payment that it changed."""
        return cls._create(
            cls.Recorded,
            id=entry_id,
            payment_id=payment_id,
            actor=actor,
            action=action,
            outcome=outcome,
            changes=changes,
            reason=reason,
        )
