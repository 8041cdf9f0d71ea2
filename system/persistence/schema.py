"""Creates what is missing in the database, or finds that nothing is."""

import secrets
from collections.abc import Iterator, Sequence
from hashlib import sha256

import psycopg
from eventsourcing.postgres import PostgresProcessRecorder
from psycopg.sql import SQL, Composed

from system.persistence.epoch import CREATE_EPOCH
from system.persistence.log_function import CREATE_WAIT_FOR_DISK
from system.persistence.table_sql import create_index_statements, create_table_statement
from system.persistence.tables import TABLES
from system.persistence.text_search import CREATE_TRIGRAMS

SCHEMA_LOCK = 7_261_001
"""The advisory lock under which one process at a time creates tables."""
INSTALLATION_SECRET_BYTES = 32

CREATE_OTHERS = (
    "CREATE TABLE IF NOT EXISTS client_keys (client_id uuid PRIMARY KEY, "
    "subject bytea NOT NULL UNIQUE, key bytea)",
    "ALTER TABLE client_keys ALTER COLUMN key DROP NOT NULL",
    "CREATE TABLE IF NOT EXISTS follower_heartbeats (follower text PRIMARY KEY, "
    "process text NOT NULL, active_at timestamptz NOT NULL)",
    "CREATE TABLE IF NOT EXISTS worker_heartbeats (process text PRIMARY KEY, "
    "active_at timestamptz NOT NULL)",
    "CREATE TABLE IF NOT EXISTS processes (process text PRIMARY KEY, role text NOT NULL, "
    "version text NOT NULL, started_at timestamptz NOT NULL, seen_at timestamptz NOT NULL, "
    "figures jsonb NOT NULL)",
    "CREATE TABLE IF NOT EXISTS request_counts (name text, minute timestamptz, "
    "count integer NOT NULL, PRIMARY KEY (name, minute))",
    "CREATE TABLE IF NOT EXISTS api_keys (name text PRIMARY KEY, role text NOT NULL, "
    "digest bytea NOT NULL UNIQUE, created_at timestamptz NOT NULL, expires_at timestamptz, "
    "revoked_at timestamptz, last_used_at timestamptz)",
    "CREATE TABLE IF NOT EXISTS installation (is_only boolean PRIMARY KEY DEFAULT true "
    "CHECK (is_only), secret bytea NOT NULL)",
    "CREATE TABLE IF NOT EXISTS projections (name text PRIMARY KEY, version integer NOT NULL)",
    "CREATE TABLE IF NOT EXISTS rebuilds (projection text, leader text, "
    "position bigint NOT NULL DEFAULT 0, version integer NOT NULL, "
    "PRIMARY KEY (projection, leader))",
    "CREATE TABLE IF NOT EXISTS prepared (is_only boolean PRIMARY KEY DEFAULT true "
    "CHECK (is_only), digest bytea NOT NULL)",
    CREATE_EPOCH,
    CREATE_WAIT_FOR_DISK,
)
"""The tables that no follower writes to, and what the routines of all logs need. (There were no
keys without a value before erasing left something behind.)"""

FIND_PREPARED = "SELECT to_regclass('prepared') IS NOT NULL"
FIND_MISSING = "SELECT FROM unnest(%s::text[]) name WHERE to_regclass(name) IS NULL"
NOTE_PREPARED = (
    "INSERT INTO prepared (digest) VALUES (%s) "
    "ON CONFLICT (is_only) DO UPDATE SET digest = excluded.digest"
)
INSERT_INSTALLATION = "INSERT INTO installation (secret) VALUES (%s) ON CONFLICT DO NOTHING"


def prepare(conninfo: str, logs: Sequence[PostgresProcessRecorder]) -> None:
    """Creates what is missing: views, agenda, keys and logs. Does nothing when the database was
    prepared with the very same statements: so a role that may not create anything can use what
    another one has prepared.

    Raises:
        OperationalError: the database cannot be reached.
        InsufficientPrivilege: something is missing, and this role may not create it.
    """
    statements = list(_statements())
    texts = [each.as_string() for log in logs for each in log.sql_create_statements]
    texts += [each.as_string() for each in statements]
    digest = sha256("\n".join(texts).encode()).digest()
    with psycopg.connect(conninfo, autocommit=True) as connection:
        if _is_prepared(connection, digest, [*TABLES, *(log.events_table_name for log in logs)]):
            return
        connection.execute("SELECT pg_advisory_lock(%s)", (SCHEMA_LOCK,))
        for statement in statements:
            connection.execute(statement)
        for log in logs:
            log.create_table()
        secret = secrets.token_bytes(INSTALLATION_SECRET_BYTES)
        connection.execute(INSERT_INSTALLATION, (secret,))
        connection.execute(NOTE_PREPARED, (digest,))


def _statements() -> Iterator[SQL | Composed]:
    yield SQL(CREATE_TRIGRAMS)
    for table in TABLES.values():
        yield create_table_statement(table)
        yield from create_index_statements(table)
    yield from map(SQL, CREATE_OTHERS)


def _is_prepared(connection: psycopg.Connection, digest: bytes, tables: Sequence[str]) -> bool:
    if connection.execute(FIND_PREPARED).fetchone() != (True,):
        return False
    if connection.execute("SELECT digest FROM prepared").fetchone() != (digest,):
        return False
    return connection.execute(FIND_MISSING, (tables,)).fetchone() is None
