"""The kinds of values that several commands take."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar

import click

from interface.client import checked_idempotency_key
from interface.web.patterns import DECIMAL_TEXT

F = TypeVar("F", bound=Callable[..., Any])


class AmountType(click.ParamType[Decimal]):
    """An exact decimal number, written as the API takes one; `Decimal` alone would take `1_0` and
    the digits of every script."""

    name = "amount"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Decimal:
        """See `click.ParamType.convert`."""
        if not DECIMAL_TEXT.fullmatch(value):
            self.fail(f"'{value}' is no amount: write it like 149.50", param, ctx)
        return Decimal(value)


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


class IdempotencyKeyType(click.ParamType[str]):
    """A key that the API takes."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """See `click.ParamType.convert`."""
        try:
            return checked_idempotency_key(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def with_idempotency_key(
    help_text: str = "Makes repeating the command harmless.",
) -> Callable[[F], F]:
    """The option `--idempotency-key`."""
    return click.option("--idempotency-key", type=IdempotencyKeyType(), help=help_text)
