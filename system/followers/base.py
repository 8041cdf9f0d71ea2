"""What followers have in common: which events concern them, and how a batch is recorded."""

from typing import Any, ClassVar
from uuid import UUID

from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.system import Follower

from application.event_log import EventLog, Work
from application.rows import RowChange
from domain.event import PaySagaAggregate


class BatchFollower(Follower[UUID]):
    """A follower whose policy is a pure function of an event and the batch's aggregates.

    Positions, new events and row changes are recorded together by `record_batch`.
    """

    is_urgent: ClassVar[bool] = False
    """Whether a customer waits for what it makes of events."""
    rest_seconds: ClassVar[float] = 0.2
    """How long to let news gather after a batch, so that the next one is larger."""

    def concerns(self, event_class: type) -> bool:
        """True when the policy has a rule for such events; the others are passed over unread."""
        rules = type(self).__dict__["policy"].dispatcher
        return rules.dispatch(event_class) is not rules.dispatch(object)

    def foresees(self, event: Any) -> UUID | None:
        """The aggregate that the policy will ask for because of an event that concerns it, so that
        those of a whole batch are loaded together; None when it asks for none. A wrong guess
        costs time and nothing else."""
        return None

    def record_batch(self, work: Work) -> None:
        """Records what a batch came to, in one transaction with the follower's new position.

        Raises:
            IntegrityError: another process was quicker with the batch or with an aggregate, or the
                epoch in which it was read is over.
        """
        self.events.put(work.events, tracking=work.tracking, rows=work.rows, epoch=work.epoch)


class Projection(EventLog[PaySagaAggregate], BatchFollower):
    """A follower that turns each event into row changes, and has no events of its own.

    Subclasses name their `tables` and write `project` as a `singledispatchmethod` that returns
    row changes and reads nothing but the event (design 6).
    """

    tables: ClassVar[tuple[str, ...]] = ()
    version: ClassVar[int] = 1
    """Raise it when the rows that events mean, or the columns of the tables, change: the program
    then asks for a rebuild before it starts (see `system.rebuild`)."""
    is_rebuildable: ClassVar[bool] = True

    @singledispatchmethod
    def project(self, event: Any) -> list[RowChange]:
        """The row changes that an event means; none for events without a rule."""
        return []

    def concerns(self, event_class: type) -> bool:
        """See `BatchFollower.concerns`."""
        rules = type(self).__dict__["project"].dispatcher
        return rules.dispatch(event_class) is not rules.dispatch(object)

    def policy(self, event: Any, work: Any) -> None:
        """Adds the event's row changes to the batch."""
        work.change(*self.project(event))
