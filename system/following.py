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

from application.event_log import EventLog, Work
from application.transcoding import event_class
from domain.event import PaySagaAggregate, acting, caused_by
from system.followers.base import BatchFollower, Projection
from system.log_tail import LogTail
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
    in the store, in the epoch in which that was read; one that lost the race is taken again from
    the recorded position.
    Without `parking` an event that cannot be taken in is raised, again and again. With
    `defers_positions` a batch in which nothing concerns the follower is passed over in memory,
    until `record_position`.
    """

    def __init__(
        self,
        follower: BatchFollower,
        leader: EventLog[Any],
        batch_size: int = BATCH_SIZE,
        parking: FollowerParking | None = None,
        tail: LogTail | None = None,
        *,
        defers_positions: bool = False,
    ) -> None:
        self.follower = follower
        self.leader = leader
        self.is_ahead = False
        """True when the position is ahead of the one in the store."""
        self._tail = tail or LogTail(leader)
        self._defers_positions = defers_positions
        self.batch_size = batch_size
        self._parking = parking
        self._limit = batch_size
        self._attempts = 0
        self._races_lost = 0
        self._early = 0
        self._position: int | None = None
        self._recorded = 0
        self._epoch: UUID | None = None
        self._concerns: dict[str, bool] = {}
        self._is_projection = isinstance(follower, Projection)
        self._foresees = (
            isinstance(follower, EventLog) and follower.reads_many and not self._is_projection
        )

    @property
    def position(self) -> int:
        """The position of the last notification that was taken in; 0 before the first."""
        if self._position is None:
            self._epoch = self.leader.epoch()
            self._recorded = self.follower.recorder.max_tracking_id(self.leader.name) or 0
            self._position = self._recorded
        return self._position

    @property
    def known_position(self) -> int:
        """The position as far as it is remembered; 0 when it is to be read from the store."""
        return self._position or 0

    @property
    def is_early(self) -> bool:
        """True when the next event came before what it speaks of, and is to be tried again."""
        return self._early > 0

    def forget_position(self) -> None:
        """Reads the position from the store next time, and what is parked: somebody else may have
        moved it, and parked what stood in between."""
        self._position = None
        self.is_ahead = False
        self.leader.forget_epoch()
        if self._parking is not None:
            self._parking.forget()

    def begins_anew(self) -> bool:
        """True when the epoch in which the position was read is over. It is forgotten then: what
        this process passed may be gone, and something else may stand in its place."""
        if self._epoch is None or self._epoch == self.leader.epoch():
            return False
        self.forget_position()
        return True

    def record_position(self) -> None:
        """Records the position, if it is ahead of the one in the store.

        Raises:
            IntegrityError: the one in the store is not where this process left it.
        """
        if not self.is_ahead:
            return
        try:
            self._record(self._work(self._reached(self.position)))
        except IntegrityError:
            self.forget_position()
            raise

    def advance(self) -> int:
        """Takes in the next batch and returns how many notifications it held.

        An event that the policy cannot take in is tried alone, and after some attempts parked.
        One that came too early waits: 0 is returned, and it is tried again next time.

        Raises:
            IntegrityError: the batch lost a race; nothing was recorded. Call again: the next
                batch is half as large.
            Exception: whatever the policy or the database raised; nothing was recorded.
        """
        position = self.position
        notifications = self._tail.after(position, self._limit, self._epoch)
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
        if self._position is None:
            self._epoch = self.leader.epoch()
        [notification] = self.leader.recorder.select_notifications(parked.position, limit=1)
        work = self._work(Tracking(f"{self.leader.name}#{parked.position}", 1))
        self._apply(self._event(notification), work, notification)
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
        work = self._work(self._reached(notification.id))
        work.change(self._parked(notification, payment_id, str(error), self._attempts))
        self._record(work)
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
        work = self._work(self._reached(last))
        concerning = [
            (index, notification)
            for index, notification in enumerate(notifications)
            if self._is_concerned_by(notification.topic)
        ]
        if self._foresees and len(concerning) > 1:
            work.load(self._foreseen([notification for _, notification in concerning]))
        for index, notification in concerning:
            self._take_in_one(index, notification, work)
        if self._defers_positions and not concerning:
            self.is_ahead = True
        else:
            self._record(work)
        self._position = last

    def _take_in_one(self, index: int, notification: Notification, work: Work) -> None:
        try:
            event = self._event(notification)
            payment_id = subject_of(event)
            if self._parking is not None and payment_id in self._parking.payments:
                work.change(self._parked(notification, payment_id))
            else:
                self._apply(event, work, notification)
        except INFRASTRUCTURE_ERRORS:
            raise
        except Exception as error:
            raise PolicyFailed(index, error) from error

    def _foreseen(self, notifications: Sequence[Notification]) -> set[UUID]:
        """The aggregates that the policy will ask for, as far as the follower can tell. What is
        wrong with an event is dealt with when it is taken in."""
        foreseen: set[UUID] = set()
        for notification in notifications:
            try:
                aggregate_id = self.follower.foresees(self._event(notification))
            except Exception as error:  # noqa: BLE001
                log.debug("event_not_foreseen", topic=notification.topic, error=str(error))
                continue
            if aggregate_id is not None:
                foreseen.add(aggregate_id)
        return foreseen

    def _apply(self, event: PaySagaAggregate.Event, work: Work, notification: Notification) -> None:
        work.source = (self.leader.name, notification)
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

    def _reached(self, position: int) -> Reached:
        return Reached(self.leader.name, position, self._recorded)

    def _record(self, work: Work) -> None:
        self.follower.record_batch(work)
        assert work.tracking is not None
        self._recorded = work.tracking.notification_id
        self.is_ahead = False

    def _work(self, tracking: Tracking) -> Work:
        return Work(self.follower, tracking, self._epoch)  # type: ignore[arg-type]

    def _parked(self, notification: Notification, *details: Any) -> Any:
        return park(self.follower.name, self.leader.name, notification, *details)

    def _is_concerned_by(self, topic: str) -> bool:
        concerned = self._concerns.get(topic)
        if concerned is None:
            concerned = self._concerns[topic] = self.follower.concerns(event_class(topic))
        return concerned
