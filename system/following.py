"""How a follower takes in the next batch of a log: the one way, in production and in tests."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import structlog
from eventsourcing.application import AggregateNotFoundError
from eventsourcing.persistence import (
    IntegrityError,
    InterfaceError,
    InternalError,
    Notification,
    OperationalError,
    Tracking,
)
from eventsourcing.utils import resolve_topic

from application.event_log import Asked, EventLog, ReadsMany, Rehearsal, Work
from domain.event import EventContext, PaySagaAggregate, acting, caused_by
from system.followers.base import BatchFollower, Projection
from system.parking import ParkedEvent, ParkedEvents, park, subject_of, unpark
from system.persistence.reached import Reached

log = structlog.get_logger(__name__)

BATCH_SIZE = 200
"""The most notifications taken into one transaction."""

ATTEMPTS_BEFORE_PARKING = 3
"""How often an event is tried alone before it is set aside."""

RACES_BEFORE_PARKING = 8
"""How often an event that stands alone may lose a race, with growing pauses, before parking."""

PATIENCE = 100
"""How often an event is tried that came too early: what it speaks of was recorded before it, but
in another log, which this follower has not read so far yet."""

INFRASTRUCTURE_ERRORS = (OperationalError, InterfaceError, InternalError)
"""Errors that say nothing about the event in hand: the database is not there."""


class PolicyFailed(Exception):
    """A follower's policy could not take in the notification at `index` of a batch."""

    def __init__(self, index: int, error: Exception) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.index = index
        self.is_early = isinstance(error, AggregateNotFoundError)


class FollowerParking:
    """What a follower has parked, remembered so that later events of the same payments follow."""

    def __init__(self, store: ParkedEvents) -> None:
        self.store = store
        self._payments: set[UUID] | None = None

    @property
    def payments(self) -> set[UUID]:
        """The payments of which events are parked."""
        if self._payments is None:
            self._payments = self.store.payments()
        return self._payments

    def forget(self) -> None:
        """Reads from the store next time: an operator may have acted."""
        self._payments = None


