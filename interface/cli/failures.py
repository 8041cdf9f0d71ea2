"""How failures are told on the command line: one line each on stderr, never a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from interface.settings import InvalidSettings

EXIT_FAILED = 1
VERIFY = "`paysaga journal verify` names what was altered"
"""The advice where what is stored cannot be read."""


class CommandFailed(Exception):
    """A command was refused or failed; `lines` say why and what to do."""

    def __init__(self, *lines: str) -> None:
        self.lines = lines
        super().__init__("\n".join(lines))


@contextmanager
def told_failures() -> Iterator[None]:
    """Ends the program with exit code 1 after a failure that is foreseen."""
    try:
        yield
    except InvalidSettings as error:
        _end(error.problems)
    except CommandFailed as error:
        _end(error.lines)


def _end(lines: list[str] | tuple[str, ...]) -> None:
    for line in lines:
        click.echo(line, err=True)
    raise SystemExit(EXIT_FAILED)
