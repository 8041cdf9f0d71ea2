"""Lets a role start before its database does, as happens when a whole machine is started."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import structlog
from eventsourcing.persistence import PersistenceError

from interface.settings import PREFIX, InvalidSettings, Settings

log = structlog.get_logger(__name__)

WAIT_SECONDS = 60.0
CONNECT_TIMEOUT_SECONDS = 5
DELAY_BASE_SECONDS = 0.25
DELAY_MAX_SECONDS = 5.0


def never() -> bool:
    """For a caller that always waits to the end."""
    return False


def wait_for_database(
    settings: Settings,
    is_stopping: Callable[[], bool] = never,
    timeout_seconds: float = WAIT_SECONDS,
) -> bool:
    """True as soon as the database answers; False when `is_stopping` said so before.

    Raises:
        InvalidSettings: no database is set, or it did not answer in time.
    """
    deadline = time.monotonic() + timeout_seconds
    delay_seconds = DELAY_BASE_SECONDS
    while (reason := why_unreachable(settings.conninfo)) is not None:
        if time.monotonic() >= deadline:
            raise InvalidSettings([f"{PREFIX}DATABASE_URL: the database does not answer: {reason}"])
        log.warning("waiting_for_database", reason=reason, next_try_seconds=delay_seconds)
        if _sleep(delay_seconds, is_stopping):
            return False
        delay_seconds = min(delay_seconds * 2, DELAY_MAX_SECONDS)
    return True


@contextmanager
def told_database_errors() -> Iterator[None]:
    """Turns what the database refuses at the start into one line for people.

    Raises:
        InvalidSettings: it was refused.
    """
    try:
        yield
    except (psycopg.Error, PersistenceError) as error:
        reason = " ".join(str(error).split())
        raise InvalidSettings(
            [f"{PREFIX}DATABASE_URL: the database cannot be prepared: {reason}"]
        ) from None


def why_unreachable(conninfo: str) -> str | None:
    """One line on why no connection can be had; None when it can."""
    try:
        psycopg.connect(conninfo, connect_timeout=CONNECT_TIMEOUT_SECONDS).close()
    except psycopg.Error as error:
        return " ".join(str(error).split())
    return None


def _sleep(seconds: float, is_stopping: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not is_stopping() and time.monotonic() < end:
        time.sleep(0.05)
    return is_stopping()
