"""The command line: `paysaga`, one module for each group of commands (contract 1)."""

from interface.cli.program import main

__all__ = ["main"]
