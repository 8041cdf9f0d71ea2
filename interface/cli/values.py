"""The kinds of values that several commands take."""

from decimal import Decimal, InvalidOperation
from typing import Any

import click


class AmountType(click.ParamType[Decimal]):
    """An exact decimal number."""

    name = "amount"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Decimal:
        """See `click.ParamType.convert`."""
        try:
            amount = Decimal(value)
        except InvalidOperation:
            amount = Decimal("NaN")
        if not amount.is_finite():
            self.fail(f"'{value}' is no amount: write it like 149.50", param, ctx)
        return amount


class PairType(click.ParamType[tuple[str, str]]):
    """A name and a value with `=` between."""

    name = "name=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """See `click.ParamType.convert`."""
        name, sign, text = str(value).partition("=")
        if not name or not sign:
            self.fail(f"'{value}' is no pair: write it like order=1001", param, ctx)
        return name, text
