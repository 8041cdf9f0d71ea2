"""Runs one role as a real process of its own, the way an operator does."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGKILL

import requests

WAIT_SECONDS = 60.0


@contextmanager
def role_process(
    role: str, env: Mapping[str, str], folder: Path, *arguments: str
) -> Iterator[subprocess.Popen[bytes]]:
    """`paysaga ROLE ARGUMENTS` with these settings and no others, its log in `folder`/ROLE.log;
    killed with all it started at the end."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("PAYSAGA_")}
    with (folder / f"{role}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "interface.cli", role, *arguments],
            env={**inherited, **env},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, SIGKILL)
        process.wait(WAIT_SECONDS)


def wait_until(is_so: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS) -> None:
    """Returns as soon as it is so; fails the test when it never is."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain until {what}"
        time.sleep(0.05)


def answers(url: str) -> bool:
    """True when the address answers 200."""
    try:
        return requests.get(url, timeout=5).status_code == 200
    except requests.RequestException:
        return False
