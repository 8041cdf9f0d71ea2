"""What can happen to a running fleet, chosen by a seed."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg

from interface.embedded_postgres import EmbeddedPostgres
from system.leadership import WORKER_STALE_SECONDS
from tests.e2e.fleet import Fleet, Process
from tests.integration.production_kit import kill_connections

LEASE_SECONDS = 1.0


@dataclass
class Trouble:
    """A fleet with all its processes, and what befalls them."""

    fleet: Fleet
    server: EmbeddedPostgres
    chance: random.Random
    webs: dict[int, Process] = field(default_factory=dict)
    workers: list[Process] = field(default_factory=list)

    def start(self, ports: list[int], workers: int) -> None:
        """Starts the fleet."""
        self.webs = {port: self.fleet.web(port) for port in ports}
        self.workers = [self.fleet.worker() for _ in range(workers)]

    def pause(self, longest_seconds: float) -> None:
        """Lets them work for a random while."""
        time.sleep(self.chance.uniform(0.0, longest_seconds))

    def worker_killed(self) -> None:
        """SIGKILL, and another takes its place."""
        victim = self.workers.pop(self.chance.randrange(len(self.workers)))
        victim.kill()
        self.workers.append(self.fleet.worker())

    def web_killed(self) -> None:
        """SIGKILL, and another takes its place and port."""
        port = self.chance.choice(list(self.webs))
        self.webs[port].kill()
        self.webs[port] = self.fleet.web(port)

    def worker_frozen(self) -> None:
        """SIGSTOP until its leases have run out, and SIGCONT."""
        self._freeze(LEASE_SECONDS * self.chance.uniform(1.5, 3.0))

    def worker_unseated(self) -> None:
        """Frozen for so long that the others take its followers, which it believes to lead still
        when it wakes."""
        self._freeze(WORKER_STALE_SECONDS + self.chance.uniform(2.0, 4.0))

    def _freeze(self, seconds: float) -> None:
        victim = self.chance.choice(self.workers)
        victim.freeze()
        try:
            time.sleep(seconds)
        finally:
            victim.thaw()

    def database_restarted(self) -> None:
        """Stopped in good order, which ends all transactions, and started again."""
        self.server.stop()
        self.pause(1.0)
        self.server.start()

    def database_crashed(self) -> None:
        """SIGKILL of one of PostgreSQL's processes: it throws its memory away and recovers from
        the disk. What did not wait for the disk is lost."""
        with psycopg.connect(self.fleet.database_url) as connection:
            pid = connection.info.backend_pid
            os.kill(pid, signal.SIGKILL)
        self.server.start()

    def connections_cut(self) -> None:
        """All at once."""
        kill_connections(self.fleet.database_url)


Fault = Callable[[Trouble], None]
FAULTS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        Trouble.worker_killed,
        Trouble.web_killed,
        Trouble.worker_frozen,
        Trouble.database_restarted,
        Trouble.database_crashed,
        Trouble.connections_cut,
    )
}
LONG_FAULTS: dict[str, Fault] = {Trouble.worker_unseated.__name__: Trouble.worker_unseated}
ALL_FAULTS = FAULTS | LONG_FAULTS
