"""Starts everything in order, keeps it alive, and stops it in the opposite order."""

import os
import signal
import threading
import time
from types import FrameType

import click
import requests
import structlog

from interface.bootstrap import open_persistence
from interface.embedded_postgres import EmbeddedPostgres
from interface.roles.database_wait import told_database_errors, wait_for_database
from interface.serve.children import Child
from interface.serve.data_folder import DataFolder, Running
from interface.serve.database import EmbeddedDatabase
from interface.serve.greeting import greeting
from interface.serve.plan import Plan, child_command, child_environment
from interface.settings import Settings

log = structlog.get_logger(__name__)

WATCH_SECONDS = 0.2
START_TIMEOUT_SECONDS = 90.0
READY_TIMEOUT_SECONDS = 20.0
PROBE_TIMEOUT_SECONDS = 2.0
EARLY_ENDS_MAX = 3
"""A child that ends so often before everything runs will not be saved by one more start."""

STOP_TIMEOUT_SECONDS = {"web": 20.0, "worker": 45.0, "simulator": 10.0}
"""Longer than what each allows itself for finishing requests and gateway calls."""

POSTGRES_FOLDER = "postgres"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ServeFailed(Exception):
    """Not everything could be started; the text says what to do."""


class _Stopped(Exception):
    """Somebody asked to stop before everything was started."""


class Supervisor:
    """Everything that `serve` runs. Made and used in the main thread.

    Args:
        folder: the data folder, locked for us.
    """

    def __init__(self, plan: Plan, folder: DataFolder) -> None:
        self._plan = plan
        self._folder = folder
        self._database: EmbeddedDatabase | None = None
        self._children: list[Child] = []
        self._signals = 0
        self._stopping = threading.Event()

    def run(self) -> None:
        """Returns after SIGINT, SIGTERM or SIGHUP, when everything has ended.

        Raises:
            ServeFailed: something does not start.
            EmbeddedPostgresError: PostgreSQL does not start.
            InvalidSettings: the database that is set does not answer.
        """
        for number in SIGNALS:
            signal.signal(number, self._on_signal)
        try:
            self._start()
            self._watch()
        except _Stopped:
            log.info("stopped_while_starting")
        finally:
            self._stop()

    def _start(self) -> None:
        settings = self._with_database()
        self._check_stop()
        with told_database_errors():
            open_persistence(settings).close()
        self._children = self._make_children(settings)
        self._folder.tell(
            Running(
                pid=os.getpid(),
                url=settings.local_url,
                database_url=settings.database_url if self._plan.has_database else None,
                gateway_url=self._plan.simulator_url,
            )
        )
        self._wait_for("/healthz", START_TIMEOUT_SECONDS)
        if not self._becomes_ready():
            log.warning("not_ready_yet", see=f"{settings.local_url}/readyz")
        click.echo(greeting(self._plan))

    def _with_database(self) -> Settings:
        settings = self._plan.settings
        if self._plan.has_database:
            click.echo("Starting PostgreSQL …")
            self._database = EmbeddedDatabase(EmbeddedPostgres(settings.data_dir / POSTGRES_FOLDER))
            return settings.model_copy(update={"database_url": self._database.start()})
        if not wait_for_database(settings, self._stopping.is_set):
            raise _Stopped
        return settings

    def _make_children(self, settings: Settings) -> list[Child]:
        """In the order in which they are started."""
        roles = [*(["simulator"] if self._plan.has_simulator else []), "worker", "web"]
        environment = child_environment(settings, os.environ)
        return [
            Child(role, child_command(role), environment, STOP_TIMEOUT_SECONDS[role])
            for role in roles
        ]

    def _becomes_ready(self) -> bool:
        try:
            self._wait_for("/readyz", READY_TIMEOUT_SECONDS)
        except ServeFailed:
            return False
        return True

    def _wait_for(self, path: str, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not self._answers(path):
            self._check_stop()
            self._keep_alive()
            self._check_starts()
            if time.monotonic() > deadline:
                raise ServeFailed(f"the web role does not answer {path}; see the lines above")
            self._stopping.wait(WATCH_SECONDS)

    def _answers(self, path: str) -> bool:
        try:
            with requests.Session() as session:
                session.trust_env = False
                url = f"{self._plan.settings.local_url}{path}"
                return session.get(url, timeout=PROBE_TIMEOUT_SECONDS).status_code == 200
        except requests.RequestException:
            return False

    def _check_starts(self) -> None:
        for child in self._children:
            if child.ended_early >= EARLY_ENDS_MAX:
                raise ServeFailed(f"the {child.name} does not start; see the lines above")

    def _check_stop(self) -> None:
        if self._stopping.is_set():
            raise _Stopped

    def _watch(self) -> None:
        while not self._stopping.wait(WATCH_SECONDS):
            self._keep_alive()

    def _keep_alive(self) -> None:
        if self._database is not None:
            self._database.keep_alive()
        for child in self._children:
            child.keep_alive()

    def _stop(self) -> None:
        if self._signals:
            click.echo("Stopping … (Ctrl-C again to hurry)", err=True)
        for child in reversed(self._children):
            child.stop(lambda: self._signals > 1)
        if self._database is not None:
            self._database.stop()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        self._stopping.set()
