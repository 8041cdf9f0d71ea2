"""How far each follower has come: what operators watch (design 4)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.sql import SQL, Identifier

from application.event_log import EventLog
from system.applications import Applications
from system.persistence.postgres import PostgresPersistence
from system.readiness import STALE_AFTER


@dataclass(frozen=True)
class FollowerPosition:
    """One follower on one log. `lag_seconds` is the age of the oldest event it has not taken in
    (0 when there is none); `state` is `running`, `stale` (not heard of lately) or `never_run`."""

    follower: str
    leader: str
    position: int
    head: int
    lag_events: int
    lag_seconds: float
    last_active_at: datetime | None
    process: str | None
    parked_events: int
    state: str


def positions(
    applications: Applications, persistence: PostgresPersistence
) -> list[FollowerPosition]:
    """Every follower on every log it follows."""
    with persistence.connection() as connection:
        heartbeats = {
            row["follower"]: row for row in connection.execute("SELECT * FROM follower_heartbeats")
        }
        parked = {
            (row["follower"], row["leader"]): row["count"]
            for row in connection.execute(
                "SELECT follower, leader, count(*) FROM parked_events GROUP BY 1, 2"
            )
        }
    now = applications.clock.now()
    return [
        _position(
            follower,
            leader,
            persistence,
            now,
            heartbeats.get(follower.name),
            parked.get((follower.name, leader.name), 0),
        )
        for follower, leaders in applications.followers()
        for leader in leaders
    ]


def _position(
    follower: Any,
    leader: EventLog[Any],
    persistence: PostgresPersistence,
    now: datetime,
    heartbeat: dict[str, Any] | None,
    parked: int,
) -> FollowerPosition:
    position = follower.recorder.max_tracking_id(leader.name) or 0
    head = leader.recorder.max_notification_id() or 0
    return FollowerPosition(
        follower=follower.name,
        leader=leader.name,
        position=position,
        head=head,
        lag_events=_events_after(leader, position, persistence) if head > position else 0,
        lag_seconds=_age_of_next(leader, position, now),
        last_active_at=heartbeat["active_at"] if heartbeat else None,
        process=heartbeat["process"] if heartbeat else None,
        parked_events=parked,
        state=_state(heartbeat, now),
    )


def _events_after(leader: EventLog[Any], position: int, persistence: PostgresPersistence) -> int:
    table = Identifier(f"{leader.name.lower()}_events")
    query = SQL("SELECT count(*) FROM {} WHERE notification_id > %s").format(table)
    with persistence.connection() as connection:
        row = connection.execute(query, (position,)).fetchone()
    return int(row["count"]) if row else 0


def _age_of_next(leader: EventLog[Any], position: int, now: datetime) -> float:
    waiting = leader.recorder.select_notifications(position, limit=1, inclusive_of_start=False)
    if not waiting:
        return 0.0
    event: Any = leader.mapper.to_domain_event(waiting[0])
    age: float = (now - event.timestamp).total_seconds()
    return max(age, 0.0)


def _state(heartbeat: dict[str, Any] | None, now: datetime) -> str:
    if heartbeat is None:
        return "never_run"
    return "running" if now - heartbeat["active_at"] <= STALE_AFTER else "stale"
