"""Events that a follower could not take in, set aside so that it can go on (design 4)."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from eventsourcing.persistence import Notification

from application.rows import Delete, Patch, RowChange, Upsert
from domain.errors import DomainError
from domain.event import PaySagaAggregate
from system.persistence.postgres import PostgresPersistence
from system.persistence.tables import PARKED

PARKING_NAMESPACE = UUID("4b0f9c1e-2f53-5b7a-9b3c-6a1d2e8f7c05")
ERROR_LENGTH_MAX = 2000

READY = """
SELECT * FROM parked_events WHERE follower = %(follower)s AND payment_id IN (
    SELECT payment_id FROM parked_events WHERE follower = %(follower)s
    GROUP BY payment_id HAVING bool_or(is_released) OR max(attempts) = 0
) ORDER BY place LIMIT %(limit)s
"""
"""What may be taken in again: all of a payment's events as soon as one of them was released, or
when the one they waited behind is gone."""

READY_MAX = 1000
NEVER_SKIPPED = "Journal"
"""The follower that must take every event in: what proves that nothing is missing has no gaps."""

SAME_PAYMENT = """
SELECT other.* FROM parked_events one JOIN parked_events other USING (follower, payment_id)
WHERE one.parked_id = %(id)s ORDER BY other.parked_id <> %(id)s, other.place
"""
"""A parked event, then the others of its payment that the follower has set aside."""


class SkipRefused(DomainError):
    """The follower may not pass this event over; the text says what to do instead."""

    code = "skip_refused"


@dataclass(frozen=True)
class ParkedEvent:
    """One event set aside for one follower. `attempts` is 0 for an event that only waits behind
    an earlier one of the same payment; `place` is the order in which events were set aside."""

    parked_id: UUID
    follower: str
    leader: str
    position: int
    payment_id: UUID
    topic: str
    error: str | None
    attempts: int
    is_released: bool
    place: int


class ParkedEvents:
    """The parked events of one follower."""

    def __init__(self, persistence: PostgresPersistence, follower: str) -> None:
        self._persistence = persistence
        self._follower = follower

    def payments(self) -> set[UUID]:
        """The payments of which events are parked."""
        with self._persistence.connection() as connection:
            rows = connection.execute(
                "SELECT DISTINCT payment_id FROM parked_events WHERE follower = %s",
                (self._follower,),
            )
            return {row["payment_id"] for row in rows}

    def ready(self) -> list[ParkedEvent]:
        """The events that may be taken in again, in order, `READY_MAX` at the most."""
        with self._persistence.connection() as connection:
            rows = connection.execute(READY, {"follower": self._follower, "limit": READY_MAX})
            return [_parked(row) for row in rows]

    def hold(self, parked: ParkedEvent, error: str) -> None:
        """Keeps an event that failed once more, and those behind it, until an operator acts."""
        with self._persistence.connection() as connection, connection.transaction():
            connection.execute(
                "UPDATE parked_events SET is_released = false WHERE follower = %s "
                "AND payment_id = %s",
                (parked.follower, parked.payment_id),
            )
            connection.execute(
                "UPDATE parked_events SET attempts = attempts + 1, error = %s WHERE parked_id = %s",
                (error[:ERROR_LENGTH_MAX], parked.parked_id),
            )


def subject_of(event: PaySagaAggregate.Event) -> UUID:
    """The payment that an event belongs to, or its aggregate where there is no payment."""
    payment_id = getattr(event, "payment_id", None)
    return payment_id if isinstance(payment_id, UUID) else event.originator_id


def park(
    follower: str,
    leader: str,
    notification: Notification,
    payment_id: UUID,
    error: str | None = None,
    attempts: int = 0,
) -> RowChange:
    """Sets an event aside."""
    parked_id = uuid5(PARKING_NAMESPACE, f"{follower}:{leader}:{notification.id}")
    values = {
        "follower": follower,
        "leader": leader,
        "position": notification.id,
        "payment_id": payment_id,
        "topic": notification.topic,
        "error": error[:ERROR_LENGTH_MAX] if error else None,
        "attempts": attempts,
        "is_released": False,
    }
    return Upsert(PARKED.name, (parked_id,), values)


def unpark(parked: ParkedEvent) -> RowChange:
    """Ends the parking of an event that was taken in after all."""
    return Delete(PARKED.name, (parked.parked_id,))


def list_parked(
    persistence: PostgresPersistence, limit: int = 100, after: int = 0
) -> list[ParkedEvent]:
    """Parked events for operators, oldest first, behind the place `after`."""
    with persistence.connection() as connection:
        rows = connection.execute(
            "SELECT * FROM parked_events WHERE place > %s ORDER BY place LIMIT %s", (after, limit)
        ).fetchall()
    return [_parked(row) for row in rows]


def release(persistence: PostgresPersistence, parked_id: UUID) -> list[RowChange]:
    """What asks the follower to take the payment's parked events in again, in order; nothing when
    there is no such parked event."""
    return [_released(event) for event in _same_payment(persistence, parked_id)[:1]]


def skip(persistence: PostgresPersistence, parked_id: UUID) -> list[RowChange]:
    """What lets the follower pass an event over for good, and releases those that waited behind
    it; nothing when there is no such parked event.

    Raises:
        SkipRefused: the follower must have every event.
    """
    events = _same_payment(persistence, parked_id)
    if events and events[0].follower == NEVER_SKIPPED:
        raise SkipRefused(
            "the journal must have every event, or it would prove nothing: mend what the error "
            "speaks of, then retry the event; the journal takes in the others meanwhile"
        )
    return [*map(unpark, events[:1]), *map(_released, events[1:])]


def retry_parked(persistence: PostgresPersistence, parked_id: UUID) -> bool:
    """See `release`. False when there is no such parked event."""
    return _write(persistence, release(persistence, parked_id))


def skip_parked(persistence: PostgresPersistence, parked_id: UUID) -> bool:
    """See `skip`. False when there is no such parked event.

    Raises:
        SkipRefused: the follower must have every event.
    """
    return _write(persistence, skip(persistence, parked_id))


def _same_payment(persistence: PostgresPersistence, parked_id: UUID) -> list[ParkedEvent]:
    """A parked event, and behind it the others of its payment and follower."""
    with persistence.connection() as connection:
        rows = connection.execute(SAME_PAYMENT, {"id": parked_id}).fetchall()
    return [_parked(row) for row in rows]


def _released(parked: ParkedEvent) -> RowChange:
    return Patch(PARKED.name, (parked.parked_id,), {"is_released": True})


def _write(persistence: PostgresPersistence, changes: list[RowChange]) -> bool:
    with persistence.connection() as connection, connection.transaction():
        persistence.writer.write(connection, changes)
    return bool(changes)


def _parked(row: dict[str, Any]) -> ParkedEvent:
    return ParkedEvent(**{name: row[name] for name in ParkedEvent.__dataclass_fields__})
