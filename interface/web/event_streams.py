"""The feed as server-sent events: how many may listen, for how long, and what they are sent."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from application.journal import opened_envelope
from interface.json_text import write_json
from system.applications import Applications
from system.event_status import statuses
from system.listener import Listener
from system.persistence.journal_queries import EntryFilter, JournalQueries
from system.persistence.postgres import PostgresPersistence
from system.persistence.tables import JOURNAL

THREADS_PER_STREAM = 4
"""A process lets one stream be open for so many of its threads; the others serve requests."""
STREAM_SECONDS_MAX = 300.0
"""After so long a stream ends; a client goes on with another, from where it was."""
KEEP_ALIVE_SECONDS = 10.0
"""How often a silent stream says that it lives, and so notices that its client does not."""
PAGE_SIZE = 100
RECONNECT_MS = 1000

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


class EventStreams:
    """The open streams of one process. Nothing is kept for a slow client: its next page is read
    when it has taken the one before."""

    def __init__(self, feed: Feed, listener: Listener, web_threads: int) -> None:
        self._feed = feed
        self._places = threading.BoundedSemaphore(max(1, web_threads // THREADS_PER_STREAM))
        self._news = threading.Condition()
        self._rings = 0
        listener.subscribe(JOURNAL.channel or "", self._ring)

    def open(
        self, after: int, wanted: EntryFilter
    ) -> tuple[Iterator[bytes], Callable[[], None]] | None:
        """The bytes of a new stream and what to call at its end; None when too many are open."""
        if not self._places.acquire(blocking=False):
            return None
        return self._stream(after, wanted), self._closer()

    def _closer(self) -> Callable[[], None]:
        """Gives the stream's place back, once."""
        once = threading.Lock()

        def close() -> None:
            if once.acquire(blocking=False):
                self._places.release()

        return close

    def _stream(self, after: int, wanted: EntryFilter) -> Iterator[bytes]:
        yield f"retry: {RECONNECT_MS}\n\n".encode()
        end = time.monotonic() + STREAM_SECONDS_MAX
        while time.monotonic() < end:
            rings = self._rings
            rows = self._feed.queries.page(after, PAGE_SIZE, wanted)
            for document in self._feed.documents(rows):
                yield _message(document)
            after = rows[-1]["position"] if rows else after
            if not rows and not self._wait(rings, min(KEEP_ALIVE_SECONDS, end - time.monotonic())):
                yield b": alive\n\n"

    def _wait(self, rings: int, seconds: float) -> bool:
        """True as soon as there were entries since `rings` was read."""
        with self._news:
            return self._news.wait_for(lambda: self._rings != rings, max(seconds, 0.0))

    def _ring(self, _payload: str) -> None:
        with self._news:
            self._rings += 1
            self._news.notify_all()


def _message(document: Row) -> bytes:
    """One event of the stream (WHATWG HTML, section 9.2); its JSON holds no line break."""
    head = f"id: {document['position']}\nevent: {document['type']}\ndata: ".encode()
    return head + write_json(document) + b"\n\n"