class Following:
    """One follower on one log, remembering how far it has come.

    Correctness does not rest on that memory: a batch is recorded only if it begins at the position
    in the store, and one that lost the race is taken again from the recorded position.
    Without `parking` an event that cannot be taken in is raised, again and again.
    """

    def __init__(
        self,
        follower: BatchFollower,
        leader: EventLog[Any],
        batch_size: int = BATCH_SIZE,
        parking: FollowerParking | None = None,
    ) -> None:
        self.follower = follower
        self.leader = leader
        self.batch_size = batch_size
        self._parking = parking
        self._limit = batch_size
        self._attempts = 0
        self._races_lost = 0
        self._early = 0
        self._position: int | None = None
        self._began_at = 0
        self._concerns: dict[str, bool] = {}
        self._loads: dict[str, bool] = {}
        self._is_projection = isinstance(follower, Projection)
        self._foresees = isinstance(follower.recorder, ReadsMany) and not self._is_projection

    @property
    def position(self) -> int:
        """The position of the last notification that was taken in; 0 before the first."""
        if self._position is None:
            self._position = self.follower.recorder.max_tracking_id(self.leader.name) or 0
        return self._position

    def forget_position(self) -> None:
        """Reads the position from the store next time, and what is parked: somebody else may have
        moved it, and parked what stood in between."""
        self._position = None
        if self._parking is not None:
            self._parking.forget()

    def advance(self) -> int:
        """Takes in the next batch and returns how many notifications it held.

        An event that the policy cannot take in is tried alone, and after some attempts parked.
        One that came too early waits: 0 is returned, and it is tried again next time.

        Raises:
            IntegrityError: the batch lost a race; nothing was recorded. Call again: the next
                batch is half as large.
            Exception: whatever the policy or the database raised; nothing was recorded.
        """
        self._began_at = self.position
        notifications = self.leader.recorder.select_notifications(
            start=self._began_at, limit=self._limit, inclusive_of_start=False
        )
        if not notifications:
            return 0
        try:
            self._take_in(notifications)
        except INFRASTRUCTURE_ERRORS:
            self.forget_position()
            raise
        except IntegrityError as conflict:
            return self._lose_race(notifications, conflict)
        except PolicyFailed as failure:
            return self._stumble(notifications, failure)
        except Exception as error:  # noqa: BLE001 - raised again, or parked with its event
            return self._isolate(notifications, error)
        self._limit = min(self._limit * 2, self.batch_size)
        self._attempts = self._races_lost = self._early = 0
        return len(notifications)

    def take_in_parked(self, parked: ParkedEvent) -> None:
        """Takes in one parked event, once, and ends its parking.

        Raises:
            IntegrityError: somebody else took it in, or an aggregate was changed meanwhile.
            Exception: whatever the policy raised; the event stays parked.
        """
        [notification] = self.leader.recorder.select_notifications(parked.position, limit=1)
        work = self._work(Tracking(f"{self.leader.name}#{parked.position}", 1))
        self._apply(self._event(notification), work)
        work.change(unpark(parked))
        self.follower.record_batch(work)

    def _lose_race(self, notifications: Sequence[Notification], conflict: IntegrityError) -> int:
        """Somebody else was quicker. An event that alone loses again and again has no rival: it
        contradicts what is recorded, and is parked like any other that cannot be taken in."""
        position = self.position
        self._halve(len(notifications))
        is_alone_again = len(notifications) == 1 and self.position == position
        self._races_lost = self._races_lost + 1 if is_alone_again else 0
        if self._races_lost < RACES_BEFORE_PARKING or self._parking is None:
            raise conflict
        self._park(notifications[0], conflict)
        self._races_lost = 0
        return 1

    def _halve(self, size: int) -> None:
        self.forget_position()
        self._limit = max(1, size // 2)

    def _stumble(self, notifications: Sequence[Notification], failure: PolicyFailed) -> int:
        """Takes in what came before the event that failed, which is next in line then."""
        self.forget_position()
        if failure.index > 0:
            self._take_in(notifications[: failure.index])
            return failure.index
        if failure.is_early and self._early < PATIENCE:
            self._early += 1
            return 0
        return self._fail_alone(notifications[0], failure)

    def _isolate(self, notifications: Sequence[Notification], error: Exception) -> int:
        """The store refused the batch for some event in it: halves it until that stands alone."""
        if len(notifications) == 1:
            return self._fail_alone(notifications[0], error)
        self._halve(len(notifications))
        return 1

    def _fail_alone(self, notification: Notification, error: Exception) -> int:
        self.forget_position()
        self._attempts += 1
        if self._parking is None or self._attempts < ATTEMPTS_BEFORE_PARKING:
            raise error
        self._park(notification, error)
        self._attempts = 0
        return 1

    def _park(self, notification: Notification, error: Exception) -> None:
        assert self._parking is not None
        try:
            payment_id = subject_of(self._event(notification))
        except Exception:
            log.exception("event_unreadable", topic=notification.topic, position=notification.id)
            payment_id = UUID(str(notification.originator_id))
        work = self._work(Reached(self.leader.name, notification.id, self._began_at))
        work.change(self._parked(notification, payment_id, str(error), self._attempts))
        self.follower.record_batch(work)
        self._parking.forget()
        log.error(
            "event_parked",
            follower=self.follower.name,
            leader=self.leader.name,
            position=notification.id,
            payment_id=str(payment_id),
            error=str(error),
        )

    def _take_in(self, notifications: Sequence[Notification]) -> None:
        last = notifications[-1].id
        work = self._work(Reached(self.leader.name, last, self._began_at))
        concerning = [
            (index, notification)
            for index, notification in enumerate(notifications)
            if self._is_concerned_by(notification.topic)
        ]
        if self._foresees and len(concerning) > 1:
            work.load(self._foreseen([notification for _, notification in concerning]))
        for index, notification in concerning:
            self._take_in_one(index, notification, work)
        self.follower.record_batch(work)
        self._position = last

    def _take_in_one(self, index: int, notification: Notification, work: Work) -> None:
        try:
            event = self._event(notification)
            payment_id = subject_of(event)
            if self._parking is not None and payment_id in self._parking.payments:
                work.change(self._parked(notification, payment_id))
            else:
                self._apply(event, work)
        except INFRASTRUCTURE_ERRORS:
            raise
        except Exception as error:
            raise PolicyFailed(index, error) from error

    def _foreseen(self, notifications: Sequence[Notification]) -> set[UUID]:
        """The aggregates that the policy will ask for, as far as a rehearsal can tell."""
        asked = {
            self._rehearsed(each) for each in notifications if self._loads.get(each.topic, True)
        }
        return {aggregate_id for aggregate_id in asked if aggregate_id is not None}

    def _rehearsed(self, notification: Notification) -> UUID | None:
        """Whatever else goes wrong here goes wrong again, and is dealt with, when the event is
        taken in."""
        try:
            event = self._event(notification)
            with acting(EventContext(event.metadata, event.timestamp)):
                self.follower.policy(event, Rehearsal())
        except Asked as asked:
            self._loads[notification.topic] = asked.aggregate_id is not None
            return asked.aggregate_id
        except Exception as error:  # noqa: BLE001
            log.debug("rehearsal_failed", topic=notification.topic, error=str(error))
        return None

    def _apply(self, event: PaySagaAggregate.Event, work: Work) -> None:
        if self._is_projection:
            self.follower.policy(event, work)
            return
        with acting(caused_by(event, self.follower.name, self.leader.clock.now())):
            self.follower.policy(event, work)
        work.settle()

    def _event(self, notification: Notification) -> PaySagaAggregate.Event:
        event = self.leader.mapper.to_domain_event(notification)
        assert isinstance(event, PaySagaAggregate.Event)
        return event

    def _work(self, tracking: Tracking) -> Work:
        return Work(self.follower, tracking)  # type: ignore[arg-type]

    def _parked(self, notification: Notification, *details: Any) -> Any:
        return park(self.follower.name, self.leader.name, notification, *details)

    def _is_concerned_by(self, topic: str) -> bool:
        concerned = self._concerns.get(topic)
        if concerned is None:
            concerned = self._concerns[topic] = self.follower.concerns(resolve_topic(topic))
        return concerned
