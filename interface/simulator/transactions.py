"""The words of the gateway as plain values: an order, a transaction, its result, its notices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum


class Kind(StrEnum):
    """What a merchant may ask for, as written in a request's ``tran_type``."""

    SALE = "sale"
    AUTH = "auth"
    REGISTER = "register"
    CAPTURE = "capture"
    VOID = "void"
    RELEASE = "release"
    REFUND = "refund"

    @property
    def shown(self) -> str:
        """The spelling used in answers: ``Sale``."""
        return self.value.capitalize()


PAGE_KINDS = frozenset({Kind.SALE, Kind.AUTH, Kind.REGISTER})
"""Kinds that open a hosted page; the others act on an earlier transaction."""

PAYMENT_REQUEST = "Payment Request"
"""What a sale becomes while its customer still has to pay in cash."""


class Channel(StrEnum):
    """Where a transaction was made (``paymentChannel``)."""

    PAGE = "Payment Page"
    API = "Transaction API"
    DASHBOARD = "Dashboard"


@dataclass(frozen=True, slots=True)
class Order:
    """What the merchant asked for. ``amount`` is in major units of ``currency``."""

    kind: Kind
    tran_class: str
    cart_id: str
    cart_description: str
    currency: str
    amount: Decimal
    previous_tran_ref: str | None = None
    return_url: str | None = None
    return_using_get: bool = False
    callback: str | None = None
    page_ttl_minutes: int | None = None
    customer_ref: str | None = None
    customer_details: Mapping[str, str] | None = None
    shipping_details: Mapping[str, str] | None = None
    user_defined: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class CardInfo:
    """The part of a card that may be kept: masked number, scheme, type and expiry."""

    masked: str
    scheme: str
    card_type: str
    expiry_month: int
    expiry_year: int


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a transaction: status letter, code, message (section 4 of docs/paytabs.md)."""

    status: str
    code: str
    message: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Transaction:
    """One line in the books.

    ``performed`` is what the gateway did, ``order.kind`` what it was asked to do. ``result`` is
    None while the hosted page is unused. ``root_cart_id`` is the cart of the first transaction of
    the chain, to which all its money belongs.
    """

    tran_ref: str
    sequence: int
    performed: str
    order: Order
    channel: Channel
    created_at: datetime
    trace: str
    acquirer_ref: str
    root_cart_id: str
    result: Result | None = None
    card: CardInfo | None = None
    page_token: str | None = None
    page_expires_at: datetime | None = None

    @property
    def status(self) -> str | None:
        """The status letter, None while the page is unused."""
        return self.result.status if self.result else None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to deliver a callback; ``status`` is None when no HTTP answer came."""

    tran_ref: str
    attempted_at: datetime
    status: int | None
    error: str | None = None
