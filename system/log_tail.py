"""Reads a log's newest events once for all the followers that want them at about the same time."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from eventsourcing.persistence import Notification

from application.event_log import EventLog

Page = tuple[UUID | None, int, Sequence[Notification]]
"""The epoch in which it was read, the position before it, and the events."""


class LogTail:
    """The page of a log that was read last. What is between two positions never changes within an
    epoch, because positions become visible in order: a follower that is behind another gets what
    that one read.
    """

    def __init__(self, log: EventLog[Any]) -> None:
        self._log = log
        self._page: Page = (None, 0, ())

    def after(self, position: int, limit: int, epoch: UUID | None) -> Sequence[Notification]:
        """Up to `limit` events behind a position, in order; none only when there are none. The
        epoch is the one that the caller hands over with what it makes of them."""
        read_in, begin, page = self._page
        if page and read_in == epoch and begin <= position < page[-1].id:
            first = bisect_right(page, position, key=_position)
            return page[first : first + limit]
        page = self._log.recorder.select_notifications(
            start=position, limit=limit, inclusive_of_start=False
        )
        self._page = (epoch, position, page)
        return page


def _position(notification: Notification) -> int:
    return notification.id
