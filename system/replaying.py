"""Reads aggregates back from what is stored of them, and says whose events do not allow that."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from eventsourcing.persistence import PersistenceError, StoredEvent

from application.event_log import EventLog, replayed

FIRST_IS_GONE = "its first event is gone"


class ReplayImpossible(Exception):
    """An aggregate cannot be replayed: an event of it is gone, or is none. `log` and
    `aggregate_id` say whose, `reason` says why."""

    def __init__(self, log: str, aggregate_id: UUID, reason: str) -> None:
        self.log = log
        self.aggregate_id = aggregate_id
        self.reason = reason
        super().__init__(f"{log} {aggregate_id} cannot be replayed: {reason}")


@contextmanager
def replaying(log: EventLog[Any], aggregate_id: UUID) -> Iterator[None]:
    """For whatever is made of an aggregate's events: nobody knows what a damaged one leads to.

    Raises:
        ReplayImpossible: in the place of every error but those of the database.
    """
    try:
        yield
    except (ReplayImpossible, PersistenceError):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise ReplayImpossible(log.name, aggregate_id, reason) from error


def read_back(
    log: EventLog[Any], aggregate_id: UUID, records: Sequence[StoredEvent]
) -> tuple[list[Any], Any]:
    """An aggregate's events from the first on, and what they come to.

    Raises:
        ReplayImpossible: one of them is gone, or is none.
    """
    for version, record in enumerate(records, 1):
        if record.originator_version != version:
            reason = f"its event {version} is gone" if version > 1 else FIRST_IS_GONE
            raise ReplayImpossible(log.name, aggregate_id, reason)
    with replaying(log, aggregate_id):
        events = [log.mapper.to_domain_event(record) for record in records]
        return events, replayed(None, events)
