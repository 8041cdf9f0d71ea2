"""Makes a read model anew while the service runs: fills new tables, catches up, swaps (design 6).

The new tables follow the recorded position of the live follower and never pass it. So at the swap,
under the lock of that position, both have taken in the very same events, and the follower goes on
with the new tables where it stopped with the old ones.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from eventsourcing.persistence import Notification
from eventsourcing.utils import resolve_topic
from psycopg import Connection
from psycopg.rows import DictRow, dict_row
from psycopg.sql import SQL, Identifier

from application.event_log import EventLog
from application.rows import RowChange, fold
from system.applications import Applications
from system.followers.base import Projection
from system.persistence.postgres import PostgresPersistence
from system.persistence.shadow_tables import ShadowTables

BATCH_SIZE = 10_000
"""The most events of one transaction: what they mean for a row is written once."""
PAGE_SIZE = 1000
"""The most events that are held at once."""
SWAP_WITHIN_EVENTS = 500
"""So few events may be left to take in under the lock of the swap."""
SWAP_ATTEMPTS_MAX = 60
SWAP_LOCK_TIMEOUT_MS = 1000
"""How long a swap waits for those who read the live tables, and others for it. Then it lets them
pass and tries again."""
SWAP_PAUSE_SECONDS = 0.5
CONNECT_TIMEOUT_SECONDS = 5

REBUILD_SPACE = 7263
"""The first key of the advisory lock that a rebuild holds; the second is a digest of its name."""

IS_RUNNING = """
SELECT EXISTS (
    SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted
    AND classid = %s AND objid::bigint = (hashtext(%s)::bigint & 4294967295)
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
) AS is_running
"""

Progress = Callable[[int, int], None]
"""Told how many events of the logs are taken in, and how many there are."""


class RebuildRefused(Exception):
    """A rebuild cannot begin, or cannot end; the text says why and what to do."""


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild came to. `is_resumed` when it went on with one that was interrupted."""

    projection: str
    events: int
    is_resumed: bool


@dataclass(frozen=True)
class RebuildState:
    """How far a rebuild has come: `position` of `total` events are taken in. One that is not
    running was interrupted, and goes on when it is asked for again."""

    projection: str
    is_running: bool
    is_interrupted: bool
    position: int
    total: int


def rebuild_state(
    persistence: PostgresPersistence, applications: Applications, name: str
) -> RebuildState:
    """The state of a projection's rebuild, if there is one under way."""
    projection = applications.by_name[name]
    assert isinstance(projection, Projection)
    with persistence.connection() as connection:
        left = connection.execute(
            "SELECT leader, position FROM rebuilds WHERE projection = %s", (name,)
        ).fetchall()
        row = connection.execute(IS_RUNNING, (REBUILD_SPACE, name)).fetchone()
    is_running = row is not None and bool(row["is_running"])
    reached = [projection.recorder.max_tracking_id(each["leader"]) or 0 for each in left]
    return RebuildState(
        projection=name,
        is_running=is_running,
        is_interrupted=bool(left) and not is_running,
        position=sum(each["position"] for each in left),
        total=sum(reached),
    )


def rebuildable(applications: Applications) -> list[str]:
    """The names of the projections that can be rebuilt."""
    return [
        name
        for name, application in applications.by_name.items()
        if isinstance(application, Projection) and application.is_rebuildable
    ]


def require_rebuildable(applications: Applications, names: Iterable[str]) -> None:
    """All of these can be rebuilt.

    Raises:
        RebuildRefused: one is no projection, or must not be rebuilt.
    """
    known = rebuildable(applications)
    for name in names:
        if name not in known:
            raise RebuildRefused(f"'{name}' cannot be rebuilt: choose one of {', '.join(known)}")


