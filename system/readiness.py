"""Whether the system works: the database answers and every follower was active lately."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from eventsourcing.persistence import PersistenceError

from system.definition import PAYSAGA
from system.persistence.postgres import PostgresPersistence, reconnecting

STALE_AFTER = timedelta(seconds=15)
"""A follower that has not reported for so long is taken for dead: it must not look healthy."""


@dataclass(frozen=True)
class Check:
    """One thing that must work, and what is wrong with it if it does not."""

    name: str
    is_ok: bool
    detail: str


def readiness(persistence: PostgresPersistence, now: datetime) -> list[Check]:
    """Checks the database and all followers of the fleet."""
    try:
        active_at = _last_heartbeats(persistence)
    except PersistenceError as error:
        return [Check("database", False, f"cannot be reached: {error}")]
    return [
        Check("database", True, "answers"),
        *(_follower(name, active_at.get(name), now) for name in sorted(PAYSAGA.follows)),
    ]


@reconnecting
def _last_heartbeats(persistence: PostgresPersistence) -> dict[str, datetime]:
    with persistence.connection() as connection:
        rows = connection.execute("SELECT follower, active_at FROM follower_heartbeats")
        return {row["follower"]: row["active_at"] for row in rows}


def _follower(name: str, active_at: datetime | None, now: datetime) -> Check:
    if active_at is None:
        return Check(f"follower:{name}", False, "has never run: start `paysaga worker`")
    age = now - active_at
    if age > STALE_AFTER:
        seconds = round(age.total_seconds())
        return Check(f"follower:{name}", False, f"was last active {seconds} s ago")
    return Check(f"follower:{name}", True, "active")
