"""One LISTEN connection per process, telling whoever asked about what was recorded elsewhere."""

import threading
from collections.abc import Callable

import psycopg
import structlog
from psycopg.sql import SQL, Identifier

log = structlog.get_logger(__name__)

Hear = Callable[[str], None]
"""Called with a notification's payload; "" means: anything may have happened."""

STOP_CHECK_SECONDS = 0.5
CONNECT_TIMEOUT_SECONDS = 5
RECONNECT_SECONDS = 0.5


class Listener:
    """Calls the subscribers of a channel for each notification. After a lost connection every
    subscriber is called once, because something may have been missed."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._subscribers: dict[str, list[Hear]] = {}
        self._stopping = threading.Event()
        self._is_listening = threading.Event()
        self._thread = threading.Thread(target=self._listen_forever, name="listener", daemon=True)

    def subscribe(self, channel: str, hear: Hear) -> None:
        """Adds a subscriber; before `start` only."""
        self._subscribers.setdefault(channel, []).append(hear)

    def start(self, timeout_seconds: float = 10.0) -> None:
        """Begins to listen; returns when it does, or after the time-out."""
        self._thread.start()
        self._is_listening.wait(timeout_seconds)

    def stop(self) -> None:
        """Stops listening."""
        self._stopping.set()
        self._thread.join()

    def _listen_forever(self) -> None:
        while not self._stopping.is_set():
            try:
                self._listen()
            except psycopg.Error as error:
                log.warning("listener_reconnects", error=str(error))
                self._stopping.wait(RECONNECT_SECONDS)

    def _listen(self) -> None:
        with psycopg.connect(
            self._conninfo, autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS
        ) as connection:
            for channel in self._subscribers:
                connection.execute(SQL("LISTEN {}").format(Identifier(channel)))
            self._is_listening.set()
            for channel in self._subscribers:
                self._tell(channel, "")
            while not self._stopping.is_set():
                for notification in connection.notifies(timeout=STOP_CHECK_SECONDS):
                    self._tell(notification.channel, notification.payload)
                    if self._stopping.is_set():
                        break

    def _tell(self, channel: str, payload: str) -> None:
        for hear in self._subscribers.get(channel, ()):
            hear(payload)
