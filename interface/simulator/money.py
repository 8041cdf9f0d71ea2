"""Reads and prints amounts the way PayTabs does: numbers come in, strings with decimals go out."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from types import MappingProxyType

from iso4217 import Currency

AMOUNT_MIN = Decimal("0.01")
AMOUNT_MAX = Decimal("9999999999.99")
AMOUNT_TEXT_LENGTH_MAX = 32

DECIMALS: Mapping[str, int] = MappingProxyType(
    {str(item.code): item.exponent for item in Currency if item.exponent is not None}
)
"""Digits after the point for every ISO 4217 currency that has a minor unit (or is whole)."""


class InvalidAmountError(ValueError):
    """The amount is not a number, out of range, or finer than its currency allows."""


def parse_amount(value: object, currency: str) -> Decimal:
    """The amount in major units, at the currency's own precision.

    Numbers and numeric strings are taken, as are extra zeros ("149.500" SAR), because official
    plugins send them. Raises InvalidAmountError. Source: PayTabs, section 2.1 of docs/paytabs.md.
    """
    amount = _number(value)
    if not AMOUNT_MIN <= amount <= AMOUNT_MAX:
        raise InvalidAmountError(f"must be between {AMOUNT_MIN} and {AMOUNT_MAX}")
    rounded = amount.quantize(Decimal(1).scaleb(-DECIMALS[currency]))
    if rounded != amount:
        raise InvalidAmountError(f"has more than {DECIMALS[currency]} decimals for {currency}")
    return rounded


def amount_text(amount: Decimal, currency: str) -> str:
    """The amount as PayTabs prints it: "149.50" SAR, "1.500" OMR, "150" JPY."""
    return f"{amount:.{DECIMALS[currency]}f}"


def _number(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise InvalidAmountError("must be a number")
    text = str(value)
    if len(text) > AMOUNT_TEXT_LENGTH_MAX:
        raise InvalidAmountError("has too many digits")
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise InvalidAmountError("must be a number") from None
    if not amount.is_finite():
        raise InvalidAmountError("must be a finite number")
    return amount
