"""Which process runs a follower: one in the whole fleet, by advisory locks (design 4)."""

import threading
from collections.abc import Mapping
from datetime import datetime

import psycopg
import structlog

log = structlog.get_logger(__name__)

LOCK_SPACE = 7261
"""The first key of our advisory locks; the second is a digest of the follower's name."""


class Leadership:
    """Holds a lock per follower on one connection. When the process dies so does the connection,
    and another process may take over. Nothing that is correct rests on these locks."""

    def __init__(self, conninfo: str, process: str) -> None:
        self._conninfo = conninfo
        self._process = process
        self._lock = threading.Lock()
        self._connection: psycopg.Connection | None = None
        self._held: set[str] = set()

    def acquire(self, follower: str) -> bool:
        """True when this process runs the follower, now or already."""
        with self._lock:
            if follower in self._held:
                return True
            try:
                row = self._connected().execute(
                    "SELECT pg_try_advisory_lock(%s, hashtext(%s))", (LOCK_SPACE, follower)
                )
                is_mine = bool((row.fetchone() or (False,))[0])
            except psycopg.Error as error:
                self._give_up(error)
                return False
            if is_mine:
                self._held.add(follower)
            return is_mine

    def report(self, active_at: Mapping[str, datetime]) -> None:
        """Writes when followers were last active, and so notices a lost connection."""
        with self._lock:
            try:
                with self._connected().cursor() as cursor:
                    cursor.executemany(
                        "INSERT INTO follower_heartbeats VALUES (%s, %s, %s) "
                        "ON CONFLICT (follower) DO UPDATE SET "
                        "process = excluded.process, active_at = excluded.active_at",
                        [
                            (name, self._process, moment)
                            for name, moment in sorted(active_at.items())
                            if name in self._held
                        ],
                    )
                    cursor.execute("SELECT 1")
            except psycopg.Error as error:
                self._give_up(error)

    def close(self) -> None:
        """Lets go of everything at once, for others to take over."""
        with self._lock:
            self._held.clear()
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _connected(self) -> psycopg.Connection:
        if self._connection is None or self._connection.closed:
            self._held.clear()
            self._connection = psycopg.connect(self._conninfo, autocommit=True)
        return self._connection

    def _give_up(self, error: psycopg.Error) -> None:
        log.warning("leadership_lost", error=str(error), followers=sorted(self._held))
        self._held.clear()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
