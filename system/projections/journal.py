"""The Journal: every event of every log once, in one global order, each entry chained to the one
before (design 6)."""

from typing import Any

from application.event_log import Work
from application.journal import Link, content_of, entry_of, link_after, record_hash
from application.ports import Clock, Persistence
from application.rows import Insert, RowChange
from system.followers.base import Projection
from system.parking import subject_of
from system.persistence.tables import JOURNAL


class Journal(Projection):
    """Follows every log. Its one runner in the fleet gives out positions and hashes, from the head
    that it remembers. Should two processes take themselves for that runner, the table's key lets
    one of them write an entry at a position; the other's batch is refused, and taken again from the
    true head. Never rebuilt: an entry is for ever.
    """

    name = "Journal"
    tables = (JOURNAL.name,)
    is_rebuildable = False
    rest_seconds = 0.25

    def __init__(self, persistence: Persistence, clock: Clock) -> None:
        super().__init__(persistence, clock)
        self._head: Link | None = None

    def concerns(self, event_class: type) -> bool:
        """See `BatchFollower.concerns`: everything does."""
        return True

    def policy(self, event: Any, work: Any) -> None:
        """Adds the event's entry to the batch, without its place in the chain."""
        log, stored = work.source
        entry = entry_of(event, subject_of(event), log, stored.id, record_hash(stored))
        work.change(Insert(JOURNAL.name, (), vars(entry)))

    def record_batch(self, work: Work) -> None:
        """See `BatchFollower.record_batch`; first the batch's entries get their places."""
        head = self._head or self._persistence.journal_head()
        work.rows, head = chained(work.rows, head)
        self._head = None
        super().record_batch(work)
        self._head = head


def chained(rows: list[RowChange], head: Link) -> tuple[list[RowChange], Link]:
    """The rows with all entries among them put in the chain behind `head`, and the new head."""
    placed: list[RowChange] = []
    for row in rows:
        if isinstance(row, Insert) and row.table == JOURNAL.name:
            head = link_after(head, content_of(row.values))
            row = Insert(row.table, (head.position,), {**row.values, "hash": head.hash})
        placed.append(row)
    return placed, head
