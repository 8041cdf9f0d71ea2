"""What a saga remembers: the calls it asked for, money on its way back, how it will close."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain.gateway_call import Operation
from domain.gateway_report import GatewayReport
from domain.money import Money
from domain.payment_terms import Failure, PaymentStatus

GATEWAY = "gateway"
"""Who ends a reason for parking when it is not an operator."""


@dataclass(frozen=True)
class Call:
    """Something the saga asked of the gateway. `about` is the call that a query asks after."""

    call_id: UUID
    operation: Operation
    due_at: datetime
    cart_id: str | None = None
    transaction_ref: str | None = None
    amount: Money | None = None
    about: UUID | None = None
    refund_id: UUID | None = None
    """The refund that a merchant asked for; None for money given back by compensation."""
    not_after: datetime | None = None
    """When the payment has waited long enough: later the call is not made any more."""
    tries: int = 1
    """How often in a row this was asked, each time without an answer that told anything."""

    @property
    def question(self) -> tuple[object, ...]:
        """What was asked: two calls that ask the same have it in common."""
        return (self.operation, self.cart_id, self.transaction_ref, self.about)


@dataclass
class MoneyReturn:
    """Money that must not be kept: what was paid with `transaction_ref` goes back."""

    transaction_ref: str
    amount: Money
    returned: Money

    @property
    def is_done(self) -> bool:
        """True when all of it is back with the customer."""
        return self.returned >= self.amount


@dataclass(frozen=True)
class Closing:
    """How a payment is to be closed once everything else is undone."""

    status: PaymentStatus
    failure: Failure | None = None
    cancellation_reason: str | None = None
    report: GatewayReport | None = None
