"""Reads what PayTabs says of one transaction into a report that no gateway owns."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from domain.gateway_report import (
    GatewayReport,
    TransactionKind,
    TransactionStatus,
    payment_id_of,
)
from domain.money import Money
from interface.paytabs.amounts import UnreadableAmount, read_amount
from interface.paytabs.cards import mask_card_numbers, mask_instrument

_KINDS = {
    "sale": TransactionKind.SALE,
    "auth": TransactionKind.AUTHORIZATION,
    "capture": TransactionKind.CAPTURE,
    "void": TransactionKind.VOID,
    "release": TransactionKind.RELEASE,
    "refund": TransactionKind.REFUND,
    "payment request": TransactionKind.PAYMENT_REQUEST,
}
_STATUSES = {
    "A": TransactionStatus.AUTHORISED,
    "H": TransactionStatus.ON_HOLD,
    "P": TransactionStatus.PENDING,
    "V": TransactionStatus.VOIDED,
    "E": TransactionStatus.ERROR,
    "D": TransactionStatus.DECLINED,
    "X": TransactionStatus.EXPIRED,
    "C": TransactionStatus.CANCELLED,
}
_REFERENCE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_NAMELESS = frozenset({"", "unknown"})
_MASK_SIGNS = frozenset("#*•")
CODE_LENGTH_MAX = 64
MESSAGE_LENGTH_MAX = 500
INSTRUMENT_LENGTH_MAX = 100


class UnreadableReport(ValueError):
    """A transaction was described in a way that cannot be relied on; the message says where."""


def read_report(transaction: object) -> GatewayReport:
    """The report of one transaction from an answer, a query element or a callback body.

    The kind is what the gateway performed (`tran_type`); `original_tran_type`, what had been
    asked, decides nothing (PayTabs, section 5). Without a `payment_result` the page was not used
    yet: the status is `OPEN` and no amount moved.

    Raises:
        UnreadableReport: not an object, no transaction reference, or a field of the wrong type.
    """
    if not isinstance(transaction, Mapping):
        raise UnreadableReport("a transaction is not a JSON object")
    result = transaction.get("payment_result")
    outcome = object_of(transaction, "payment_result")
    return GatewayReport(
        transaction_ref=reference_of(transaction),
        kind=_kind(text_of(transaction, "tran_type")),
        status=TransactionStatus.OPEN if result is None else _status(outcome),
        cart_id=_cart_id(text_of(transaction, "cart_id") or ""),
        amount=None if result is None else _moved(transaction),
        previous_ref=optional_reference_of(transaction, "previous_tran_ref"),
        code=shown(text_of(outcome, "response_code"), CODE_LENGTH_MAX),
        message=shown(text_of(outcome, "response_message"), MESSAGE_LENGTH_MAX),
        instrument=_instrument(object_of(transaction, "payment_info")),
        occurred_at=read_time(outcome.get("transaction_time")),
    )


def reference_of(transaction: Mapping[str, object]) -> str:
    """The transaction reference (`tran_ref`).

    Raises:
        UnreadableReport: there is none, or it is no reference.
    """
    reference = optional_reference_of(transaction, "tran_ref")
    if reference is None:
        raise UnreadableReport("tran_ref is missing")
    return reference


def optional_reference_of(transaction: Mapping[str, object], name: str) -> str | None:
    """A field that is a transaction reference; None when it is absent, null or empty.

    Raises:
        UnreadableReport: the field is something else.
    """
    reference = text_of(transaction, name)
    if reference is not None and not _REFERENCE.fullmatch(reference):
        raise UnreadableReport(f"{name} is not a transaction reference")
    return reference


def text_of(container: Mapping[str, object], name: str) -> str | None:
    """A field as text, numbers included; None when it is absent, null or empty.

    Raises:
        UnreadableReport: the field is neither text nor a number.
    """
    value = container.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UnreadableReport(f"{name} is not text")
    return str(value)


def object_of(container: Mapping[str, object], name: str) -> Mapping[str, object]:
    """A field that is an object; empty when it is absent, null or an empty array.

    Raises:
        UnreadableReport: the field is something else.
    """
    value = container.get(name)
    if value is None or value == []:
        return {}
    if not isinstance(value, Mapping):
        raise UnreadableReport(f"{name} is not a JSON object")
    return value


def amount_of(container: Mapping[str, object], name: str, currency: str | None) -> Money | None:
    """A field that is an amount in a currency; None when either is absent.

    Raises:
        UnreadableReport: the field is no amount, or the currency is none we know.
    """
    try:
        return read_amount(container.get(name), currency)
    except UnreadableAmount as error:
        raise UnreadableReport(f"{name}: {error}") from None


def shown(text: str | None, length_max: int) -> str | None:
    """A text fit to be kept and shown: card numbers masked, at most `length_max` characters."""
    return None if text is None else mask_card_numbers(text)[:length_max]


def read_time(value: object) -> datetime | None:
    """A time with `Z` or an offset, in UTC; None when it cannot be read (PayTabs, section 3.2)."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _cart_id(cart_id: str) -> str:
    """Our own cart ids to the letter, whatever digits they hold; foreign ones fit to be kept."""
    return cart_id if payment_id_of(cart_id) else mask_card_numbers(cart_id)


def _kind(tran_type: str | None) -> TransactionKind:
    name = " ".join((tran_type or "").replace("_", " ").casefold().split())
    return _KINDS.get(name, TransactionKind.UNKNOWN)


def _status(outcome: Mapping[str, object]) -> TransactionStatus:
    letter = text_of(outcome, "response_status")
    return _STATUSES.get(letter or "", TransactionStatus.UNKNOWN)


def _moved(transaction: Mapping[str, object]) -> Money | None:
    currency = text_of(transaction, "tran_currency") or text_of(transaction, "cart_currency")
    return amount_of(transaction, "tran_total", currency)


def _instrument(info: Mapping[str, object]) -> str | None:
    scheme = text_of(info, "card_scheme") or ""
    name = scheme if scheme.casefold() not in _NAMELESS else text_of(info, "payment_method") or ""
    description = text_of(info, "payment_description") or ""
    masked = mask_instrument(description)
    parts = [name, masked if _MASK_SIGNS.intersection(masked) else ""]
    text = mask_instrument(" ".join(part for part in parts if part))
    return text[:INSTRUMENT_LENGTH_MAX] or None
