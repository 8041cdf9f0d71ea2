"""The agenda as the dispatcher sees it: what is due, who has claimed it, until when."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from system.persistence.memory import MemoryTables
from system.persistence.postgres import PostgresPersistence
from system.persistence.tables import AGENDA
from system.work_item import WorkItem, WorkKind

Capacity = Mapping[WorkKind, int]
"""How many more items of each kind may be claimed."""


class TakesBack(Protocol):
    """Where work goes that could not be finished."""

    def put_back(self, item: WorkItem, due_at: datetime, *, was_begun: bool) -> None:
        """Gives up the claim on an item, unless it is another's by now. An attempt that was not
        begun does not count."""
        ...


class AgendaStore(TakesBack, Protocol):
    """Claims and leases (design 5). A committed claim says that the work may have been begun."""

    def claim(
        self, now: datetime, capacity: Capacity, worker: str, lease: timedelta
    ) -> list[WorkItem]:
        """Claims due work for a worker until its lease runs out, earliest first."""
        ...

    def renew(self, work_ids: Sequence[UUID], worker: str, until: datetime) -> None:
        """Prolongs leases that the worker still holds."""
        ...

    def next_due_at(self, after: datetime) -> datetime | None:
        """The first moment after this one at which work falls due, or a lease runs out."""
        ...


CLAIM = """
WITH due AS (
    SELECT found.work_id FROM unnest(%(kinds)s::text[], %(counts)s::int[]) AS free(kind, count)
    CROSS JOIN LATERAL (
        SELECT work_id FROM agenda
        WHERE kind = free.kind AND due_at <= %(now)s
        AND (claimed_until IS NULL OR claimed_until <= %(now)s)
        ORDER BY due_at LIMIT free.count FOR UPDATE SKIP LOCKED
    ) AS found
)
UPDATE agenda SET attempts = attempts + 1, claimed_by = %(worker)s, claimed_until = %(until)s
FROM due WHERE agenda.work_id = due.work_id RETURNING agenda.*
"""

NEXT_DUE = """
SELECT least(
    (SELECT min(due_at) FROM agenda WHERE claimed_until IS NULL AND due_at > %(after)s),
    (SELECT min(greatest(due_at, claimed_until)) FROM agenda
        WHERE claimed_until IS NOT NULL AND greatest(due_at, claimed_until) > %(after)s)
) AS due_at
"""
"""In two parts, each of which has its index: there is a row for every page that is open."""

PUT_BACK = """
UPDATE agenda SET due_at = %(due_at)s, claimed_by = NULL, claimed_until = NULL,
    attempts = attempts - CASE WHEN %(was_begun)s THEN 0 ELSE 1 END
WHERE work_id = %(work_id)s AND attempts = %(attempts)s
"""
"""The number of attempts tells this claim from a later one, made after its lease ran out."""


class PostgresAgendaStore:
    """The agenda shared by all workers."""

    def __init__(self, persistence: PostgresPersistence) -> None:
        self._persistence = persistence

    def claim(
        self, now: datetime, capacity: Capacity, worker: str, lease: timedelta
    ) -> list[WorkItem]:
        """See `AgendaStore.claim`."""
        free = {kind.value: count for kind, count in capacity.items() if count > 0}
        if not free:
            return []
        parameters = {
            "kinds": list(free),
            "counts": list(free.values()),
            "now": now,
            "worker": worker,
            "until": now + lease,
        }
        with self._persistence.connection() as connection:
            rows = connection.execute(CLAIM, parameters, prepare=True).fetchall()
        return sorted(map(WorkItem.of, rows), key=lambda item: item.due_at)

    def renew(self, work_ids: Sequence[UUID], worker: str, until: datetime) -> None:
        """See `AgendaStore.renew`."""
        with self._persistence.connection() as connection:
            connection.execute(
                "UPDATE agenda SET claimed_until = %s WHERE work_id = ANY(%s) AND claimed_by = %s",
                (until, list(work_ids), worker),
            )

    def put_back(self, item: WorkItem, due_at: datetime, *, was_begun: bool) -> None:
        """See `TakesBack.put_back`."""
        with self._persistence.connection() as connection:
            connection.execute(
                PUT_BACK,
                {
                    "work_id": item.work_id,
                    "attempts": item.attempts,
                    "due_at": due_at,
                    "was_begun": was_begun,
                },
            )

    def next_due_at(self, after: datetime) -> datetime | None:
        """See `AgendaStore.next_due_at`."""
        with self._persistence.connection() as connection:
            row = connection.execute(NEXT_DUE, {"after": after}, prepare=True).fetchone()
        return row["due_at"] if row else None


class MemoryAgendaStore:
    """The agenda of the test mode: one worker, whose claims never run out."""

    def __init__(self, tables: MemoryTables) -> None:
        self._rows = tables.rows[AGENDA.name]

    def claim_next(self, now: datetime) -> WorkItem | None:
        """Claims the work that has been due longest; None when nothing is due."""
        due = self.due(now)
        return self.claim(due[0]) if due else None

    def due(self, now: datetime) -> list[UUID]:
        """The ids of the work that is due, longest first."""
        due = [(row["due_at"], key[0]) for key, row in self._rows.items() if row["due_at"] <= now]
        return [work_id for _, work_id in sorted(due)]

    def claim(self, work_id: UUID) -> WorkItem:
        """Claims a piece of work.

        Raises:
            KeyError: it is not on the agenda any more.
        """
        row = self._rows[(work_id,)]
        row["attempts"] += 1
        return WorkItem.of({"work_id": work_id, **row})

    def put_back(self, item: WorkItem, due_at: datetime, *, was_begun: bool) -> None:
        """See `TakesBack.put_back`."""
        row = self._rows.get((item.work_id,))
        if row is not None:
            row["due_at"] = due_at
            row["attempts"] -= 0 if was_begun else 1

    def next_due_at(self) -> datetime | None:
        """When the next work falls due; a moment that has passed when some is due."""
        return min((row["due_at"] for row in self._rows.values()), default=None)
