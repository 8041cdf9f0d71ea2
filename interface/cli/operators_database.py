"""Opens the database for commands that operators run beside the service."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from eventsourcing.persistence import PersistenceError

from interface.bootstrap import build_applications
from interface.cli.failures import CommandFailed
from interface.serve.attached import attach
from interface.settings import load_settings
from system.applications import Applications
from system.persistence.postgres import PostgresPersistence

POOL_SIZE = 2
CONNECT_TIMEOUT_SECONDS = 5


@contextmanager
def operators_database() -> Iterator[tuple[PostgresPersistence, Applications]]:
    """The database of the settings, or of the `serve` that runs on the same data folder.

    Raises:
        CommandFailed: it cannot be reached, or was never prepared.
        InvalidSettings: a setting is wrong, or no database is known.
    """
    settings = attach(load_settings())
    try:
        psycopg.connect(settings.conninfo, connect_timeout=CONNECT_TIMEOUT_SECONDS).close()
    except psycopg.Error as error:
        raise CommandFailed(
            f"the database cannot be reached: {str(error).strip()}",
            "see what `paysaga doctor` says",
        ) from None
    persistence = PostgresPersistence(settings.conninfo, POOL_SIZE)
    try:
        applications = build_applications(settings, persistence)
        yield persistence, applications
    except PersistenceError as error:
        raise CommandFailed(f"the database cannot be used: {error}", _advice(error)) from None
    finally:
        persistence.close()


def _advice(error: PersistenceError) -> str:
    if isinstance(error.__cause__, psycopg.errors.InsufficientPrivilege):
        return "give the command with the address of the role that owns the tables"
    return "see what `paysaga doctor` says"
