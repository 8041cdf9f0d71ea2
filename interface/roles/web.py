"""The web role: gunicorn with an app of its own in each of its processes."""

import os
import signal
import socket
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

import psycopg
import structlog
from eventsourcing.persistence import PersistenceError
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger

from interface.bootstrap import open_persistence
from interface.logging_setup import configure_logging
from interface.roles.database_wait import told_database_errors, wait_for_database
from interface.roles.garbage import look_for_garbage_seldom
from interface.roles.lifetime import expected_parent, is_orphaned
from interface.roles.patience import PatientWorker
from interface.roles.shared_metrics import SharedMetrics
from interface.roles.unreadable_requests import answer_with_problems
from interface.serve.ports import check_port
from interface.settings import Settings
from interface.telemetry import check_tracing

log = structlog.get_logger(__name__)

REQUEST_LINE_BYTES_MAX = 8190
HEADERS_MAX = 100
HEADER_BYTES_MAX = 8190
KEEP_ALIVE_SECONDS = 15
GRACE_SECONDS = 10
HANG_SECONDS = 60
SOCKET_TIMEOUT_SECONDS = 30
"""How long a client may stall in the middle of a request or of reading an answer. One that sends a
byte now and then is stopped by `PatientWorker`."""
SPARE_CONNECTIONS = 1000
"""Kept-alive connections of each process beside those that are being served."""


class RoutedLogger(Logger):
    """Gunicorn's messages go the way of all others; its access log stays off."""

    def setup(self, cfg: Any) -> None:
        """See `gunicorn.glogging.Logger.setup`."""
        super().setup(cfg)  # type: ignore[no-untyped-call]
        self.error_log.handlers = []
        self.error_log.propagate = True

    def exception(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        """A client that stalled beyond the limit is no fault of ours and gets one quiet line."""
        if isinstance(sys.exception(), BlockingIOError):
            self.error_log.info("connection closed: the client stalled")
        else:
            super().exception(msg, *args, **kwargs)  # type: ignore[no-untyped-call]


class WatchfulArbiter(Arbiter):
    """Ends itself when the process that started it is gone."""

    def __init__(self, app: BaseApplication, parent: int | None) -> None:
        super().__init__(app)  # type: ignore[no-untyped-call]
        self._parent = parent

    def maybe_promote_master(self) -> None:
        """Called once a second by gunicorn's main loop."""
        super().maybe_promote_master()  # type: ignore[no-untyped-call]
        if is_orphaned(self._parent):
            log.warning("parent_is_gone", parent=self._parent)
            self._parent = None
            self.SIG_QUEUE.put_nowait(signal.SIGTERM)


class WebServer(BaseApplication):
    """Gunicorn configured from the settings alone: no file, no environment, no command line."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._metrics = SharedMetrics(_memory_folder())
        super().__init__()  # type: ignore[no-untyped-call]

    def load_config(self) -> None:
        """See `gunicorn.app.base.BaseApplication`."""
        assert self.cfg is not None
        for name, value in _options(self._settings, self._metrics).items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """The app, made after the fork because it holds connections and threads. Gunicorn gives
        everything up when one of its processes cannot make it, so it waits for the database."""
        from interface.web.app import create_app

        arbiter = os.getppid()
        while True:
            try:
                return create_app(self._settings)
            except (psycopg.OperationalError, PersistenceError) as error:
                log.warning("app_not_made", reason=" ".join(str(error).split()))
            wait_for_database(self._settings, lambda: os.getppid() != arbiter)

    def run(self) -> None:
        """Serves until SIGTERM (requests are finished) or SIGINT; exits the process."""
        WatchfulArbiter(self, expected_parent()).run()  # type: ignore[no-untyped-call]


def run_web(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT and then exits the process.

    Raises:
        InvalidSettings: no database, or the port cannot be listened on.
    """
    configure_logging(settings, "web")
    parent = expected_parent()
    check_tracing()
    check_port("PORT", settings.host, settings.port)
    if wait_for_database(settings, lambda: is_orphaned(parent)):
        with told_database_errors():
            open_persistence(settings).close()
        answer_with_problems()
        WebServer(settings).run()


def _options(settings: Settings, metrics: SharedMetrics) -> dict[str, Any]:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return {
        "bind": f"{host}:{settings.port}",
        "worker_class": PatientWorker,
        "workers": settings.web_workers,
        "threads": settings.web_threads,
        "worker_connections": settings.web_threads + SPARE_CONNECTIONS,
        "timeout": HANG_SECONDS,
        "graceful_timeout": GRACE_SECONDS,
        "keepalive": KEEP_ALIVE_SECONDS,
        "limit_request_line": REQUEST_LINE_BYTES_MAX,
        "limit_request_fields": HEADERS_MAX,
        "limit_request_field_size": HEADER_BYTES_MAX,
        "control_socket_disable": True,
        "logger_class": RoutedLogger,
        "loglevel": settings.log_level.lower(),
        "accesslog": None,
        "proc_name": "paysaga-web",
        "worker_tmp_dir": str(_memory_folder()),
        "when_ready": _limit_stalling,
        "pre_fork": metrics.pre_fork,
        "post_fork": metrics.post_fork,
        "post_worker_init": lambda _worker: look_for_garbage_seldom(),
        "child_exit": metrics.child_exit,
        "on_exit": metrics.on_exit,
    }


def _memory_folder() -> Path:
    """For the files of gunicorn's heartbeats and of metrics, whose writing must not wait for a
    busy disk."""
    memory = Path("/dev/shm")  # noqa: S108
    usable = memory.is_dir() and os.access(memory, os.W_OK | os.X_OK)
    return memory if usable else Path(tempfile.gettempdir())


def _limit_stalling(arbiter: Arbiter) -> None:
    """Accepted connections inherit these limits from the listening socket; without them a client
    that sends nothing more could hold a thread for ever."""
    limit = struct.pack("@ll", SOCKET_TIMEOUT_SECONDS, 0)
    for listener in arbiter.LISTENERS:
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
