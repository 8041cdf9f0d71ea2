"""Ends requests that take too long to arrive, so that slow clients cannot keep threads for ever."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

REQUEST_SECONDS_MAX = 75.0
"""For how long one request may be read. Longer than the longest CREATE_WAIT_MS: a request that
was read whole is answered all the same, and only its connection is not used again."""
LOOK_EVERY_SECONDS = 1.0


class Patience:
    """Stops reading from connections whose time is up. Each has `limit_seconds`; `now_seconds` is
    a clock that never goes back. Safe to share between threads."""

    def __init__(
        self, limit_seconds: float, now_seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit_seconds = limit_seconds
        self._now_seconds = now_seconds
        self._lock = threading.Lock()
        self._numbers = count()
        self._read: dict[int, tuple[float, socket.socket]] = {}

    def start(self) -> None:
        """Begins to look at the clock, in a thread of its own."""
        threading.Thread(target=self._look_forever, name="patience", daemon=True).start()

    @contextmanager
    def reading(self, connection: socket.socket) -> Iterator[None]:
        """Reading from the connection ends when its time is up within the block."""
        with self._lock:
            number = next(self._numbers)
            self._read[number] = (self._now_seconds() + self._limit_seconds, connection)
        try:
            yield
        finally:
            with self._lock:
                self._read.pop(number, None)

    def end_overdue(self) -> None:
        """Ends what is overdue: nothing more is waited for. What was read stays, and answers are
        still sent."""
        with self._lock:
            now = self._now_seconds()
            overdue = [number for number, (end, _) in self._read.items() if end <= now]
            for number in overdue:
                _, connection = self._read.pop(number)
                with suppress(OSError):  # it is closed already
                    connection.shutdown(socket.SHUT_RD)

    def _look_forever(self) -> None:
        while True:
            time.sleep(LOOK_EVERY_SECONDS)
            self.end_overdue()


class PatientWorker(ThreadWorker):
    """Gunicorn's worker with threads, whose patience with one request is limited."""

    def init_process(self) -> None:
        """See `gunicorn.workers.base.Worker`."""
        self._patience = Patience(REQUEST_SECONDS_MAX)
        self._patience.start()
        super().init_process()  # type: ignore[no-untyped-call]

    def handle(self, conn: TConn) -> Any:
        """See `gunicorn.workers.gthread.ThreadWorker`."""
        with self._patience.reading(conn.sock):
            return super().handle(conn)  # type: ignore[no-untyped-call]

    def finish_request(self, conn: TConn, fs: Any) -> None:
        """See `gunicorn.workers.gthread.ThreadWorker`. A connection that was handed over, to a
        stream of events, is not ours to close."""
        if conn.sock.fileno() == -1:
            self.nr_conns -= 1
        else:
            super().finish_request(conn, fs)  # type: ignore[no-untyped-call]
