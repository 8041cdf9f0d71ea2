"""Runs commands of the command line in this process and looks at what they say."""

from collections.abc import Mapping
from pathlib import Path

from click.testing import CliRunner, Result

from interface.cli.program import program


def run(*arguments: str, env: Mapping[str, str] | None = None) -> Result:
    """Runs `paysaga ARGUMENTS` with these settings and no others."""
    return CliRunner().invoke(program, list(arguments), env=dict(env or {}))


def settings_env(folder: Path, **settings: object) -> dict[str, str]:
    """Environment variables for settings, with a data folder."""
    named = {f"PAYSAGA_{name.upper()}": str(value) for name, value in settings.items()}
    return {"PAYSAGA_DATA_DIR": str(folder), **named}
