"""Random histories of the simulation, recorded in PostgreSQL as if they had happened there."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

from eventsourcing.persistence import StoredEvent

from system.definition import LOGS
from system.following import Following
from system.persistence.tables import TABLES
from system.rebuild import rebuildable
from system.testing import SystemUnderTest
from tests.integration.journal_kit import Books
from tests.simulation.invariants import Broken
from tests.simulation.people import PeopledWorld
from tests.simulation.script import Action, script_for

LIVES = 3
"""How many of the simulation's scripts are played at the same time."""
READ_AT_ONCE = 1000


def script_of(seed: int) -> list[Action]:
    """What happens to some payments at once."""
    lives = [script_for(seed * LIVES + number) for number in range(LIVES)]
    actions = [
        replace(action, payment=action.payment + 2 * number)
        for number, life in enumerate(lives)
        for action in life
    ]
    return sorted(actions, key=lambda action: action.at_seconds)


def happen(kept: Books, seed: int) -> PeopledWorld:
    """Plays a seed in memory and records the same events. Whether all was in order in the end is
    the business of the simulation's own tests."""
    world = PeopledWorld(seed)
    with world.system, suppress(Broken):
        world.play(script_of(seed))
    record(kept, world.system)
    return world


def record(kept: Books, system: SystemUnderTest) -> None:
    """Records all events of a system that ran in memory."""
    for log in LOGS:
        source = system.applications.by_name[log.name].recorder
        target = kept.applications.by_name[log.name].recorder
        position = 0
        while page := source.select_notifications(position, READ_AT_ONCE, inclusive_of_start=False):
            target.insert_events([stored(each) for each in page])
            position = page[-1].id


def stored(notification: Any) -> StoredEvent:
    """An event as it is recorded, without its position."""
    names = ("originator_id", "originator_version", "topic", "state")
    return StoredEvent(*(getattr(notification, name) for name in names))


def forget(kept: Books) -> None:
    """Empties the database, all but the keys of clients. Whoever remembers something of it notices
    that the epoch is another."""
    logs = [name.lower() for name in kept.applications.by_name]
    for name in ("epoch", *TABLES, "rebuilds", *(f"{log}_events" for log in logs)):
        kept.query(f"DELETE FROM {name}")
    for log in logs:
        kept.query(f"DELETE FROM {log}_tracking WHERE application_name NOT LIKE '\\_%%'")
    kept.persistence.forget_epoch()


def views(kept: Books) -> list[str]:
    """The tables of all projections that can be rebuilt."""
    applications = kept.applications.by_name
    return [
        table
        for name in rebuildable(kept.applications)
        for table in getattr(applications[name], "tables")  # noqa: B009
    ]


def rows(kept: Books) -> dict[str, list[dict[str, Any]]]:
    """All rows of all of them, in the order of their keys."""
    return {name: kept.query(f"SELECT * FROM {name} ORDER BY 1") for name in views(kept)}


def live_projections(kept: Books, batch_size: int) -> list[Following]:
    """The projections that can be rebuilt, as a worker runs them."""
    names = rebuildable(kept.applications)
    return [
        Following(follower, leader, batch_size=batch_size)
        for follower, leaders in kept.applications.followers()
        for leader in leaders
        if follower.name in names
    ]
