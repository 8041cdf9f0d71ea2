"""Which process runs a follower: one in the whole fleet, by advisory locks (design 4)."""

import threading
import time
from collections.abc import Mapping
from datetime import datetime

import psycopg
import structlog
from psycopg.sql import SQL, Identifier

log = structlog.get_logger(__name__)

HANDED_OVER = "follower_handed_over"
"""The channel on which processes say that a follower is free."""

CONNECT_TIMEOUT_SECONDS = 5
LEFT_TO_OTHERS_SECONDS = 3.0
"""How long a process does not take back what it has handed over."""

WORKER_STALE_SECONDS = 10
JOIN = """
WITH gone AS (
    DELETE FROM worker_heartbeats WHERE active_at < now() - make_interval(secs => 10 * %(stale)s)
)
INSERT INTO worker_heartbeats VALUES (%(process)s, now())
ON CONFLICT (process) DO UPDATE SET active_at = now()
"""
LEAVE = "DELETE FROM worker_heartbeats WHERE process = %s"

LOCK_SPACE = 7261
"""The first key of our advisory locks; the second is a digest of the follower's name."""

WORKER_SPACE = 7262
"""The same for the lock that each living worker holds on its own name: it ends with the worker,
however that ends, while a heartbeat outlives it and followers would be left to the dead."""

UNSEAT = """
SELECT h.process, pg_terminate_backend(l.pid) FROM pg_locks l
JOIN worker_heartbeats h ON l.objid::bigint = hashtext(h.process)::bigint & 4294967295
WHERE l.locktype = 'advisory' AND l.classid = %(space)s AND l.objsubid = 2 AND l.granted
AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
AND h.active_at < now() - make_interval(secs => %(stale)s)
"""
"""Ends the connection of workers that are silent but not dead (frozen, or on a machine that lost
its power): their locks would be held for as long as the server takes the connection for alive."""

COUNT_WORKERS = """
SELECT count(*) FROM pg_locks
WHERE locktype = 'advisory' AND classid = %s AND objsubid = 2 AND granted
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class Leadership:
    """Holds a lock per follower on one connection. When the process dies so does the connection,
    and another process may take over. Nothing that is correct rests on these locks."""

    def __init__(self, conninfo: str, process: str) -> None:
        self._conninfo = conninfo
        self._process = process
        self._lock = threading.Lock()
        self._connection: psycopg.Connection | None = None
        self._held: set[str] = set()
        self._left_to_others_until: dict[str, float] = {}

    def acquire(self, follower: str) -> bool:
        """True when this process runs the follower, now or already."""
        with self._lock:
            if follower in self._held:
                return True
            if time.monotonic() < self._left_to_others_until.get(follower, 0.0):
                return False
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

    @property
    def held(self) -> frozenset[str]:
        """The followers that this process runs."""
        with self._lock:
            return frozenset(self._held)

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

    def share(self, followers_count: int) -> None:
        """Lets go of what is above this process's fair share, so that new processes get some, and
        takes from workers that have not been heard of what they cannot let go of themselves."""
        with self._lock:
            try:
                connection = self._connected()
                connection.execute(JOIN, {"process": self._process, "stale": WORKER_STALE_SECONDS})
                self._unseat_the_silent(connection)
                row = connection.execute(COUNT_WORKERS, (WORKER_SPACE,)).fetchone()
                workers = max(int(row[0]) if row else 1, 1)
                surplus = len(self._held) - -(-followers_count // workers)
                for follower in sorted(self._held)[: max(surplus, 0)]:
                    self._release(connection, follower)
            except psycopg.Error as error:
                self._give_up(error)

    def _unseat_the_silent(self, connection: psycopg.Connection) -> None:
        limits = {"space": WORKER_SPACE, "stale": WORKER_STALE_SECONDS}
        for process, is_ended in connection.execute(UNSEAT, limits):
            log.warning("silent_worker_unseated", worker=process, is_ended=is_ended)

    def _release(self, connection: psycopg.Connection, follower: str) -> None:
        self._held.discard(follower)
        self._left_to_others_until[follower] = time.monotonic() + LEFT_TO_OTHERS_SECONDS
        connection.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", (LOCK_SPACE, follower))
        connection.execute(SQL("NOTIFY {}").format(Identifier(HANDED_OVER)))
        log.info("follower_handed_over", follower=follower, process=self._process)

    def close(self) -> None:
        """Lets go of everything at once, for others to take over."""
        with self._lock:
            if self._connection is None:
                return
            try:
                for follower in sorted(self._held):
                    self._release(self._connection, follower)
                self._connection.execute(LEAVE, (self._process,))
            except psycopg.Error as error:
                log.warning("left_without_a_word", error=str(error))
            finally:
                self._connection.close()
                self._connection = None

    def _connected(self) -> psycopg.Connection:
        if self._connection is None or self._connection.closed:
            self._held.clear()
            self._connection = psycopg.connect(
                self._conninfo, autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS
            )
            self._connection.execute(
                "SELECT pg_try_advisory_lock(%s, hashtext(%s))", (WORKER_SPACE, self._process)
            )
        return self._connection

    def _give_up(self, error: psycopg.Error) -> None:
        log.warning("leadership_lost", error=str(error), followers=sorted(self._held))
        self._held.clear()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
