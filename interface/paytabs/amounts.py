"""Turns money into PayTabs' numbers and its texts back into money, exactly, with no float."""

import re
from decimal import Decimal

from domain.money import InvalidCurrency, Money, minor_units

_AMOUNT = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,6})?")


class UnreadableAmount(ValueError):
    """The gateway wrote something that is no amount of money."""


def json_amount(money: Money) -> Decimal:
    """The amount as PayTabs wants it: major units, with the decimals of the currency
    (PayTabs, sections 2.1 and 9).

    Raises:
        ValueError: the amount is not positive or has more decimals than its currency.
    """
    amount = _with_decimals_of(money.amount, money.currency.code)
    if amount <= 0 or amount != money.amount:
        raise ValueError(f"{money.amount} {money.currency.code} cannot be sent to the gateway")
    return amount


def read_amount(value: object, currency: object) -> Money | None:
    """Money from an amount and a currency code as PayTabs writes them; None where either is
    absent. An amount finer than its currency allows is kept as it came.

    Raises:
        UnreadableAmount: there is something, but it is no amount, or no currency we know.
    """
    if value in (None, "") or currency in (None, ""):
        return None
    text, code = str(value), str(currency).strip().upper()
    if isinstance(value, bool) or not isinstance(value, str | int) or not _AMOUNT.fullmatch(text):
        raise UnreadableAmount("an amount is not a decimal number")
    try:
        exact = _with_decimals_of(Decimal(text), code)
    except InvalidCurrency:
        raise UnreadableAmount("an amount has an unknown currency") from None
    return Money(exact if exact == Decimal(text) else Decimal(text), code)


def _with_decimals_of(amount: Decimal, currency: str) -> Decimal:
    return amount.quantize(Decimal(1).scaleb(-minor_units(currency)))