class Rebuild:
    """One rebuild of one projection. Interrupt it whenever you like: the next one goes on.

    Raises:
        RebuildRefused: there is no such projection, or it must not be rebuilt, or its tables
            belong to another role of the database.
    """

    def __init__(
        self, persistence: PostgresPersistence, applications: Applications, name: str
    ) -> None:
        require_rebuildable(applications, [name])
        projection = applications.by_name[name]
        assert isinstance(projection, Projection)
        self._projection = projection
        self._leaders = dict(applications.followers())[projection]
        self._persistence = persistence
        self._shadow = ShadowTables(projection.tables)
        with persistence.connection() as connection:
            if not self._shadow.may_take_places(connection):
                raise RebuildRefused(
                    f"the tables of {name} belong to another role of the database: give the "
                    f"command `paysaga projections rebuild {name}` with that role's address"
                )
        self._writer = self._shadow.writer()
        self._writer.vault = applications.vault
        self._positions: dict[str, int] = {}
        self._concerns: dict[str, bool] = {}

    def run(self, progress: Progress = lambda _done, _total: None) -> Rebuilt:
        """Rebuilds, from the beginning or from where an interrupted rebuild stopped.

        Raises:
            RebuildRefused: the same is under way elsewhere, an event cannot be taken in, or the
                live tables are never free for the swap.
        """
        with self._alone() as connection:
            is_resumed = self._begin(connection)
            self._catch_up(connection, progress, within=0)
            self._shadow.index(connection)
            self._swap(connection, progress)
            self._shadow.drop(connection)
        return Rebuilt(self._projection.name, sum(self._positions.values()), is_resumed)

    @contextmanager
    def _alone(self) -> Iterator[Connection[DictRow]]:
        with psycopg.connect(
            self._persistence.conninfo,
            autocommit=True,
            row_factory=dict_row,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
        ) as connection:
            row = connection.execute(
                "SELECT pg_try_advisory_lock(%s, hashtext(%s)) AS is_mine",
                (REBUILD_SPACE, self._projection.name),
            ).fetchone()
            if not row or not row["is_mine"]:
                raise RebuildRefused(f"a rebuild of {self._projection.name} is under way already")
            try:
                yield connection
            finally:
                self._let_the_next_begin(connection)

    def _let_the_next_begin(self, connection: Connection[DictRow]) -> None:
        """Gives the lock back: the server notices only after a while that a connection is gone."""
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock_all()")

    def _begin(self, connection: Connection[DictRow]) -> bool:
        """Goes on with what an interrupted rebuild has left, if that is of the same version."""
        left = connection.execute(
            "SELECT leader, position FROM rebuilds WHERE projection = %s AND version = %s",
            (self._projection.name, self._projection.version),
        ).fetchall()
        if left and self._shadow.exist(connection):
            self._positions = {row["leader"]: row["position"] for row in left}
            return True
        with connection.transaction():
            self._shadow.create(connection)
            connection.execute(
                "DELETE FROM rebuilds WHERE projection = %s", (self._projection.name,)
            )
            for leader in self._leaders:
                connection.execute(
                    "INSERT INTO rebuilds (projection, leader, version) VALUES (%s, %s, %s)",
                    (self._projection.name, leader.name, self._projection.version),
                )
        self._positions = {leader.name: 0 for leader in self._leaders}
        return False

    def _catch_up(
        self, connection: Connection[DictRow], progress: Progress, *, within: int
    ) -> None:
        """Takes in events until at most `within` are left before the live follower's positions."""
        while True:
            live = self._live_positions(connection)
            progress(sum(self._positions.values()), sum(live.values()))
            behind = {name: live[name] - position for name, position in self._positions.items()}
            if sum(behind.values()) <= within:
                return
            leader = next(each for each in self._leaders if behind[each.name] > 0)
            with connection.transaction():
                connection.execute("SET LOCAL synchronous_commit = off")
                self._take_in(connection, leader, live[leader.name])

    def _take_in(self, connection: Connection[DictRow], leader: EventLog[Any], last: int) -> None:
        """Takes in the next batch of a log up to the position `last`."""
        self._writer.write(connection, self._own(fold(self._changes(leader, last))))
        connection.execute(
            "UPDATE rebuilds SET position = %s WHERE projection = %s AND leader = %s",
            (self._positions[leader.name], self._projection.name, leader.name),
        )

    def _batch(self, leader: EventLog[Any], last: int) -> Iterator[Notification]:
        """The next events of a log up to the position `last`, read page by page."""
        position, left = self._positions[leader.name], BATCH_SIZE
        while left > 0 and position < last:
            size = min(left, PAGE_SIZE)
            page = leader.recorder.select_notifications(position, size, inclusive_of_start=False)
            yield from (each for each in page if each.id <= last)
            position = min(page[-1].id, last) if len(page) == size else last
            left -= size
        self._positions[leader.name] = position

    def _changes(self, leader: EventLog[Any], last: int) -> Iterator[RowChange]:
        project, decode = self._projection.project, leader.mapper.decode
        for event in self._batch(leader, last):
            try:
                if not self._is_concerned_by(event.topic):
                    continue
                yield from project(
                    decode(event.originator_id, event.originator_version, event.topic, event.state)
                )
            except Exception as error:
                raise RebuildRefused(
                    f"{self._projection.name} cannot take in the event at position {event.id} "
                    f"of the log {leader.name}: {type(error).__name__}: {error}"
                ) from error

    def _own(self, changes: list[RowChange]) -> list[RowChange]:
        """The same changes.

        Raises:
            RebuildRefused: some are of tables that are not the projection's.
        """
        foreign = {change.table for change in changes} - set(self._projection.tables)
        if foreign:
            raise RebuildRefused(f"{self._projection.name} may not write to {sorted(foreign)}")
        return changes

    def _is_concerned_by(self, topic: str) -> bool:
        concerned = self._concerns.get(topic)
        if concerned is None:
            concerned = self._projection.concerns(resolve_topic(topic))
            self._concerns[topic] = concerned
        return concerned

    def _swap(self, connection: Connection[DictRow], progress: Progress) -> None:
        for _ in range(SWAP_ATTEMPTS_MAX):
            self._catch_up(connection, progress, within=SWAP_WITHIN_EVENTS)
            before = dict(self._positions)
            try:
                with connection.transaction():
                    self._take_places(connection)
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
                self._positions = before
                time.sleep(SWAP_PAUSE_SECONDS)
            else:
                progress(sum(self._positions.values()), sum(self._positions.values()))
                return
        raise RebuildRefused("the live tables are never free: run it again, it will go on")

    def _take_places(self, connection: Connection[DictRow]) -> None:
        """The last events, then the swap, while the live follower waits for its position."""
        name = self._projection.name
        connection.execute(
            SQL("SET LOCAL lock_timeout = {}").format(SQL(str(SWAP_LOCK_TIMEOUT_MS)))
        )
        live = self._live_positions(connection, is_locked=True)
        for leader in self._leaders:
            while self._positions[leader.name] < live[leader.name]:
                self._take_in(connection, leader, live[leader.name])
        self._forget_parked(connection)
        self._shadow.take_places(connection)
        connection.execute("DELETE FROM rebuilds WHERE projection = %s", (name,))
        connection.execute(
            "INSERT INTO projections VALUES (%s, %s) "
            "ON CONFLICT (name) DO UPDATE SET version = excluded.version",
            (name, self._projection.version),
        )

    def _live_positions(
        self, connection: Connection[DictRow], *, is_locked: bool = False
    ) -> dict[str, int]:
        """How far the live follower has come in each log, so that it goes no further if locked."""
        tracking = Identifier(f"{self._projection.name.lower()}_tracking")
        insert = SQL("INSERT INTO {} VALUES (%s, 0) ON CONFLICT DO NOTHING").format(tracking)
        select = SQL("SELECT notification_id FROM {} WHERE application_name = %s").format(tracking)
        found: dict[str, int] = {}
        for leader in self._leaders:
            if is_locked:
                connection.execute(insert, (leader.name,))
            query = select + SQL(" FOR UPDATE") if is_locked else select
            row = connection.execute(query, (leader.name,)).fetchone()
            found[leader.name] = row["notification_id"] if row else 0
        return found

    def _forget_parked(self, connection: Connection[DictRow]) -> None:
        """Events that the live follower had set aside are in the new tables: it must not take
        them in again, not even if an operator has released them at this very moment."""
        tracking = Identifier(f"{self._projection.name.lower()}_tracking")
        connection.execute(
            SQL(
                "INSERT INTO {} SELECT leader || '#' || position, 1 FROM parked_events "
                "WHERE follower = %s ON CONFLICT DO NOTHING"
            ).format(tracking),
            (self._projection.name,),
        )
        connection.execute(
            "DELETE FROM parked_events WHERE follower = %s", (self._projection.name,)
        )
        connection.execute("NOTIFY parked_events")
