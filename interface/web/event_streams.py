"""The feed as server-sent events: one thread of a process serves all who listen.

A listener's connection is taken from the thread that read its request, which goes on with other
requests: hundreds may listen without anybody else being kept waiting.
"""

import errno
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
from eventsourcing.persistence import PersistenceError
from psycopg import Error as DatabaseError

from interface.web.event_tail import EventTail, Feed
from system.listener import Listener
from system.persistence.journal_queries import EntryFilter
from system.persistence.tables import JOURNAL

log = structlog.get_logger(__name__)

STREAMS_MAX = 500
"""Streams that a process serves; threads that open some at the same time may open a few more."""
STREAM_SECONDS_MAX = 300.0
"""After so long a stream ends; a client goes on with another, from where it was. So a key that was
revoked hears no more than that."""
KEEP_ALIVE_SECONDS = 10.0
"""How often a silent stream says that it lives."""
STALL_SECONDS_MAX = 30.0
"""A client that takes nothing for so long is given up; it may come again."""
READ_AGAIN_SECONDS = 10.0
"""How often to look for news although nobody told of any."""
LOOK_SECONDS = 1.0
RETRY_SECONDS = 1.0
"""How soon to ask a database again that did not answer."""
RECONNECT_MS = 1000
IGNORED_BYTES = 4096

ALIVE = b": alive\n\n"
LAST_CHUNK = b"0\r\n\r\n"
UNREACHABLE = (DatabaseError, PersistenceError)
UNCHUNKED = frozenset({"HTTP/0.9", "HTTP/1.0"})


class HandedOver(ConnectionError):
    """Tells the server that it has no connection to go on with. It is no fault."""

    def __init__(self) -> None:
        super().__init__(errno.ENOTCONN, "the connection was handed over")


@dataclass(eq=False)
class Stream:
    """One listener: what it wants, how far it has come, and what it has not taken so far."""

    connection: socket.socket
    after: int
    wanted: EntryFilter
    is_chunked: bool
    end_at: float
    moved_at: float = field(default_factory=time.monotonic)
    """When it last took something."""
    unsent: bytes = b""

    def fill(self, text: bytes) -> None:
        """More for it to take."""
        framed = b"%x\r\n%b\r\n" % (len(text), text) if self.is_chunked else text
        self.unsent += framed

    def flush(self) -> None:
        """Sends as much as the client takes at this moment.

        Raises:
            OSError: the connection is gone.
        """
        with suppress(BlockingIOError):
            while self.unsent:
                sent = self.connection.send(self.unsent)
                self.unsent = self.unsent[sent:]
                self.moved_at = time.monotonic()


