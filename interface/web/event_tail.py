"""The newest events, read and written down once for all who listen to the stream."""

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from application.journal import opened_envelope
from interface.json_text import write_json
from system.applications import Applications
from system.event_status import statuses
from system.persistence.journal_queries import EntryFilter, JournalQueries
from system.persistence.postgres import PostgresPersistence

PAGE_SIZE = 50
"""Entries that are read at once, and the most that wait for one listener to take them."""
RECENT_MAX = 1000
RECENT_BYTES_MAX = 8_388_608
"""What is kept of the newest entries, in number and in bytes; who is further behind reads his own
pages."""

Row = dict[str, Any]


class Feed:
    """The journal as the API shows it."""

    def __init__(self, persistence: PostgresPersistence, applications: Applications) -> None:
        self.queries = JournalQueries(persistence)
        self._persistence = persistence
        self._applications = applications

    def documents(self, rows: list[Row]) -> list[Row]:
        """Entries as envelopes, each with its `position`."""
        if not rows:
            return []
        places = [(row["log"], row["log_position"]) for row in rows]
        known = statuses(self._applications, self._persistence, places)
        vault = self._applications.vault
        return [
            {
                "position": row["position"],
                **opened_envelope(row["envelope"], vault, known[place]),
            }
            for row, place in zip(rows, places, strict=True)
        ]

    def head(self) -> int:
        """The position of the newest entry."""
        return self._persistence.journal_head().position


@dataclass(frozen=True)
class Message:
    """One event as the stream tells it, with what listeners choose by."""

    position: int
    type: str
    aggregate_id: UUID
    correlation_id: str
    text: bytes

    def fits(self, wanted: EntryFilter) -> bool:
        """True when a listener wants it; the same rule as that of `JournalQueries.page`."""
        return (
            wanted.type in (None, self.type)
            and wanted.aggregate_id in (None, self.aggregate_id)
            and wanted.correlation_id in (None, self.correlation_id)
        )


class EventTail:
    """The newest entries of the journal. For one thread."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._recent: list[Message] = []
        self._bytes = 0
        self._begin = self.end = 0

    def restart(self) -> None:
        """Forgets what is kept and begins at the end of the journal."""
        self._recent, self._bytes = [], 0
        self._begin = self.end = self._feed.head()

    def read_on(self) -> bool:
        """Reads the next entries; False when there were none."""
        messages = self._messages(self.end, EntryFilter())
        for message in messages:
            self.end = message.position
            self._recent.append(message)
            self._bytes += len(message.text)
        while len(self._recent) > RECENT_MAX or self._bytes > RECENT_BYTES_MAX:
            dropped = self._recent.pop(0)
            self._begin = dropped.position
            self._bytes -= len(dropped.text)
        return bool(messages)

    def holds(self, after: int) -> bool:
        """True when everything behind the position is kept here."""
        return after >= self._begin

    def next(self, after: int, wanted: EntryFilter) -> tuple[bytes, int]:
        """The next messages that are wanted behind a position that `holds`, and how far they
        reach."""
        found: list[bytes] = []
        for message in self._recent[bisect_right(self._recent, after, key=_position) :]:
            after = message.position
            if message.fits(wanted):
                found.append(message.text)
            if len(found) == PAGE_SIZE:
                break
        return b"".join(found), after

    def catch_up(self, after: int, wanted: EntryFilter) -> tuple[bytes, int]:
        """The same for any position, read from the journal."""
        messages = self._messages(after, wanted)
        is_full = len(messages) == PAGE_SIZE
        reached = messages[-1].position if messages else after
        return b"".join(m.text for m in messages), reached if is_full else max(reached, self.end)

    def _messages(self, after: int, wanted: EntryFilter) -> list[Message]:
        rows = self._feed.queries.page(after, PAGE_SIZE, wanted)
        return [
            Message(
                row["position"],
                row["type"],
                row["aggregate_id"],
                row["correlation_id"],
                _text(document),
            )
            for row, document in zip(rows, self._feed.documents(rows), strict=True)
        ]


def _position(message: Message) -> int:
    return message.position


def _text(document: Row) -> bytes:
    """One event of the stream (WHATWG HTML, section 9.2); its JSON holds no line break."""
    head = f"id: {document['position']}\nevent: {document['type']}\ndata: ".encode()
    return head + write_json(document) + b"\n\n"
