"""One thing asked of the gateway, and what came of it."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from domain.event import PaymentEventType, PaySagaAggregate, Priority
from domain.gateway_report import GatewayReport, TransactionKind
from domain.money import Money


class Operation(StrEnum):
    """What a gateway can be asked for."""

    OPEN_PAGE = "open_page"
    QUERY_TRANSACTION = "query_transaction"
    QUERY_CART = "query_cart"
    REFUND = "refund"
    CAPTURE = "capture"
    VOID = "void"

    @property
    def is_follow_up(self) -> bool:
        """True for calls that move money of an earlier transaction: never repeated unproven."""
        return self in {Operation.REFUND, Operation.CAPTURE, Operation.VOID}

    @property
    def is_query(self) -> bool:
        """True for calls that change nothing and may be repeated at will."""
        return self in {Operation.QUERY_TRANSACTION, Operation.QUERY_CART}


FOLLOW_UP_KINDS: dict[Operation, frozenset[TransactionKind]] = {
    Operation.REFUND: frozenset({TransactionKind.REFUND}),
    Operation.VOID: frozenset({TransactionKind.VOID, TransactionKind.RELEASE}),
    Operation.CAPTURE: frozenset({TransactionKind.CAPTURE, TransactionKind.SALE}),
}
"""What the gateway may call a follow-up: a partial void is a release, a capture may be a sale
(PayTabs, sections 6 and 7.5)."""


class CallStatus(StrEnum):
    """Three outcomes matter, never two (design 3)."""

    REQUESTED = "requested"
    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class GatewayCall(PaySagaAggregate):
    """A call to the gateway, recorded when its outcome is known, or known to be unknown."""

    class Requested(PaySagaAggregate.Created):
        event_type = PaymentEventType.GATEWAY_REQUESTED
        priority = Priority.LOW
        payment_id: UUID
        operation: Operation
        cart_id: str | None
        transaction_ref: str | None
        amount: Money | None
        sent_at: datetime

    class Succeeded(PaySagaAggregate.Event):
        event_type = PaymentEventType.GATEWAY_SUCCEEDED
        payment_id: UUID
        gateway: str
        transaction_ref: str | None
        page_url: str | None
        reports: list[GatewayReport]

        def apply(self, aggregate: "GatewayCall") -> None:
            aggregate.status = CallStatus.SUCCEEDED

    class Refused(PaySagaAggregate.Event):
        event_type = PaymentEventType.GATEWAY_REFUSED
        priority = Priority.HIGH
        payment_id: UUID
        reason: str
        code: str
        message: str
        retry_after_ms: int | None

        def apply(self, aggregate: "GatewayCall") -> None:
            aggregate.status = CallStatus.REFUSED

    class OutcomeUnknown(PaySagaAggregate.Event):
        event_type = PaymentEventType.GATEWAY_UNKNOWN
        priority = Priority.HIGH
        payment_id: UUID
        reason: str

        def apply(self, aggregate: "GatewayCall") -> None:
            aggregate.status = CallStatus.UNKNOWN

    def __init__(self, payment_id: UUID, operation: Operation) -> None:
        self.payment_id = payment_id
        self.operation = operation
        self.status = CallStatus.REQUESTED

    @classmethod
    def request(cls, call_id: UUID, **asked: Any) -> "GatewayCall":
        """Records what was asked; the fields are those of `Requested`."""
        return cls._create(cls.Requested, id=call_id, **asked)

    def succeed(
        self,
        gateway: str,
        transaction_ref: str | None,
        page_url: str | None,
        reports: list[GatewayReport],
    ) -> None:
        """The gateway answered and did what was asked."""
        if self.status is CallStatus.REQUESTED:
            self.trigger_event(
                self.Succeeded,
                payment_id=self.payment_id,
                gateway=gateway,
                transaction_ref=transaction_ref,
                page_url=page_url,
                reports=reports,
            )

    def refuse(self, reason: str, code: str, message: str, retry_after_ms: int | None) -> None:
        """The gateway said no; nothing was done."""
        if self.status is CallStatus.REQUESTED:
            self.trigger_event(
                self.Refused,
                payment_id=self.payment_id,
                reason=reason,
                code=code,
                message=message,
                retry_after_ms=retry_after_ms,
            )

    def lose(self, reason: str) -> None:
        """Nobody can say whether it happened; it must be asked after before anything else."""
        if self.status is CallStatus.REQUESTED:
            self.trigger_event(self.OutcomeUnknown, payment_id=self.payment_id, reason=reason)
