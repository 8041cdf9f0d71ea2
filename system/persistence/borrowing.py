"""Borrows a pooled connection for one call of a recorder: the library's way to do so costs as much
as a small query."""

from types import TracebackType

import psycopg
from eventsourcing import persistence
from eventsourcing.postgres import PostgresDatastore
from psycopg import Connection
from psycopg.rows import DictRow

TRANSLATIONS: tuple[tuple[type[psycopg.Error], type[persistence.PersistenceError]], ...] = (
    (psycopg.InterfaceError, persistence.InterfaceError),
    (psycopg.OperationalError, persistence.OperationalError),
    (psycopg.DataError, persistence.DataError),
    (psycopg.IntegrityError, persistence.IntegrityError),
    (psycopg.InternalError, persistence.InternalError),
    (psycopg.ProgrammingError, persistence.ProgrammingError),
    (psycopg.NotSupportedError, persistence.NotSupportedError),
    (psycopg.DatabaseError, persistence.DatabaseError),
    (psycopg.Error, persistence.PersistenceError),
)


class Borrowed:
    """A connection in autocommit mode for the length of a `with` block.

    Raises:
        PersistenceError: the library's error for whatever psycopg raised, which is its cause.
    """

    __slots__ = ("_connection", "_datastore")

    def __init__(self, datastore: PostgresDatastore) -> None:
        self._datastore = datastore

    def __enter__(self) -> Connection[DictRow]:
        pool = self._datastore.pool
        try:
            if pool.closed:
                pool.open()
            self._connection = pool.getconn()
        except psycopg.Error as error:
            raise translated(error) from error
        return self._connection

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._datastore.pool.putconn(self._connection)
        if isinstance(error, psycopg.Error):
            raise translated(error) from error


def translated(error: psycopg.Error) -> persistence.PersistenceError:
    """An error of psycopg as the library tells it."""
    kind = next(ours for theirs, ours in TRANSLATIONS if isinstance(error, theirs))
    return kind(str(error))
