"""Starts PaySaga's roles as processes of their own, as an operator would, and ends them again."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from interface.serve.ports import free_port
from tests.benchmarks.wire import Wire

SECRET = "bench-secret-0123456789"
PROFILE_ID = 90001
SERVER_KEY = "SIMULATED-SERVER-KEY-FOR-BENCHMARKS"
HOST = "127.0.0.1"
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0


class Fleet:
    """Processes that belong together. The output of each goes to a file in `folder`."""

    def __init__(self, database_url: str, folder: Path) -> None:
        self.folder = folder
        self.database_url = database_url
        self.simulator_port = free_port(HOST)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: Sequence[str], port: int) -> None:
        """Starts `python -m command…` whose own address is `port`."""
        output = (self.folder / f"{name}.log").open("wb")
        self.processes[name] = subprocess.Popen(
            [sys.executable, "-m", *command],
            env={**os.environ, **self._environment(port)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def _environment(self, port: int) -> Mapping[str, str]:
        return {
            "PAYSAGA_DATABASE_URL": self.database_url,
            "PAYSAGA_DATA_DIR": str(self.folder),
            "PAYSAGA_PORT": str(port),
            "PAYSAGA_API_KEYS": f"bench:admin:{SECRET}",
            "PAYSAGA_PAYTABS_PROFILE_ID": str(PROFILE_ID),
            "PAYSAGA_PAYTABS_SERVER_KEY": SERVER_KEY,
            "PAYSAGA_PAYTABS_BASE_URL": f"http://{HOST}:{self.simulator_port}",
            "PAYSAGA_SIMULATOR_PORT": str(self.simulator_port),
            "PAYSAGA_SIMULATOR_CONTROLS": "true",
            "PAYSAGA_ALLOW_PRIVATE_CALLBACKS": "true",
            "PAYSAGA_LOG_LEVEL": "WARNING",
        }

    def wait_for(self, name: str, port: int, path: str) -> None:
        """Returns when the process answers without an error of its own.

        Raises:
            RuntimeError: it ended, or did not answer in time.
        """
        deadline = time.monotonic() + START_SECONDS_MAX
        wire = Wire(port, {"Authorization": f"Bearer {SECRET}"})
        while time.monotonic() < deadline and self.processes[name].poll() is None:
            try:
                if wire.call("GET", path)[0] < 500:
                    return
            except OSError:
                wire.close()
            time.sleep(0.1)
        raise RuntimeError(f"{name} does not answer:\n{self.output(name)}")

    def output(self, name: str) -> str:
        """The last lines that a process wrote."""
        return "\n".join((self.folder / f"{name}.log").read_text().splitlines()[-20:])

    def cpu_seconds(self) -> dict[str, float]:
        """The processor time that each process and its children have used so far."""
        return {
            name: sum(map(_cpu_seconds, _family(process.pid)))
            for name, process in self.processes.items()
        }

    def stop(self) -> None:
        """Ends all of them, politely first."""
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def server_cpu_seconds(pid: int) -> float:
    """The processor time of a PostgreSQL server, ended connections included."""
    family = _family(pid)
    ended = family[0].cpu_times() if family else None
    gone = float(ended.children_user + ended.children_system) if ended else 0.0
    return gone + sum(map(_cpu_seconds, family))


@contextmanager
def fleet(database_url: str) -> Iterator[Fleet]:
    """An empty fleet, ended and removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="paysaga-fleet-", ignore_cleanup_errors=True) as name:
        made = Fleet(database_url, Path(name))
        try:
            yield made
        finally:
            made.stop()
