"""How the whole fleet stands, on one screen: what an operator looks at first."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from application.envelope import camel_case, public_record
from domain.circuit import CircuitStatus
from system.applications import Applications
from system.figures import AGENDA_FIGURES, Breaker, breakers
from system.persistence.confirmation_queries import ConfirmationFigures, confirmation_figures
from system.persistence.postgres import PostgresPersistence
from system.positions import FollowerPosition, positions
from system.presence import ProcessState, processes

LAG_SECONDS_MAX = 60.0
"""A follower that is further behind is a problem; the alerts have the same bound."""
DUE_SECONDS_MAX = 120.0
"""Work that has been due for longer is a problem; the alerts have the same bound."""
ROLES = ("web", "worker")
HELD_BACK = {
    CircuitStatus.OPEN: "open: calls wait until it answers again",
    CircuitStatus.HALF_OPEN: "half-open: a few calls try whether it answers again, the others wait",
}
"""A service that hangs makes its breaker go from one to the other and back."""

PARKED_SAGAS = "SELECT count(*) AS count FROM view_sagas WHERE parked_detail IS NOT NULL"
PARKED_EVENTS = "SELECT count(*) AS count FROM parked_events"


@dataclass(frozen=True)
class Queue:
    """Work of one kind on the agenda; `oldest_due_seconds` is how long some has been due."""

    kind: str
    depth: int
    due: int
    claimed: int
    oldest_due_seconds: float


@dataclass(frozen=True)
class FleetStatus:
    """Everything at one moment."""

    processes: Sequence[ProcessState]
    breakers: Sequence[Breaker]
    followers: Sequence[FollowerPosition]
    agenda: Sequence[Queue]
    parked_events: int
    parked_sagas: int
    confirmations: ConfirmationFigures

    @property
    def problems(self) -> list[str]:
        """What a person has to look at, in words; empty when all is well. Confirmations that were
        given up are none: it is the merchants' endpoints that do not work."""
        return [*self._dead(), *self._behind(), *self._set_aside()]

    def _dead(self) -> Iterator[str]:
        alive = {each.role for each in self.processes if each.is_alive}
        for role in ROLES:
            if role not in alive:
                yield f"no {role} process lives: start `paysaga {role}`"
        for each in self.breakers:
            if each.status is not CircuitStatus.CLOSED:
                yield f"the breaker of {each.service} is {HELD_BACK[each.status]}"

    def _behind(self) -> Iterator[str]:
        idle = sorted({each.follower for each in self.followers if each.state != "running"})
        if idle:
            yield f"{len(idle)} followers do not run: {', '.join(idle)}"
        for each in self.followers:
            if each.lag_seconds > LAG_SECONDS_MAX and each.state == "running":
                behind = f"{each.lag_seconds:.0f} s behind {each.leader}"
                yield f"the follower {each.follower} is {behind}"
        for queue in self.agenda:
            if queue.oldest_due_seconds > DUE_SECONDS_MAX:
                late = f"has been due for {queue.oldest_due_seconds:.0f} s"
                yield f"work of the kind {queue.kind} {late}"

    def _set_aside(self) -> Iterator[str]:
        if self.parked_events:
            yield f"{self.parked_events} events are parked: `paysaga parked list`"
        if self.parked_sagas:
            yield f"{self.parked_sagas} sagas wait for a person: `GET /v1/sagas?status=parked`"

    def as_document(self) -> dict[str, Any]:
        """The status as JSON shows it."""
        return {
            "ok": not self.problems,
            "problems": self.problems,
            "processes": [
                {**public_record(each), "isAlive": each.is_alive} for each in self.processes
            ],
            "breakers": [
                {"service": each.service, "state": each.status.value, "metrics": each.metrics}
                for each in self.breakers
            ],
            "followers": [public_record(each) for each in self.followers],
            "agenda": [public_record(each) for each in self.agenda],
            "parked": {"events": self.parked_events, "sagas": self.parked_sagas},
            "confirmations": {
                camel_case(name): count for name, count in asdict(self.confirmations).items()
            },
        }


def fleet_status(applications: Applications, persistence: PostgresPersistence) -> FleetStatus:
    """Reads how the fleet stands.

    Raises:
        PersistenceError: the database is away.
    """
    now = applications.clock.now()
    with persistence.connection() as connection:
        agenda = connection.execute(AGENDA_FIGURES, {"now": now}).fetchall()
        shown = breakers(connection, now)
        events, sagas = (
            int((connection.execute(query.encode()).fetchone() or {})["count"])
            for query in (PARKED_EVENTS, PARKED_SAGAS)
        )
        told = confirmation_figures(connection)
    return FleetStatus(
        processes=processes(persistence),
        breakers=shown,
        followers=positions(applications, persistence),
        agenda=[_queue(row) for row in agenda],
        parked_events=events,
        parked_sagas=sagas,
        confirmations=told,
    )


def _queue(row: dict[str, Any]) -> Queue:
    return Queue(
        kind=row["kind"],
        depth=row["agenda_rows"],
        due=row["agenda_due"],
        claimed=row["agenda_claimed"],
        oldest_due_seconds=float(row["agenda_oldest_due_seconds"]),
    )
