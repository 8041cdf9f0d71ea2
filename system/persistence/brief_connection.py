"""A connection for who must answer soon, whatever the database does: probes, scrapes, diagnosis."""

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from psycopg import Connection, OperationalError
from psycopg.errors import ConnectionTimeout, QueryCanceled
from psycopg.rows import DictRow, dict_row

R = TypeVar("R")

CONNECT_TIMEOUT_SECONDS = 2
"""For each address that the host has."""
STATEMENT_TIMEOUT_MS = 1000
"""The server ends a statement after so long, such as one that waits for a lock."""
FROZEN_AFTER_SECONDS = 2.0
"""A server that did not even end a statement until then is not waited for."""
_LOOK_SECONDS = 0.1


class NoAnswerInTime(OperationalError):
    """The database took longer than one of the limits."""


@contextmanager
def brief_connection(conninfo: str) -> Iterator[Connection[DictRow]]:
    """A connection outside the pool, in autocommit mode, its rows as dictionaries, on which
    nothing takes longer than the limits above.

    Raises:
        NoAnswerInTime: to connect, or a statement, took too long.
        psycopg.Error: the database is away, or refused a statement.
    """
    try:
        with _BriefConnection.connect(
            conninfo,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            row_factory=dict_row,
        ) as connection:
            connection.execute(f"SET statement_timeout = {STATEMENT_TIMEOUT_MS}".encode())
            yield connection
    except (ConnectionTimeout, QueryCanceled) as error:
        raise NoAnswerInTime(f"does not answer in time: {error}") from error


class _BriefConnection(Connection[DictRow]):
    """Closes itself when the server does not answer at all: psycopg would wait for ever."""

    def wait(self, gen: Generator[Any, Any, R], *_: Any, **__: Any) -> R:
        return super().wait(self._unless_frozen(gen), _LOOK_SECONDS)

    def _unless_frozen(self, gen: Generator[Any, Any, R]) -> Generator[Any, Any, R]:
        frozen_at = time.monotonic() + FROZEN_AFTER_SECONDS
        try:
            awaited = next(gen)
            while True:
                ready = yield awaited
                if not ready and time.monotonic() > frozen_at:
                    self.close()
                    raise NoAnswerInTime(
                        f"does not answer in time: nothing came for {FROZEN_AFTER_SECONDS:g} s"
                    )
                awaited = gen.send(ready)
        except StopIteration as end:
            result: R = end.value
            return result