class EventStreams:
    """The open streams of one process. Each holds a page at the most that its client has not
    taken: the next one is read, or picked from the newest events, when it has."""

    def __init__(self, feed: Feed, listener: Listener) -> None:
        self._tail = EventTail(feed)
        self._lock = threading.Lock()
        self._arriving: list[Stream] = []
        self._streams: set[Stream] = set()
        self._behind: deque[Stream] = deque()
        self._has_news = False
        self._retry_at = self._read_again_at = 0.0
        self._is_stopping = False
        self._thread: threading.Thread | None = None
        self._selector = selectors.DefaultSelector()
        self._alarm, self._bell = os.pipe()
        for end in (self._alarm, self._bell):
            os.set_blocking(end, False)
        self._selector.register(self._alarm, selectors.EVENT_READ)
        listener.subscribe(JOURNAL.channel or "", self._hear)

    @property
    def is_full(self) -> bool:
        """True when no more streams are served."""
        return len(self._streams) + len(self._arriving) >= STREAMS_MAX

    def answer(
        self, after: int, wanted: EntryFilter, environment: Mapping[str, Any]
    ) -> Iterator[bytes]:
        """The body of an answer: says where the stream begins, so that a client that is cut off
        before the first event misses none, and then takes the connection over. From a server that
        shows no connection, such as a test client, nothing more comes."""
        yield f"retry: {RECONNECT_MS}\nid: {after}\n\n".encode()
        server = environment.get("gunicorn.socket") or environment.get("werkzeug.socket")
        if server is None:
            return
        connection = socket.socket(fileno=server.detach())
        connection.setblocking(False)
        is_chunked = environment["SERVER_PROTOCOL"] not in UNCHUNKED
        end_at = time.monotonic() + STREAM_SECONDS_MAX
        self._adopt(Stream(connection, after, wanted, is_chunked, end_at))
        raise HandedOver

    def stop(self) -> None:
        """Ends all streams, as they end when their time is up; once."""
        if self._is_stopping:
            return
        self._is_stopping = True
        self._ring()
        if self._thread is not None:
            self._thread.join()
        self._selector.close()
        for end in (self._alarm, self._bell):
            os.close(end)

    def _adopt(self, stream: Stream) -> None:
        with self._lock:
            self._arriving.append(stream)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="streams", daemon=True)
                self._thread.start()
        self._ring()

    def _hear(self, _payload: str) -> None:
        self._has_news = True
        if self._streams:
            self._ring()

    def _ring(self) -> None:
        with suppress(OSError):  # it rings already, or all is over
            os.write(self._bell, b"!")

    # From here on: in the thread of the streams

    def _run(self) -> None:
        while not self._is_stopping:
            try:
                self._turn()
            except UNREACHABLE as error:
                log.warning("streams_wait_for_database", error=str(error))
                self._retry_at = time.monotonic() + RETRY_SECONDS
            except Exception:
                log.exception("streams_failed")
                self._retry_at = time.monotonic() + RETRY_SECONDS
        for stream in list(self._streams):
            self._end(stream)

    def _turn(self) -> None:
        self._wait()
        if self._is_database_spared:
            self._look_after_all()
            return
        self._welcome()
        self._read_news()
        self._catch_one_up()
        self._look_after_all()

    @property
    def _is_database_spared(self) -> bool:
        return time.monotonic() < self._retry_at

    def _wait(self) -> None:
        has_work = (self._behind or self._has_news) and not self._is_database_spared
        seconds = 0.0 if has_work and self._streams else min(LOOK_SECONDS, KEEP_ALIVE_SECONDS)
        for key, events in self._selector.select(seconds):
            if key.fd == self._alarm:
                os.read(self._alarm, IGNORED_BYTES)
            elif events & selectors.EVENT_READ and not _is_open(key.data):
                self._drop(key.data)
            elif events & selectors.EVENT_WRITE:
                self._serve(key.data)

    def _welcome(self) -> None:
        if self._arriving and not self._streams:
            self._tail.restart()
        with self._lock:
            arriving, self._arriving = self._arriving, []
            self._streams.update(arriving)
        for stream in arriving:
            self._selector.register(stream.connection, selectors.EVENT_READ, stream)
            self._serve(stream)

    def _read_news(self) -> None:
        is_overdue = time.monotonic() >= self._read_again_at
        if not self._streams or not (self._has_news or is_overdue):
            return
        self._has_news = False
        self._read_again_at = time.monotonic() + READ_AGAIN_SECONDS
        try:
            may_be_more = self._tail.read_on()
        except BaseException:
            self._has_news = True
            raise
        if may_be_more:  # never back to False: news may have come while these were read
            self._has_news = True
        for stream in list(self._streams):
            self._serve(stream)

    def _catch_one_up(self) -> None:
        """One page for one stream, so that the others are not kept waiting."""
        if not self._behind:
            return
        stream = self._behind[0]
        try:
            text, after = self._tail.catch_up(stream.after, stream.wanted)
        except UNREACHABLE:
            raise
        except Exception:
            log.exception("stream_failed", after=stream.after)
            self._drop(stream)
            return
        self._behind.popleft()
        self._hand(stream, text, after)
        self._serve(stream)

    def _serve(self, stream: Stream) -> None:
        """Sends what is waiting, and what there is next when that is all taken."""
        try:
            stream.flush()
            if not stream.unsent and time.monotonic() < stream.end_at:
                self._refill(stream)
                stream.flush()
        except OSError:
            self._drop(stream)
            return
        self._watch(stream)

    def _refill(self, stream: Stream) -> None:
        while not stream.unsent and stream.after < self._tail.end:
            if not self._tail.holds(stream.after):
                if stream not in self._behind:
                    self._behind.append(stream)
                return
            self._hand(stream, *self._tail.next(stream.after, stream.wanted))

    def _hand(self, stream: Stream, text: bytes, after: int) -> None:
        stream.after = after
        if text:
            stream.fill(text)

    def _watch(self, stream: Stream) -> None:
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if stream.unsent else 0)
        if self._selector.get_key(stream.connection).events != wanted:
            self._selector.modify(stream.connection, wanted, stream)

    def _look_after_all(self) -> None:
        now = time.monotonic()
        for stream in list(self._streams):
            silent_seconds = now - stream.moved_at
            if stream.unsent:
                if silent_seconds >= STALL_SECONDS_MAX:
                    self._drop(stream)
            elif now >= stream.end_at:
                self._end(stream)
            elif silent_seconds >= KEEP_ALIVE_SECONDS:
                stream.fill(ALIVE)
                self._serve(stream)

    def _end(self, stream: Stream) -> None:
        if stream.is_chunked and not stream.unsent:
            with suppress(OSError):
                stream.connection.send(LAST_CHUNK)
        self._drop(stream)

    def _drop(self, stream: Stream) -> None:
        self._streams.discard(stream)
        with suppress(ValueError):
            self._behind.remove(stream)
        with suppress(KeyError, ValueError):
            self._selector.unregister(stream.connection)
        stream.connection.close()


def _is_open(stream: Stream) -> bool:
    """False when the client has gone; what it says after its request is passed over."""
    try:
        return bool(stream.connection.recv(IGNORED_BYTES))
    except BlockingIOError:
        return True
    except OSError:
        return False
