"""The words in which a payment is spoken of: statuses, refusals, refunds and failures."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from domain.errors import DomainError
from domain.money import Money


class PaymentStatus(StrEnum):
    """Where a payment stands (design 2)."""

    INITIATED = "initiated"
    PROCESSING = "processing"
    AUTHORIZED = "authorized"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"


class RefundStatus(StrEnum):
    """Where one refund stands; `PENDING` until the gateway has given its word."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class RefundExceedsCaptured(DomainError):
    """The refunds asked for would add up to more than was captured."""

    code = "refund_exceeds_captured"


class CaptureExceedsAuthorized(DomainError):
    """More was captured than the customer authorized, or in another currency."""

    code = "capture_exceeds_authorized"


class CapturePending(DomainError):
    """Another capture of the payment is under way."""

    code = "capture_pending"


class UnknownRefund(DomainError):
    """No refund of this payment has that id."""

    code = "unknown_refund"


@dataclass(frozen=True)
class NextAction:
    """What the customer has to do next: pay on the page at `url`, before `expires_at`."""

    url: str
    expires_at: datetime


@dataclass(frozen=True)
class Failure:
    """Why a payment failed: a stable code, a text for people, and the gateway's own code."""

    code: str
    message: str
    gateway_code: str | None = None


@dataclass
class Refund:
    """Money given back, or on its way."""

    refund_id: UUID
    amount: Money
    status: RefundStatus
    reason: str | None
    created_at: datetime
    transaction_ref: str | None = None
