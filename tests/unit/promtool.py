"""Prometheus' own checker, for the tests that ask it."""

import shutil
import subprocess

import pytest

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="promtool is not installed (Debian package prometheus)",
)


def promtool(*arguments: str, given: str | None = None) -> str:
    """What promtool says.

    Raises:
        CalledProcessError: it found something wrong.
    """
    done = subprocess.run(
        ["promtool", *arguments], input=given, capture_output=True, text=True, check=False
    )
    print(done.stdout, done.stderr)
    done.check_returncode()
    return done.stdout
