"""Which processes of the fleet live, and how each of them is: what operators see and scrape."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psutil
from psycopg.types.json import Jsonb

from domain.performance_metric import Figure
from system.persistence.postgres import PostgresPersistence, reconnecting

STALE_SECONDS = 15
"""A process that was not heard of for so long is taken for dead."""
FORGOTTEN_SECONDS = 3600
"""After so long a dead process is not shown any more."""

BEAT = """
WITH gone AS (
    DELETE FROM processes WHERE seen_at < now() - make_interval(secs => %(forgotten)s)
)
INSERT INTO processes VALUES (%(process)s, %(role)s, %(version)s, now(), now(), %(figures)s)
ON CONFLICT (process) DO UPDATE SET seen_at = now(), figures = excluded.figures
"""
LEAVE = "DELETE FROM processes WHERE process = %s"
LIST = (
    "SELECT process, role, version, started_at,"
    " extract(epoch FROM clock_timestamp() - seen_at)::float AS silent_seconds"
    " FROM processes ORDER BY role, started_at, process"
)


@dataclass(frozen=True)
class ProcessState:
    """One process: `silent_seconds` have passed since it was last heard of."""

    process: str
    role: str
    version: str
    started_at: datetime
    silent_seconds: float

    @property
    def is_alive(self) -> bool:
        """False when it was not heard of for `STALE_SECONDS`; one that ends in good order is not
        shown at all."""
        return self.silent_seconds <= STALE_SECONDS


class Presence:
    """Says of this process that it lives, with its version and how it is."""

    def __init__(
        self, persistence: PostgresPersistence, process: str, role: str, version: str
    ) -> None:
        self._persistence = persistence
        self._who = {"process": process, "role": role, "version": version}
        self._itself = psutil.Process()

    @reconnecting
    def beat(self) -> None:
        """Writes the row of this process.

        Raises:
            PersistenceError: the database is away.
        """
        figures = Jsonb(self.figures())
        with self._persistence.connection() as connection:
            connection.execute(
                BEAT.encode(), {**self._who, "figures": figures, "forgotten": FORGOTTEN_SECONDS}
            )

    def leave(self) -> None:
        """Removes the row: the process ends in good order."""
        with self._persistence.connection() as connection:
            connection.execute(LEAVE.encode(), (self._who["process"],))

    def own_figures(self, _window: timedelta) -> Iterator[Figure]:
        """What the process uses now; see `system.performance`."""
        used = self.figures()
        yield Figure("process.memory", used["memory_bytes"], "bytes", always_told=True)
        yield Figure("database.poolWaiting", used["pool_waiting"], "threads")

    def figures(self) -> dict[str, float]:
        """Memory, processor time, files and threads of the process, and its pool."""
        with self._itself.oneshot():
            times = self._itself.cpu_times()
            own: dict[str, float] = {
                "memory_bytes": self._itself.memory_info().rss,
                "cpu_seconds": times.user + times.system,
                "threads": self._itself.num_threads(),
                "open_files": self._itself.num_fds(),
            }
        return own | self._pool()

    def _pool(self) -> dict[str, float]:
        stats: Mapping[str, int] = self._persistence.datastore.pool.get_stats()
        size, free = stats.get("pool_size", 0), stats.get("pool_available", 0)
        return {
            "pool_in_use": size - free,
            "pool_idle": free,
            "pool_max": stats.get("pool_max", 0),
            "pool_waiting": stats.get("requests_waiting", 0),
        }


def processes(persistence: PostgresPersistence) -> list[ProcessState]:
    """Every process that lives, and those that died within the last hour, by role and age."""
    with persistence.connection() as connection:
        rows: list[dict[str, Any]] = connection.execute(LIST.encode()).fetchall()
    return [ProcessState(**row) for row in rows]
