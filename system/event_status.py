"""What the followers have made of an event so far (contract 6, `status`)."""

from typing import Any
from uuid import UUID

from application.event_log import EventLog
from system.applications import Applications


def event_statuses(
    applications: Applications, log: EventLog[Any], aggregate_id: UUID
) -> dict[int, str]:
    """For each version of an aggregate: `PROCESSED` when all followers of the log are past it,
    `PROCESSING` when some are, `PENDING` when none is."""
    positions: dict[int, int] = log.recorder.positions_of(aggregate_id)  # type: ignore[attr-defined]
    reached = [
        follower.recorder.max_tracking_id(log.name) or 0
        for follower in applications.followers_of(log)
    ]
    return {version: _status(position, reached) for version, position in positions.items()}


def _status(position: int, reached: list[int]) -> str:
    if all(other >= position for other in reached):
        return "PROCESSED"
    return "PROCESSING" if any(other >= position for other in reached) else "PENDING"
