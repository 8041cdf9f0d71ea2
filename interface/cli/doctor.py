"""The command `paysaga doctor`: looks at everything around the service and says what to do."""

from typing import Any

import click

from interface.cli.failures import EXIT_FAILED
from interface.cli.showing import printable, show_json
from interface.json_text import write_json


@click.command()
@click.option("--json", "is_json", is_flag=True, help="Print the checks as JSON.")
def doctor(is_json: bool) -> None:
    """Check settings, database, gateway, followers and clock.

    Prints one line for each check, with what to do where something is wrong; exits 1 then.
    """
    from interface.diagnosis import diagnose

    checks = diagnose()
    if is_json:
        show_json(write_json({"checks": [check.as_document() for check in checks]}))
    else:
        for check in checks:
            _show(check)
    if any(not check.is_ok for check in checks):
        raise SystemExit(EXIT_FAILED)


def _show(check: Any) -> None:
    mark = "ok     " if check.is_ok else "problem"
    advice = f"; {check.advice}" if check.advice else ""
    click.echo(f"{mark}  {check.name}: {printable(check.detail)}{printable(advice)}")
