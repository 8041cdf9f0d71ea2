"""The PostgreSQL store: event logs that append in one round trip, views, and client keys."""

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from itertools import count
from typing import Any, TypeVar, cast
from uuid import UUID

import psycopg
from eventsourcing.persistence import (
    InfrastructureFactory,
    IntegrityError,
    InterfaceError,
    Notification,
    OperationalError,
    StoredEvent,
    Tracking,
)
from eventsourcing.postgres import (
    PostgresDatastore,
    PostgresFactory,
    PostgresProcessRecorder,
)
from eventsourcing.utils import Environment
from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow
from psycopg.sql import SQL, Identifier
from psycopg_pool import PoolTimeout

from application.journal import BEGINNING, Link
from application.rows import Delete, RowChange, fold
from application.vault import ClientKey, Vault
from system.persistence.borrowing import Borrowed
from system.persistence.epoch import Epoch
from system.persistence.log_function import WAIT_FOR_DISK, LogNames, create_append_routines
from system.persistence.log_queries import VERSION_MAX, LogQueries
from system.persistence.row_sql import RowWriter
from system.persistence.schema import prepare
from system.persistence.tables import AGENDA, TABLES

_failures = count(1)
"""Numbers the batches that PostgreSQL refused."""

STATEMENT_TIMEOUT_MS = 30_000
LOCK_TIMEOUT_MS = 10_000
POOL_TIMEOUT_SECONDS = 5.0
POOL_RECONNECT_SECONDS = 5.0
"""After so long the pool gives up connecting until somebody asks for a connection again. With
its own default its waits would double for five minutes, and outlast the outage."""


F = TypeVar("F", bound=Callable[..., Any])


def reconnecting(method: F) -> F:
    """Does a method once more when its connection turns out to be dead. For methods and functions
    whose first argument has a `datastore`, or keeps its `PostgresPersistence` as `_persistence`.

    After a restart of PostgreSQL every pooled connection is; the pool is cleared of them first.
    When no connection is to be had at all the error is raised at once.
    """

    @wraps(method)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except (InterfaceError, OperationalError) as error:
            _clear_of_dead_connections(getattr(self, "_persistence", self).datastore, error)
            return method(self, *args, **kwargs)

    return cast(F, wrapped)


def _clear_of_dead_connections(datastore: PostgresDatastore, error: Exception) -> None:
    if isinstance(error.__cause__, PoolTimeout):
        raise error
    datastore.pool.check()


