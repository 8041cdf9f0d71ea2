"""Reads a log's newest events once for all the followers that want them at about the same time."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from eventsourcing.persistence import Notification

from application.event_log import EventLog, Page


class LogTail:
    """The page of a log that was read last, and the one that was recorded here last. What is
    between two positions never changes within an epoch, because positions become visible in order:
    a follower that is behind another gets what that one read.
    """

    def __init__(self, log: EventLog[Any]) -> None:
        self._log = log
        self._read = Page(None, 0, ())

    def after(self, position: int, limit: int, epoch: UUID | None) -> Sequence[Notification]:
        """Up to `limit` events behind a position, in order; none only when there are none. The
        epoch is the one that the caller hands over with what it makes of them."""
        for page in (self._read, self._log.events.newest):
            if page.epoch == epoch and page.begin <= position < page.reaches_to:
                return page.after(position, limit)
        found = self._log.recorder.select_notifications(
            start=position, limit=limit, inclusive_of_start=False
        )
        self._read = Page(epoch, position, found)
        return found
