"""The port to a payment gateway: what is asked of one, and the three things that can come of it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from domain.client import ClientInfo
from domain.gateway_report import GatewayReport
from domain.money import Money


@dataclass(frozen=True)
class PageRequest:
    """Asks for a hosted page on which one customer can pay once."""

    cart_id: str
    amount: Money
    description: str
    capture: bool
    """True for a sale; False for an authorization to be captured later."""
    payment_method: str
    client: ClientInfo | None
    return_url: str
    callback_url: str
    page_ttl_minutes: int


@dataclass(frozen=True)
class FollowUpRequest:
    """Asks for money of an earlier transaction to move: a refund, a capture or a void."""

    cart_id: str
    amount: Money
    description: str
    transaction_ref: str
    callback_url: str


@dataclass(frozen=True)
class HostedPage:
    """The gateway's page for one payment, and the transaction that it will settle."""

    transaction_ref: str
    url: str


@dataclass(frozen=True)
class Succeeded:
    """The gateway did what was asked.

    `page` is set for a page request. `reports` holds what the gateway said of transactions: one
    for a follow-up or a query by reference, any number (none: not known) for a query by cart.
    A follow-up whose report is declined or pending is `Succeeded` too: the gateway answered.
    """

    page: HostedPage | None = None
    reports: tuple[GatewayReport, ...] = ()


class Refusal(StrEnum):
    """Why the gateway would not do it. Nothing was done in any of these cases."""

    INVALID_REQUEST = "invalid_request"
    AUTHENTICATION = "authentication"
    DUPLICATE = "duplicate"
    """The same cart was asked for moments ago: it may exist, so it must be asked after."""
    RATE_LIMITED = "rate_limited"
    GAVE_UP = "gave_up"
    """We did not even ask: the payment had waited long enough."""


@dataclass(frozen=True)
class Refused:
    """The gateway said no. `code` and `message` are its own words; `retry_after_ms` is how long
    it asked to be left alone (only with `RATE_LIMITED`)."""

    reason: Refusal
    code: str
    message: str
    retry_after_ms: int | None = None


@dataclass(frozen=True)
class Unknown:
    """It may have happened, or not: a time-out, a cut connection, a 5xx, an unreadable answer.

    `retry_after_ms` is how long the gateway asked to be left alone, where it did.
    """

    reason: str
    is_timeout: bool = False
    retry_after_ms: int | None = None


Outcome = Succeeded | Refused | Unknown


class NotAttempted(Exception):
    """No call went out at all (the circuit is open): ask again after `retry_after_ms`."""

    def __init__(self, reason: str, retry_after_ms: int) -> None:
        super().__init__(f"nothing was sent: {reason}")
        self.reason = reason
        self.retry_after_ms = retry_after_ms


class PaymentGateway(Protocol):
    """A payment gateway. Implementations never raise for what the gateway or the network does:
    every call comes back as one of the three outcomes. Only a guard in front of one raises
    `NotAttempted`, when it did not let the call through."""

    @property
    def name(self) -> str:
        """The provider's name, as shown in `gatewayProvider`."""
        ...

    def open_page(self, request: PageRequest) -> Outcome:
        """Opens a hosted page. Repeating with a fresh cart id is harmless: nobody saw the first."""
        ...

    def query_transaction(self, transaction_ref: str) -> Outcome:
        """Asks how one transaction stands. A transaction the gateway does not know is
        `Succeeded` without reports."""
        ...

    def query_cart(self, cart_id: str) -> Outcome:
        """Asks for all transactions of a cart, newest first. No reports: it is not known."""
        ...

    def refund(self, request: FollowUpRequest) -> Outcome:
        """Gives back money of a sale or a capture. Never repeat it without proof that it failed."""
        ...

    def capture(self, request: FollowUpRequest) -> Outcome:
        """Takes authorized money. Never repeat it without proof that it failed."""
        ...

    def void(self, request: FollowUpRequest) -> Outcome:
        """Lets go of authorized money that was not captured."""
        ...


@dataclass(frozen=True)
class Unreadable:
    """A callback whose signature was right but which says nothing to rely on. `reason` tells why;
    the rest is what it still names, for people to find it by: never a ground for a decision."""

    reason: str
    cart_id: str = ""
    transaction_ref: str | None = None
    previous_ref: str | None = None


@dataclass(frozen=True)
class GatewayNotification:
    """A callback whose signature was right, ready to be recorded.

    `payload` is what of the body may be kept in the clear; `personal` is the rest, to be sealed.
    """

    provider: str
    report: GatewayReport | Unreadable
    payload: dict[str, object]
    personal: dict[str, object]
    signature: str
    received_at: datetime