class PostgresRecorder(PostgresProcessRecorder):
    """One application's log. Events, row changes and position go in together or not at all."""

    def __init__(self, datastore: PostgresDatastore, writer: RowWriter, name: str) -> None:
        super().__init__(
            datastore,
            events_table_name=f"{name}_events",
            tracking_table_name=f"{name}_tracking",
        )
        names = LogNames(
            events=self.events_table_name,
            tracking=self.tracking_table_name,
            channel=self.channel_name,
            function=f"{name}_append",
            procedure=f"{name}_keep",
        )
        self.sql_create_statements[self.create_insert_function_statement_index] = (
            create_append_routines(names)
        )
        self._queries = LogQueries(names)
        self._writer = writer

    max_notification_id = reconnecting(PostgresProcessRecorder.max_notification_id.__wrapped__)
    max_tracking_id = reconnecting(PostgresProcessRecorder.max_tracking_id.__wrapped__)

    @reconnecting
    def positions_of(self, originator_id: UUID) -> dict[int, int]:
        """The positions in the log of an aggregate's events, by version."""
        query = SQL(
            "SELECT originator_version, notification_id FROM {} WHERE originator_id = %s"
        ).format(Identifier(self.events_table_name))
        with self.datastore.get_connection() as connection:
            rows = connection.execute(query, (originator_id,), prepare=True).fetchall()
        return {row["originator_version"]: row["notification_id"] for row in rows}

    @reconnecting
    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        if desc or limit is not None or not isinstance(originator_id, UUID):
            return _library_select_events(
                self, originator_id, gt=gt, lte=lte, desc=desc, limit=limit
            )
        above, last = gt if gt is not None else -1, lte if lte is not None else VERSION_MAX
        with Borrowed(self.datastore) as connection:
            return self._queries.of_aggregate(connection, originator_id, above, last)

    @reconnecting
    def select_events_of(self, aggregate_ids: Sequence[UUID]) -> Sequence[StoredEvent]:
        """All events of several aggregates in one round trip, those of each together and in
        order."""
        with Borrowed(self.datastore) as connection:
            return self._queries.of_aggregates(connection, aggregate_ids)

    @reconnecting
    def select_kept_events(self, aggregate_id: UUID) -> Sequence[StoredEvent]:
        """All events of an aggregate in order, when they are on the disk: what reads them waits."""
        with Borrowed(self.datastore) as connection:
            return self._queries.kept_of_aggregate(connection, aggregate_id)

    @reconnecting
    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        if stop is not None or topics:
            return _library_select_notifications(
                self, start, limit, stop, topics, inclusive_of_start=inclusive_of_start
            )
        position = -1 if start is None else start - 1 if inclusive_of_start else start
        with Borrowed(self.datastore) as connection:
            return self._queries.after(connection, position, limit)

    def insert_events(
        self, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        """Tries once more when the connection turns out to be dead. The first try may have been
        recorded and only its answer lost: who then meets these very events has recorded them."""
        try:
            return self._insert(stored_events, **kwargs)
        except (InterfaceError, OperationalError) as error:
            _clear_of_dead_connections(self.datastore, error)
        try:
            return self._insert(stored_events, **kwargs)
        except IntegrityError:
            is_followers = kwargs.get("tracking") is not None
            positions = None if is_followers else self._positions_if_recorded(stored_events)
            if positions is None:
                raise
            return positions

    def _positions_if_recorded(self, stored_events: Sequence[StoredEvent]) -> list[int] | None:
        """Where exactly these events stand, for good; None when not all of them are recorded."""
        with Borrowed(self.datastore) as connection:
            found = self._queries.of_versions(connection, stored_events)
            connection.execute(WAIT_FOR_DISK, prepare=True)
        is_recorded = bool(found) and [event for event, _ in found] == list(stored_events)
        return [position for _, position in found] if is_recorded else None

    def _insert(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        tracking: Tracking | None = kwargs.get("tracking")
        rows: Sequence[RowChange] = kwargs.get("rows", ())
        epoch: UUID | None = kwargs.get("epoch")
        with Borrowed(self.datastore) as connection:
            done = _work_done(rows, tracking)
            if rows and not done:
                return self._insert_with_rows(connection, stored_events, tracking, rows, epoch)
            if tracking is None:
                return self._queries.keep(connection, stored_events, epoch, done)
            cursor = self._queries.append(connection, stored_events, tracking, epoch)
            return [position for (position,) in cursor]

    def _insert_with_rows(
        self,
        connection: Connection[DictRow],
        stored_events: Sequence[StoredEvent],
        tracking: Tracking | None,
        rows: Sequence[RowChange],
        epoch: UUID | None,
    ) -> list[int]:
        """Everything up to the `sync` is one implicit transaction, sent in one round trip.

        What follows a statement that failed is not even prepared, while psycopg takes it to be:
        both sides are made to forget what was prepared. (psycopg notices only in statements whose
        text it has not seen yet: hence the number.)
        """
        try:
            with connection.pipeline() as pipeline:
                cursor = self._queries.append(connection, stored_events, tracking, epoch)
                self._writer.write(connection, fold(rows))
                pipeline.sync()
                if tracking is None:
                    connection.execute(WAIT_FOR_DISK, prepare=True)
                    pipeline.sync()
                return [position for (position,) in cursor]
        except psycopg.Error:
            if not connection.broken:
                connection.execute(f"DEALLOCATE ALL -- {next(_failures)}".encode())
            raise


def _work_done(rows: Sequence[RowChange], tracking: Tracking | None) -> UUID | None:
    """The work that is taken off the agenda, if that is all that happens to rows: what is recorded
    of most outside work."""
    if len(rows) != 1 or tracking is not None:
        return None
    [row] = rows
    is_done = isinstance(row, Delete) and row.table == AGENDA.name
    return row.key[0] if is_done else None


_library_select_events: Callable[..., Sequence[StoredEvent]] = (
    PostgresProcessRecorder.select_events.__wrapped__
)
_library_select_notifications: Callable[..., Sequence[Notification]] = (
    PostgresProcessRecorder.select_notifications.__wrapped__
)


class SharedPostgresFactory(PostgresFactory):
    """Makes recorders that share one pool of connections."""

    def __init__(self, env: Environment, datastore: PostgresDatastore, writer: RowWriter) -> None:
        InfrastructureFactory.__init__(self, env)
        self.datastore = datastore
        self._writer = writer

    def application_recorder(self) -> PostgresRecorder:
        return PostgresRecorder(self.datastore, self._writer, self.env.name.lower())

    def process_recorder(self) -> PostgresRecorder:
        return self.application_recorder()

    def close(self) -> None:
        """Leaves the shared pool open: it belongs to `PostgresPersistence`."""


class PostgresPersistence:
    """One database, shared by all applications of a process through one pool.

    Args:
        conninfo: a libpq connection string or URL.
        pool_size: the most connections that this process holds in the pool.
    """

    def __init__(self, conninfo: str, pool_size: int = 10) -> None:
        self.conninfo = conninfo
        self.datastore = _datastore(conninfo, pool_size)
        self.writer = RowWriter(TABLES)
        self._epoch = Epoch()

    def epoch(self) -> UUID:
        """See `application.ports.Persistence`."""
        return self._epoch.known or self._read_epoch()

    @reconnecting
    def _read_epoch(self) -> UUID:
        with self.connection() as connection:
            return self._epoch.read(connection)

    def forget_epoch(self) -> None:
        """See `application.ports.Persistence`."""
        self._epoch.known = None

    def use_vault(self, vault: Vault) -> None:
        """The vault that opens personal data for the views."""
        self.writer.vault = vault

    def factory(self, env: Environment) -> SharedPostgresFactory:
        """A factory of recorders for one application."""
        return SharedPostgresFactory(env, self.datastore, self.writer)

    def prepare(self, names: Sequence[str]) -> None:
        """Creates what is missing: the logs of the named applications, views, agenda, keys.

        Raises:
            OperationalError: the database cannot be reached.
            InsufficientPrivilege: something is missing, and this role may not create it.
        """
        recorders = [PostgresRecorder(self.datastore, self.writer, name.lower()) for name in names]
        prepare(self.conninfo, recorders)

    def installation_secret(self) -> bytes:
        """A secret made with the database and the same for ever: ids and digests derived with it
        cannot be computed by outsiders."""
        with self.connection() as connection:
            row = connection.execute("SELECT secret FROM installation").fetchone()
        assert row is not None
        return bytes(row["secret"])

    @contextmanager
    def connection(self) -> Iterator[Connection[DictRow]]:
        """A pooled connection in autocommit mode, its rows as dictionaries."""
        with self.datastore.get_connection() as connection:
            yield connection

    @reconnecting
    def journal_head(self) -> Link:
        """See `application.ports.Persistence`."""
        with self.connection() as connection:
            row = connection.execute(
                "SELECT position, hash FROM journal ORDER BY position DESC LIMIT 1", prepare=True
            ).fetchone()
        return Link(row["position"], bytes(row["hash"])) if row else BEGINNING

    def close(self) -> None:
        """Closes the pool."""
        self.datastore.close()


class LastReturnedFirst(deque[Connection[Any]]):
    """The idle connections of a pool, in the order in which it lends them. psycopg's own pool lends
    the one that has been idle longest, so that a process with little to do wakes all its servers at
    PostgreSQL in turn, none of which has anything in the processor's caches any more."""

    def append(self, returned: Connection[Any]) -> None:
        """Keeps a connection to be lent next."""
        self.appendleft(returned)


def _datastore(conninfo: str, pool_size: int) -> PostgresDatastore:
    parameters: dict[str, Any] = conninfo_to_dict(conninfo)
    datastore = PostgresDatastore(
        dbname=parameters.pop("dbname", "postgres"),
        host=parameters.pop("host", ""),
        port=parameters.pop("port", 5432),
        user=parameters.pop("user", ""),
        password=parameters.pop("password", ""),
        pool_size=1,
        max_overflow=pool_size - 1,
        connect_timeout=POOL_TIMEOUT_SECONDS,
        pre_ping=False,
    )
    datastore.pool.reconnect_timeout = POOL_RECONNECT_SECONDS
    datastore.pool._pool = LastReturnedFirst()
    timeouts = (
        f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS} "
        "-c idle_in_transaction_session_timeout=30000"
    )
    options = parameters.pop("options", "")
    assert isinstance(datastore.pool.kwargs, dict)
    datastore.pool.kwargs.update(parameters, options=f"{options} {timeouts}".strip())
    return datastore


class PostgresClientKeys:
    """Keys of clients in a table of their own; erasing a row erases the person (design 2). A row
    without a key stands for a subject that gets none any more."""

    def __init__(self, persistence: PostgresPersistence) -> None:
        self._persistence = persistence

    @reconnecting
    def key_for(self, subject: bytes, proposed: ClientKey) -> ClientKey | None:
        """See `application.vault.ClientKeys`."""
        with self._persistence.connection() as connection:
            row = connection.execute(
                "INSERT INTO client_keys (client_id, subject, key) VALUES (%s, %s, %s) "
                "ON CONFLICT (subject) DO UPDATE SET subject = excluded.subject "
                "RETURNING client_id, key",
                (proposed.client_id, subject, proposed.key),
                prepare=True,
            ).fetchone()
        assert row is not None
        return ClientKey(row["client_id"], bytes(row["key"])) if row["key"] else None

    @reconnecting
    def find_many(self, client_ids: Collection[UUID]) -> dict[UUID, ClientKey]:
        """See `application.vault.ClientKeys`."""
        with self._persistence.connection() as connection:
            rows = connection.execute(
                "SELECT client_id, key FROM client_keys "
                "WHERE client_id = ANY(%s) AND key IS NOT NULL",
                (list(client_ids),),
                prepare=True,
            ).fetchall()
        return {row["client_id"]: ClientKey(row["client_id"], bytes(row["key"])) for row in rows}

    @reconnecting
    def erase(self, client_ids: Collection[UUID], closed: Collection[bytes]) -> int:
        """See `application.vault.ClientKeys`. A key that is made meanwhile meets the row without
        one, or loses its own."""
        subjects = sorted(closed)
        with self._persistence.connection() as connection, connection.transaction():
            erased = connection.execute(
                "DELETE FROM client_keys WHERE key IS NOT NULL "
                "AND (client_id = ANY(%s) OR subject = ANY(%s))",
                (list(client_ids), subjects),
            )
            connection.execute(
                "INSERT INTO client_keys (client_id, subject) "
                "SELECT gen_random_uuid(), subject FROM unnest(%s::bytea[]) subject "
                "ON CONFLICT (subject) DO UPDATE SET key = NULL",
                (subjects,),
            )
            return erased.rowcount

    @reconnecting
    def client_of(self, subject: bytes) -> UUID | None:
        """See `application.vault.ClientKeys`."""
        with self._persistence.connection() as connection:
            row = connection.execute(
                "SELECT client_id FROM client_keys WHERE subject = %s AND key IS NOT NULL",
                (subject,),
            ).fetchone()
        return row["client_id"] if row else None

    @reconnecting
    def find(self, client_id: UUID) -> ClientKey | None:
        """See `application.vault.ClientKeys`."""
        with self._persistence.connection() as connection:
            row = connection.execute(
                "SELECT key FROM client_keys WHERE client_id = %s AND key IS NOT NULL",
                (client_id,),
                prepare=True,
            ).fetchone()
        return ClientKey(client_id, bytes(row["key"])) if row else None
