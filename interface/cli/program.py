"""The program `paysaga`: its commands, and how their failures are told to people."""

from importlib import import_module
from typing import Any

import click

from interface.cli.failures import told_failures

EPILOG = "Settings are environment variables PAYSAGA_*, or a TOML file named by PAYSAGA_CONFIG."

COMMANDS = {
    "serve": "roles",
    "web": "roles",
    "worker": "roles",
    "simulator": "roles",
    "payments": "payments",
    "contracts": "contracts",
    "sagas": "sagas",
    "events": "events",
    "circuit-breakers": "circuit_breakers",
    "webhooks": "webhooks",
    "confirmations": "confirmations",
    "listen": "listen",
    "keys": "keys",
    "projections": "projections",
    "parked": "parked",
    "journal": "journal",
    "replay": "replay",
    "privacy": "privacy",
    "database": "database",
    "doctor": "doctor",
    "status": "status",
}
"""Each command and the module of this package that has it under that name. A module is imported
when its command is asked for, so that a quick command need not wait for all the others."""


class Program(click.Group):
    """Turns the failures that we foresee into lines on stderr and exit code 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See `click.Group.list_commands`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """See `click.Group.get_command`."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(
            import_module(f"interface.cli.{COMMANDS[cmd_name]}"), cmd_name.replace("-", "_")
        )
        assert isinstance(command, click.Command)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See `click.Group.parse_args`. These are the arguments of whichever command is meant."""
        if not ctx.resilient_parsing:
            _refuse_what_is_no_text(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """See `click.Group.invoke`."""
        with told_failures():
            return super().invoke(ctx)


def _refuse_what_is_no_text(arguments: list[str]) -> None:
    """Bytes that are no UTF-8 come as lone surrogates (PEP 383), which can be neither sent nor
    kept."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            shown = argument.encode(errors="backslashreplace").decode()
            raise click.UsageError(f"'{shown}' is no UTF-8 text: write it in UTF-8") from None


@click.group(cls=Program, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="paysaga")
def program() -> None:
    """PaySaga: an event-sourced payment service."""


def main() -> None:
    """Runs the command line; exits 0 (done), 1 (refused or failed) or 2 (wrong usage)."""
    program(prog_name="paysaga")
