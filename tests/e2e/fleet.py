"""Real PaySaga processes on one database, for tests that kill them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import requests

from interface.simulator import SimulatorServer
from tests.e2e.house import Api, Customer, environment, free_port, simulator_config, unread, until

ROOT = Path(__file__).parents[2]
STOP_SECONDS = 30
TIGHT_SECONDS = 0.001
LOGS = ("payments", "paymentsagas", "gateway", "webhooks", "confirmations", "operations")


class Process:
    """One process of the fleet, with its output in a file of its own."""

    def __init__(self, role: str, settings: dict[str, Any], folder: Path) -> None:
        self.output = folder / f"{role}-{time.monotonic_ns()}.log"
        ours = {f"PAYSAGA_{name.upper()}": str(value) for name, value in settings.items()}
        clean = {k: v for k, v in os.environ.items() if not k.startswith("PAYSAGA_")}
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "interface.cli", role],
                env=clean | ours,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self) -> None:
        """SIGKILL for the process and its children: nothing is tidied up."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(STOP_SECONDS)

    def freeze(self) -> None:
        """SIGSTOP for the process and its children."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on where it was, without knowing that time has passed."""
        os.killpg(self.process.pid, signal.SIGCONT)

    def terminate(self) -> int:
        """SIGTERM; returns the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(STOP_SECONDS)

    def has_said(self, words: str) -> bool:
        """True when the words are in its output; fails when it ended without them."""
        said = words in self.output.read_text()
        assert said or self.process.poll() is None, self.output.read_text()
        return said


class _PatientServer(ThreadingHTTPServer):
    request_queue_size = 256


class Merchant:
    """Takes confirmations. While `gate` is closed it takes them but does not answer."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.told: list[tuple[str, bytes]] = []
        merchant = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                merchant.told.append((self.headers["webhook-id"], body))
                merchant.gate.wait(STOP_SECONDS)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Keeps quiet."""

        self._server = _PatientServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/callback"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def ids(self, payment_id: str) -> list[str]:
        """The ids of the messages about a payment, in the order in which they came."""
        return [message_id for message_id, body in self.told if payment_id.encode() in body]

    def close(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()


class Fleet:
    """A simulator and a merchant here; web and worker processes as a test starts them."""

    def __init__(self, database_url: str, simulator_url: str, folder: Path, **more: Any) -> None:
        self.database_url = database_url
        self.folder = folder
        self.merchant = Merchant()
        self.customer = Customer(simulator_url)
        quick = {
            "lease_ms": 1000,
            "create_wait_ms": 1000,
            "reconcile_after_seconds": 1,
            "retry_base_delay_ms": 100,
            "retry_max_delay_ms": 500,
            "web_workers": 1,
            "data_dir": folder,
        }
        self.port = free_port()
        self.settings = environment(database_url, simulator_url, self.port, **quick | more)
        self._running: list[Process] = []
        self._sql = psycopg.connect(database_url, autocommit=True)

    @property
    def api(self) -> Api:
        return Api(f"http://127.0.0.1:{self.port}")

    def start(self, role: str, **more: Any) -> Process:
        """Starts a process and does not wait for it."""
        process = Process(role, self.settings | more, self.folder)
        self._running.append(process)
        return process

    def web(self, port: int | None = None, **more: Any) -> Process:
        """Starts a web process; returns when it answers."""
        port = port or self.port
        process = self.start("web", port=port, public_url=f"http://127.0.0.1:{self.port}", **more)

        def answers() -> bool:
            assert process.process.poll() is None, process.output.read_text()
            try:
                return requests.get(f"http://127.0.0.1:{port}/healthz", timeout=5).ok
            except (requests.ConnectionError, requests.Timeout):
                return False

        until(answers)
        return process

    def worker(self) -> Process:
        """Starts a worker; returns when it has started."""
        process = self.start("worker", public_url=f"http://127.0.0.1:{self.port}")
        until(lambda: process.has_said("worker_started"))
        return process

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a query gives; asked on a new connection when a fault has cut the one in hand."""
        try:
            return self._sql.execute(query, values).fetchall()
        except psycopg.OperationalError:
            self._sql.close()
            self._sql = psycopg.connect(self.database_url, autocommit=True)
            return self._sql.execute(query, values).fetchall()

    def count(self, log: str) -> int:
        """How many events a log holds."""
        return int(self.rows(f"SELECT count(*) FROM {log}_events")[0][0])

    def counts(self) -> dict[str, int]:
        return {log: self.count(log) for log in LOGS}

    def is_claimed(self, payment_id: str) -> bool:
        """True while a worker has a gateway call of that payment in hand."""
        query = (
            "SELECT 1 FROM agenda WHERE kind = 'gateway_call' AND payment_id = %s"
            " AND claimed_until IS NOT NULL"
        )
        return bool(self.rows(query, payment_id))

    def operations(self, payment_id: str) -> list[tuple[str, str]]:
        """What was asked of the gateway for a payment and what came of it, in order: the kind of
        event and its stored state."""
        query = (
            "SELECT topic, convert_from(state, 'UTF8') FROM gateway_events"
            " WHERE convert_from(state, 'UTF8') LIKE ANY(%s) ORDER BY notification_id"
        )
        names = [f"%{payment_id}%", f"%{payment_id.replace('-', '')}%"]
        return [(topic.split(".")[-1], state) for topic, state in self.rows(query, names)]

    def unread(self) -> dict[str, int]:
        return unread(self.database_url)

    def stop_all_but_the_first(self) -> None:
        """Kills whatever was started after the first process, and shows what it said."""
        for process in self._running[1:]:
            process.kill()
        self.show(self._running[1:])
        del self._running[1:]

    def show(self, processes: Sequence[Process] | None = None) -> None:
        """What the processes have said, for a test that fails."""
        for process in self._running if processes is None else processes:
            print(process.output.name, process.output.read_text(), sep="\n")

    def stop_all(self) -> None:
        for process in self._running:
            process.kill()
        self._running.clear()

    def close(self) -> None:
        self.stop_all()
        self.merchant.close()
        self._sql.close()


def at_once(holds: Callable[[], Any], seconds: float = 30) -> None:
    """Returns at the very moment when something holds; fails when it never does."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(TIGHT_SECONDS)


@contextmanager
def fleet_on(database_url: str, **more: Any) -> Iterator[Fleet]:
    """A fleet without processes yet."""
    with (
        tempfile.TemporaryDirectory(prefix="paysaga-fleet-") as folder,
        SimulatorServer(simulator_config(callback_attempts=8)) as simulator,
    ):
        fleet = Fleet(database_url, simulator.url, Path(folder), **more)
        try:
            yield fleet
        finally:
            fleet.close()
