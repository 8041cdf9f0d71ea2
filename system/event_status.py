"""What the followers have made of an event so far (contract 6, `status`)."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from application.event_log import EventLog
from system.applications import Applications
from system.persistence.postgres import PostgresPersistence

Place = tuple[str, int]
"""A log and a position in it."""


def event_statuses(
    applications: Applications,
    persistence: PostgresPersistence,
    log: EventLog[Any],
    aggregate_id: UUID,
) -> dict[int, str]:
    """The status of each version of an aggregate, see `statuses`."""
    positions: dict[int, int] = log.recorder.positions_of(aggregate_id)  # type: ignore[attr-defined]
    places = {version: (log.name, position) for version, position in positions.items()}
    known = statuses(applications, persistence, places.values())
    return {version: known[place] for version, place in places.items()}


def statuses(
    applications: Applications, persistence: PostgresPersistence, places: Iterable[Place]
) -> dict[Place, str]:
    """For the event at each place: `FAILED` while a follower has set it aside, `PROCESSED` when
    all followers of its log are past it, `PROCESSING` when some are, `PENDING` when none is."""
    wanted = set(places)
    parked = _parked(persistence, wanted)
    reached = {name: _reached(applications, name) for name in {name for name, _ in wanted}}
    return {
        place: "FAILED" if place in parked else _status(place[1], reached[place[0]])
        for place in wanted
    }


def _parked(persistence: PostgresPersistence, places: set[Place]) -> set[Place]:
    positions = [position for _, position in places]
    with persistence.connection() as connection:
        rows = connection.execute(
            "SELECT leader, position FROM parked_events WHERE position = ANY(%s) AND attempts > 0",
            (positions,),
        ).fetchall()
    return {(row["leader"], row["position"]) for row in rows} & places


def _reached(applications: Applications, name: str) -> list[int]:
    """How far the followers of a log have come. The journal only keeps what happened, and is not
    waited for."""
    log = applications.by_name[name]
    return [
        follower.recorder.max_tracking_id(name) or 0
        for follower in applications.followers_of(log)
        if follower is not applications.journal
    ]


def _status(position: int, reached: list[int]) -> str:
    if all(other >= position for other in reached):
        return "PROCESSED"
    return "PROCESSING" if any(other >= position for other in reached) else "PENDING"
