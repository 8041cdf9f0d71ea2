"""Money as the business means it: an exact decimal in major units with its ISO 4217 currency."""

from decimal import Decimal, InvalidOperation
from functools import cache

import iso4217
from moneyed import (
    CURRENCIES,
    Currency,
    CurrencyDoesNotExist,
    Money,
    add_currency,
    get_currency,
)

from domain.errors import DomainError

__all__ = [
    "AMOUNT_MAX",
    "Currency",
    "InvalidAmount",
    "InvalidCurrency",
    "Money",
    "minor_units",
    "money",
    "written",
]

AMOUNT_MAX = Decimal("9999999999.99")
"""The largest amount one payment may have, in major units (PayTabs, `cart_amount`)."""


class InvalidCurrency(DomainError):
    """The currency is not an ISO 4217 code that has a minor unit."""

    code = "invalid_currency"


class InvalidAmount(DomainError):
    """The amount is not a positive number that its currency can express."""

    code = "invalid_amount"


def _add_new_currencies() -> None:
    """ISO 4217 goes on; what `moneyed` does not know yet (XAD, XCG, ZWG) it is told here."""
    for each in iso4217.Currency:
        if each.exponent is not None and each.code not in CURRENCIES:
            name, sub_unit = each.currency_name, 10**each.exponent
            add_currency(each.code, f"{each.number:03}", name=name, sub_unit=sub_unit)


_add_new_currencies()


@cache
def minor_units(currency: str) -> int:
    """The number of decimals of a currency (ISO 4217): 2 for SAR, 3 for KWD, 0 for JPY.

    Raises:
        InvalidCurrency: the code is unknown, or the currency has no minor unit (XAU, XXX).
    """
    try:
        exponent = iso4217.Currency(currency).exponent
        get_currency(currency)
    except (ValueError, LookupError, CurrencyDoesNotExist):
        exponent = None
    if exponent is None:
        raise InvalidCurrency(
            f"'{currency}' is not a currency that can be paid in: "
            "send an ISO 4217 code in capitals, such as SAR, AED or KWD"
        )
    return int(exponent)


def money(amount: Decimal | int | str, currency: str) -> Money:
    """Money from an amount in major units, written with exactly the decimals of its currency.

    Raises:
        InvalidCurrency: see `minor_units`.
        InvalidAmount: not a finite positive number, too many decimals, or above `AMOUNT_MAX`.
    """
    decimals = minor_units(currency)
    value = _finite_decimal(amount)
    if value <= 0 or value > AMOUNT_MAX:
        raise InvalidAmount(f"the amount must be above 0 and at most {AMOUNT_MAX}, not {amount}")
    quantized = value.quantize(Decimal(1).scaleb(-decimals))
    if quantized != value:
        raise InvalidAmount(f"{currency} has {decimals} decimals: {amount} cannot be paid in it")
    return Money(quantized, currency)


def written(money: Money) -> str:
    """Money as people write it: `149.50 SAR`."""
    return f"{money.amount} {money.currency.code}"


def _finite_decimal(amount: Decimal | int | str) -> Decimal:
    try:
        value = Decimal(amount)
    except (InvalidOperation, ValueError):
        raise InvalidAmount(f"'{amount}' is not a decimal number") from None
    if not value.is_finite():
        raise InvalidAmount(f"the amount must be a finite number, not {amount}")
    return value
