"""What a gateway says about one transaction, in words that no gateway owns."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from domain.money import Money

PROVIDER_PAYTABS = "paytabs"
"""The provider's name, as shown in `gatewayProvider` and in addresses."""


class TransactionKind(StrEnum):
    """What a transaction at the gateway does; `UNKNOWN` is believed in nothing."""

    SALE = "sale"
    AUTHORIZATION = "authorization"
    CAPTURE = "capture"
    VOID = "void"
    RELEASE = "release"
    REFUND = "refund"
    PAYMENT_REQUEST = "payment_request"
    UNKNOWN = "unknown"


class TransactionStatus(StrEnum):
    """How a transaction stands (PayTabs, section 4). `OPEN` is a page that was not used yet;
    an unheard-of letter is `UNKNOWN`: neither paid nor failed."""

    AUTHORISED = "authorised"
    ON_HOLD = "on_hold"
    PENDING = "pending"
    OPEN = "open"
    VOIDED = "voided"
    ERROR = "error"
    DECLINED = "declined"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"

    @property
    def is_final(self) -> bool:
        """True when the gateway will not change its mind about this transaction."""
        return self in FINAL_STATUSES

    @property
    def is_refusal(self) -> bool:
        """True when the transaction is over and moved no money."""
        return self.is_final and self is not TransactionStatus.AUTHORISED


FINAL_STATUSES = frozenset(
    {
        TransactionStatus.AUTHORISED,
        TransactionStatus.VOIDED,
        TransactionStatus.ERROR,
        TransactionStatus.DECLINED,
        TransactionStatus.EXPIRED,
        TransactionStatus.CANCELLED,
    }
)


@dataclass(frozen=True)
class GatewayReport:
    """One transaction as the gateway reported it, in a callback, an answer or a query.

    `amount` is what the transaction moved (PayTabs `tran_total`), not what the cart asked for;
    None where the gateway did not say. `code` is the gateway's own response code and `message`
    its text: for people, never for decisions. `instrument` is a masked card or method name.
    """

    transaction_ref: str
    kind: TransactionKind
    status: TransactionStatus
    cart_id: str
    amount: Money | None = None
    previous_ref: str | None = None
    code: str | None = None
    message: str | None = None
    instrument: str | None = None
    occurred_at: datetime | None = None

    @property
    def identity(self) -> tuple[str, str, str]:
        """What makes two notifications the same one (PayTabs, section 7.5)."""
        return (self.transaction_ref, self.kind, self.status)

    @property
    def is_clear(self) -> bool:
        """True when its kind and its status are ones that we know."""
        is_known = self.kind is not TransactionKind.UNKNOWN
        return is_known and self.status is not TransactionStatus.UNKNOWN


def cart_id_for(payment_id: UUID, purpose: str, number: int) -> str:
    """The cart id of one request to the gateway, derived so that it can be found again.

    `purpose` is one letter: "a" for a hosted page, "r" for a refund, "c" for money given back
    by compensation, "k" for a capture, "v" for a void. At most 64 characters (PayTabs, 2.1).
    """
    return f"{payment_id}-{purpose}{number}"


def payment_id_of(cart_id: str) -> UUID | None:
    """The payment that a cart id was derived from, or None when it is not one of ours."""
    try:
        return UUID(cart_id[:36])
    except ValueError:
        return None
