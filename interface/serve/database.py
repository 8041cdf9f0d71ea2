"""Keeps the embedded PostgreSQL alive while `serve` runs."""

import time

import structlog

from interface.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError
from interface.serve.backoff import Backoff

log = structlog.get_logger(__name__)

DATABASE = "paysaga"
CHECK_SECONDS = 1.0
RESTART_TIMEOUT_SECONDS = 20.0


class EmbeddedDatabase:
    """The server and our database in it."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._server = server
        self._backoff = Backoff()
        self._check_at = 0.0

    def start(self) -> str:
        """Starts the server, or takes over the one that a killed `serve` left; returns the
        address of our database.

        Raises:
            EmbeddedPostgresError: it cannot be started.
        """
        self._server.start()
        self._backoff.started(time.monotonic())
        return self._server.ensure_database(DATABASE)

    def keep_alive(self) -> None:
        """Starts the server again when it ended. To be called all the time."""
        now = time.monotonic()
        if now < self._check_at:
            return
        self._check_at = now + CHECK_SECONDS
        if self._server.pid is None:
            self._restart(now)

    def stop(self) -> None:
        """Stops the server; one that will not stop is told of in the log."""
        try:
            self._server.stop()
        except EmbeddedPostgresError as error:
            log.error("postgres_not_stopped", reason=str(error))

    def _restart(self, now: float) -> None:
        delay_seconds = self._backoff.ended(now)
        log.warning("postgres_ended", restarted=True)
        try:
            self._server.start(RESTART_TIMEOUT_SECONDS)
            self._backoff.started(time.monotonic())
        except EmbeddedPostgresError as error:
            log.error("postgres_not_started", reason=str(error), next_try_seconds=delay_seconds)
            self._check_at = time.monotonic() + delay_seconds
