"""Runs `paysaga serve` as a process and talks to what it starts."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import requests

from tests.integration.role_process import WAIT_SECONDS, wait_until

CARD = {"card": "4111111111111111", "cvv": "123"}
ROLES = ("simulator", "worker", "web")


class Serving:
    """A running `paysaga serve` and what it printed."""

    def __init__(self, process: subprocess.Popen[str], data_dir: Path) -> None:
        self.process = process
        self.data_dir = data_dir
        self.printed = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_until_running(self) -> None:
        """Returns when it has printed everything."""
        wait_until(
            lambda: "Press Ctrl-C" in self.printed or self.process.poll() is not None,
            "serve has printed its greeting",
        )
        assert self.process.poll() is None, self.errors

    @property
    def errors(self) -> str:
        """What it and its children wrote to stderr."""
        return (self.data_dir.parent / "stderr.log").read_text()

    @property
    def curl_line(self) -> str:
        """The command it printed for a first payment."""
        found = re.search(r"^curl .*?[^\\]$", self.printed, re.MULTILINE | re.DOTALL)
        assert found, self.printed
        return found.group()

    @property
    def url(self) -> str:
        """The address of the API."""
        return self._address("API")

    @property
    def simulator_url(self) -> str:
        """The address of the simulator."""
        return self._address("simulator")

    def create(self) -> dict[str, Any]:
        """A payment, made with the printed command."""
        done = subprocess.run(
            self.curl_line, shell=True, capture_output=True, text=True, timeout=WAIT_SECONDS
        )
        assert done.returncode == 0, done.stderr
        payment: dict[str, Any] = json.loads(done.stdout)
        return payment

    def pay(self, payment: Mapping[str, Any]) -> None:
        """What the customer does on the hosted page."""
        answer = requests.post(
            f"{self.simulator_url}/_simulator/transactions/{payment['transactionRef']}/pay",
            json=CARD,
            timeout=WAIT_SECONDS,
        )
        assert answer.status_code == 200, answer.text

    def status_of(self, payment: Mapping[str, Any]) -> str:
        """The payment's status now."""
        key = (self.data_dir / "api_key").read_text().strip()
        answer = requests.get(
            f"{self.url}/v1/payments/{payment['paymentId']}",
            headers={"Authorization": f"Bearer {key}"},
            timeout=WAIT_SECONDS,
        )
        return str(answer.json()["status"])

    def wait_until_completed(self, payment: Mapping[str, Any]) -> None:
        """Returns when the payment is completed."""
        wait_until(lambda: self.status_of(payment) == "completed", "the payment is completed")

    def started(self) -> list[psutil.Process]:
        """Everything it has started, PostgreSQL included."""
        processes = psutil.Process(self.process.pid).children(recursive=True)
        postgres = self.postgres()
        return [*processes, *([postgres, *postgres.children()] if postgres else [])]

    def role(self, name: str) -> psutil.Process | None:
        """The child of this role."""
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.Error):
                if child.cmdline()[-1:] == [name]:
                    return child
        return None

    def postgres(self) -> psutil.Process | None:
        """The main process of PostgreSQL; None also while it is still writing its lock file."""
        lock_file = self.data_dir / "postgres" / "postmaster.pid"
        with suppress(FileNotFoundError, psutil.NoSuchProcess):
            first, _, _ = lock_file.read_text().partition("\n")
            return psutil.Process(int(first)) if first.isdecimal() else None
        return None

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Asks it to stop; returns its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(WAIT_SECONDS)
        self._reader.join(WAIT_SECONDS)
        return code

    def _address(self, name: str) -> str:
        found = re.search(rf"^  {name} +(http://\S+)", self.printed, re.MULTILINE)
        assert found, self.printed
        return found.group(1)

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.printed += line


@contextmanager
def serving(folder: Path, **settings: object) -> Iterator[Serving]:
    """`paysaga serve` with data in `folder`/data and free ports; everything is killed at the end
    that it did not end itself."""
    own = {"port": 0, "simulator_port": 0, "data_dir": folder / "data", **settings}
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("PAYSAGA_")}
    with (folder / "stderr.log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "interface.cli", "serve"],
            env={**inherited, **{f"PAYSAGA_{n.upper()}": str(value) for n, value in own.items()}},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    serve = Serving(process, folder / "data")
    try:
        yield serve
    finally:
        kill(serve)


def kill(serve: Serving) -> None:
    """Leaves nothing behind, however the test went."""
    if serve.process.poll() is None:
        leftovers = serve.started()
        serve.process.kill()
        serve.process.wait(WAIT_SECONDS)
    else:
        postgres = serve.postgres()
        leftovers = [postgres, *postgres.children()] if postgres else []
    for process in leftovers:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(leftovers, timeout=WAIT_SECONDS)
