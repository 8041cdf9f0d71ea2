"""Shows answers to people: tables and lists of fields, with text from outside made harmless."""

import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

PLAIN_WIDTH = 10_000
"""Columns when the output is no terminal, so that nothing is folded."""
HARMFUL = {"Cc", "Cf", "Zl", "Zp", "Cs"}
"""Unicode categories with which text could move the cursor or hide what it says."""


STYLES = {
    **dict.fromkeys(("completed", "succeeded", "running", "active"), "green"),
    **dict.fromkeys(("failed", "parked", "stale", "never_run", "revoked", "expired"), "red"),
    **dict.fromkeys(("dead", "OPEN"), "red"),
    **dict.fromkeys(("cancelled", "refunded", "compensated"), "yellow"),
}
"""Colours of statuses, on a terminal only."""


def printable(value: object) -> str:
    """The value as one line of text that cannot steer a terminal; None is empty."""
    text = "" if value is None else str(value)
    return "".join(
        f"\\u{ord(sign):04x}" if unicodedata.category(sign) in HARMFUL else sign for sign in text
    )


def show_fields(fields: Mapping[str, object]) -> None:
    """One field a line; those without a value are left out."""
    shown = {name: printable(value) for name, value in fields.items() if value not in (None, "")}
    width = max(map(len, shown), default=0)
    for name, text in shown.items():
        click.echo(f"{name:<{width}}  {text}")


def show_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table; on a terminal as wide as it is, elsewhere as wide as it must be."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(value), STYLES.get(str(value), "")) for value in row))
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else PLAIN_WIDTH).print(table)


def show_json(document: bytes) -> None:
    """JSON as it came, on a line of its own."""
    sys.stdout.flush()
    sys.stdout.buffer.write(document.rstrip(b"\n") + b"\n")
    sys.stdout.buffer.flush()
