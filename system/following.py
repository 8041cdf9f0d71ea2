"""How a follower takes in the next batch of a log: the one way, in production and in tests."""

from typing import Any

from eventsourcing.persistence import Notification, Tracking
from eventsourcing.utils import resolve_topic

from application.event_log import EventLog, Work
from domain.event import PaySagaAggregate, acting, caused_by
from system.followers.base import BatchFollower

BATCH_SIZE = 200
"""The most notifications taken into one transaction."""


class Following:
    """One follower on one log, remembering how far it has come.

    Correctness does not rest on that memory: a position is recorded only if it is ahead of the
    one in the store, and a batch that lost the race is taken again from the recorded position.
    """

    def __init__(
        self, follower: BatchFollower, leader: EventLog[Any], batch_size: int = BATCH_SIZE
    ) -> None:
        self.follower = follower
        self.leader = leader
        self.batch_size = batch_size
        self._position: int | None = None
        self._concerns: dict[str, bool] = {}

    @property
    def position(self) -> int:
        """The position of the last notification that was taken in; 0 before the first."""
        if self._position is None:
            self._position = self.follower.recorder.max_tracking_id(self.leader.name) or 0
        return self._position

    def forget_position(self) -> None:
        """Reads the position from the store next time: somebody else may have moved it."""
        self._position = None

    def advance(self) -> int:
        """Takes in the next batch and returns how many notifications it held.

        Raises:
            IntegrityError: the batch lost a race; nothing was recorded. Call again.
        """
        notifications = self.leader.recorder.select_notifications(
            start=self.position, limit=self.batch_size, inclusive_of_start=False
        )
        if notifications:
            self._take_in(list(notifications))
        return len(notifications)

    def _take_in(self, notifications: list[Notification]) -> None:
        last = notifications[-1].id
        work = Work(self.follower, Tracking(self.leader.name, last))  # type: ignore[arg-type]
        for notification in notifications:
            if self._is_concerned_by(notification.topic):
                self._apply(notification, work)
        try:
            self.follower.record_batch(work)
        except Exception:
            self.forget_position()
            raise
        self._position = last

    def _apply(self, notification: Notification, work: Work) -> None:
        event = self.leader.mapper.to_domain_event(notification)
        assert isinstance(event, PaySagaAggregate.Event)
        with acting(caused_by(event, self.follower.name, self.leader.clock.now())):
            self.follower.policy(event, work)
        work.settle()

    def _is_concerned_by(self, topic: str) -> bool:
        concerned = self._concerns.get(topic)
        if concerned is None:
            concerned = self._concerns[topic] = self.follower.concerns(resolve_topic(topic))
        return concerned
