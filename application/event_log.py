"""What all applications share: one event log each, commands that survive conflicts, a clock."""

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, Generic, Protocol, TypeVar, cast, runtime_checkable
from uuid import UUID

from eventsourcing.application import AggregateNotFoundError, Application, ProcessingEvent
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import (
    EventStore,
    InfrastructureFactory,
    IntegrityError,
    JSONTranscoder,
    Mapper,
    Notification,
    Recording,
    StoredEvent,
    Tracking,
)
from eventsourcing.utils import Environment

from application.ports import Clock, Persistence
from application.rows import RowChange
from application.transcoding import PaySagaMapper, PaySagaTranscoder, register_transcodings
from domain.event import PaySagaAggregate
from domain.keyed_request import KeyedRequest, current_command

CONFLICT_ATTEMPTS_MAX = 10
"""How often a command is decided anew when others keep changing the same aggregate."""

NOTIFICATIONS_MAX = 1000
"""The most notifications read from a log at once."""

PAGE_MAX = 500
"""The most events that are kept as they were recorded, so that they need not be read back."""

LIGHT_BYTES_MAX = 8192
"""Larger events are kept until the next one is recorded, and no longer."""

TAggregate = TypeVar("TAggregate", bound=PaySagaAggregate)
T = TypeVar("T")


def replayed(aggregate: Any, events: Iterable[Any]) -> Any:
    """Applies events in order. The library's own projector asks of every event whether it can be
    applied, which costs more than to apply it."""
    for event in events:
        aggregate = event.mutate(aggregate)
    return aggregate


@runtime_checkable
class ReadsMany(Protocol):
    """A recorder that reads several aggregates at once."""

    def select_events_of(self, aggregate_ids: Sequence[UUID]) -> Sequence[StoredEvent]:
        """All events of several aggregates, those of each together and in order."""
        ...

    def select_kept_events(self, aggregate_id: UUID) -> Sequence[StoredEvent]:
        """All events of an aggregate in order, once they are kept for good."""
        ...


@dataclass(frozen=True)
class Page:
    """Some events of a log in order: all that there are behind the position `begin`, up to the
    last of them. `epoch` is the one in which they were read or recorded; `is_light` says that none
    is so large that it should not be kept for long."""

    epoch: UUID | None
    begin: int
    notifications: Sequence[Notification]
    is_light: bool = False

    @property
    def reaches_to(self) -> int:
        """The position of the last one."""
        return self.notifications[-1].id if self.notifications else self.begin

    def after(self, position: int, limit: int) -> Sequence[Notification]:
        """Up to `limit` of them behind a position that is not before `begin`."""
        first = bisect_right(self.notifications, position, key=_position)
        return self.notifications[first : first + limit]

    def before(self, later: "Page") -> "Page":
        """This page and a later one as one page, if nothing can stand between them, and as far as
        they are not too much to be kept in memory; otherwise the later one alone."""
        follows = self.epoch == later.epoch and self.reaches_to == later.begin
        if not (follows and self.is_light and later.is_light):
            return later
        kept = [*self.notifications, *later.notifications]
        dropped, kept = kept[:-PAGE_MAX], kept[-PAGE_MAX:]
        return Page(self.epoch, dropped[-1].id if dropped else self.begin, kept, is_light=True)


def _position(notification: Notification) -> int:
    return notification.id


class PlainEventStore(EventStore[UUID]):
    """An event store that only stores: followers hear of events from the log, and nobody looks at
    the recordings that the library would make of them."""

    heard: Callable[[Sequence[DomainEventProtocol[UUID]]], None] | None = None
    """Told of events once they are recorded, such as to log them."""
    remembers = False
    """Whether events that were recorded here are given to their readers as they are."""
    newest = Page(None, 0, ())
    """What was recorded last through this store, as far back as nobody else's events stand in
    between."""

    @property
    def reaches_to(self) -> int:
        """The position of the newest event that was recorded through this store; 0 before the
        first."""
        return self.newest.reaches_to

    def put(
        self, domain_events: Sequence[DomainEventProtocol[UUID]], **kwargs: Any
    ) -> list[Recording[UUID]]:
        """Stores events; the list that it returns is empty.

        Raises:
            IntegrityError: somebody else recorded that version of an aggregate first.
        """
        stored = list(map(self.mapper.to_stored_event, domain_events))
        positions = self.recorder.insert_events(stored, **kwargs)
        if positions:
            self.newest = self.newest.before(_page_of(stored, positions, kwargs.get("epoch")))
            if self.remembers:
                cast(PaySagaMapper, self.mapper).remember(stored, domain_events)
        if self.heard is not None and domain_events:
            self.heard(domain_events)
        return []


def _page_of(stored: Sequence[StoredEvent], positions: Sequence[int], epoch: UUID | None) -> Page:
    """They stand together: a log's positions are given out under its lock. Only a number that was
    given out in vain may lie between them."""
    return Page(
        epoch,
        positions[0] - 1,
        [
            Notification(
                event.originator_id, event.originator_version, event.topic, event.state, position
            )
            for event, position in zip(stored, positions, strict=True)
        ],
        is_light=all(len(event.state) <= LIGHT_BYTES_MAX for event in stored),
    )


class EventLog(Application[UUID], Generic[TAggregate]):
    """An eventsourcing application with its own log."""

    log_section_size = NOTIFICATIONS_MAX
    events: PlainEventStore
    mapper: PaySagaMapper

    def __init__(self, persistence: Persistence, clock: Clock) -> None:
        self._persistence = persistence
        self.clock = clock
        super().__init__(env={})
        self.reads_many = isinstance(self.recorder, ReadsMany)

    def construct_factory(self, env: Environment) -> InfrastructureFactory[Any]:
        return self._persistence.factory(env)

    def construct_mapper(self) -> Mapper[UUID]:
        return self.factory.mapper(
            transcoder=self.construct_transcoder(), mapper_class=PaySagaMapper
        )

    def construct_transcoder(self) -> PaySagaTranscoder:
        transcoder = PaySagaTranscoder()
        self.register_transcodings(transcoder)
        return transcoder

    def construct_event_store(self) -> PlainEventStore:
        """In the test mode every event is read as it is stored: tests see what a process sees that
        did not record it."""
        store = PlainEventStore(self.mapper, self.recorder)
        store.remembers = isinstance(self.recorder, ReadsMany)
        return store

    def register_transcodings(self, transcoder: JSONTranscoder) -> None:
        super().register_transcodings(transcoder)
        register_transcodings(transcoder)

    def get(self, aggregate_id: UUID, version: int | None = None) -> TAggregate:
        """The aggregate, as it is now or as it was at a version.

        Raises:
            AggregateNotFoundError: there is none.
        """
        aggregate: TAggregate = self.repository.get(
            aggregate_id, version=version, projector_func=replayed
        )
        return aggregate

    def get_kept(self, aggregate_id: UUID) -> TAggregate:
        """The aggregate as it is now, when that is kept for good: fit to be shown to somebody who
        will rely on it.

        Raises:
            AggregateNotFoundError: there is none.
        """
        if not isinstance(self.recorder, ReadsMany):
            return self.get(aggregate_id)
        stored = self.recorder.select_kept_events(aggregate_id)
        aggregate: TAggregate | None = replayed(None, map(self.mapper.to_domain_event, stored))
        if aggregate is None:
            raise AggregateNotFoundError((aggregate_id, None))
        return aggregate

    def get_many(self, aggregate_ids: Collection[UUID]) -> dict[UUID, TAggregate]:
        """Those of the aggregates that exist, in one round trip where the recorder can do that."""
        if not self.reads_many:
            return {}
        stored = cast(ReadsMany, self.recorder).select_events_of(list(aggregate_ids))
        by_aggregate = groupby(stored, key=lambda event: event.originator_id)
        return {
            aggregate_id: replayed(None, map(self.mapper.to_domain_event, events))
            for aggregate_id, events in by_aggregate
        }

    def get_as_of(self, aggregate_id: UUID, moment: datetime) -> TAggregate:
        """The aggregate as it was at a moment.

        Raises:
            AggregateNotFoundError: there was none yet.
        """
        version = 0
        for event in self.history(aggregate_id):
            if event.timestamp > moment:
                break
            version = event.originator_version
        return self.get(aggregate_id, version=version)

    def history(self, aggregate_id: UUID) -> list[PaySagaAggregate.Event]:
        """All events of an aggregate, oldest first; none when it does not exist."""
        return list(self.events.get(aggregate_id))  # type: ignore[arg-type]

    def all(self) -> Iterator[PaySagaAggregate.Event]:
        """Every event of the log in the order of their positions, read in pages."""
        position = 0
        while page := self.recorder.select_notifications(
            start=position, limit=NOTIFICATIONS_MAX, inclusive_of_start=False
        ):
            yield from (self.mapper.to_domain_event(n) for n in page)  # type: ignore[misc]
            position = page[-1].id

    def change(
        self,
        aggregate_id: UUID,
        decide: Callable[[TAggregate], None],
        rows: Sequence[RowChange] = (),
    ) -> TAggregate:
        """Lets `decide` act on the aggregate and records what it triggered, with row changes in
        the same transaction. Decided anew on the reloaded aggregate when somebody was quicker.
        Within `serving` it is recorded which request that was, and a repeat of it decides nothing.

        Raises:
            AggregateNotFoundError: there is no such aggregate.
            IdempotencyKeyReused: another request was made with this key before.
            IntegrityError: others were quicker `CONFLICT_ATTEMPTS_MAX` times.
        """
        return self._persistently(lambda: self._change_once(aggregate_id, decide, rows))

    def _change_once(
        self,
        aggregate_id: UUID,
        decide: Callable[[TAggregate], None],
        rows: Sequence[RowChange],
    ) -> TAggregate:
        epoch = self.epoch()
        if self._is_repeat(epoch):
            return self.get(aggregate_id)
        aggregate = self.load(aggregate_id)
        decide(aggregate)
        self._record_command(aggregate, rows=rows, epoch=epoch)
        return aggregate

    def load(self, aggregate_id: UUID) -> TAggregate:
        """The aggregate as a command finds it: for logs that need not read its whole past.

        Raises:
            AggregateNotFoundError: there is none.
        """
        return self.get(aggregate_id)

    def change_rows(self, find: Callable[[], Sequence[RowChange]]) -> None:
        """Writes the row changes that `find` gives, and within `serving` also which request that
        was; a repeat of it finds nothing and writes nothing.

        Raises:
            IdempotencyKeyReused: another request was made with this key before.
        """

        def write() -> None:
            epoch = self.epoch()
            if not self._is_repeat(epoch):
                self._record_command(rows=find(), epoch=epoch)

        self._persistently(write)

    def _persistently(self, step: Callable[[], T]) -> T:
        for attempt in range(1, CONFLICT_ATTEMPTS_MAX + 1):
            try:
                return step()
            except IntegrityError:
                if attempt == CONFLICT_ATTEMPTS_MAX:
                    raise
        raise AssertionError("unreachable: the loop returns or raises")

    def _is_repeat(self, epoch: UUID | None) -> bool:
        command = current_command()
        if command is None or command.is_recorded:
            return False
        try:
            earlier: Any = self.get(command.request_id)
        except AggregateNotFoundError:
            if command.is_replay:
                self.record(epoch=epoch)
            return command.is_replay
        self.record(epoch=epoch)
        command.meet(earlier.fingerprint)
        return True

    def _record_command(
        self,
        *aggregates: PaySagaAggregate,
        rows: Sequence[RowChange] = (),
        epoch: UUID | None = None,
    ) -> None:
        command = current_command()
        if command is None or command.is_recorded:
            self.record(*aggregates, rows=rows, epoch=epoch)
            return
        request = KeyedRequest.accept(command.request_id, command.fingerprint())
        self.record(*aggregates, request, rows=rows, epoch=epoch)
        command.is_recorded = True

    def record(
        self,
        *aggregates: PaySagaAggregate,
        rows: Sequence[RowChange] = (),
        epoch: UUID | None = None,
    ) -> None:
        """Records pending events and row changes in one transaction. Whoever changed an aggregate
        that was recorded before gives the `epoch` in which it was read (see `Persistence.epoch`).
        Who has nothing to record waits until what he has read is kept for good.

        Raises:
            IntegrityError: somebody else recorded that version of an aggregate first, or the epoch
                is over.
        """
        events = [event for aggregate in aggregates for event in aggregate.collect_events()]
        try:
            self.events.put(events, rows=list(rows), epoch=epoch)
        except IntegrityError:
            self.forget_epoch()
            raise

    def epoch(self) -> UUID | None:
        """See `Persistence.epoch`."""
        return self._persistence.epoch()

    def forget_epoch(self) -> None:
        """See `Persistence.forget_epoch`."""
        self._persistence.forget_epoch()


class Work(ProcessingEvent[UUID]):
    """What a follower makes of a batch: new events, row changes, and the aggregates in hand.

    Aggregates are loaded once per batch, so that a policy sees what the one before it decided.
    """

    def __init__(
        self, follower: EventLog[Any], tracking: Tracking, epoch: UUID | None = None
    ) -> None:
        super().__init__(tracking)
        self._follower = follower
        self.epoch = epoch
        self._touched: list[PaySagaAggregate] = []
        self.rows: list[RowChange] = []
        self.source: tuple[str, Notification]
        """The log of the event in hand, and how the event is recorded there."""

    def get(self, aggregate_id: UUID) -> Any:
        """The aggregate as the batch so far has left it.

        Raises:
            AggregateNotFoundError: there is none.
        """
        aggregate = self.aggregates.get(aggregate_id)
        if aggregate is None:
            aggregate = self._follower.get(aggregate_id)
        self.add(aggregate)  # type: ignore[arg-type]
        return aggregate

    def find(self, aggregate_id: UUID) -> Any | None:
        """Like `get`, but None when there is no such aggregate."""
        try:
            return self.get(aggregate_id)
        except AggregateNotFoundError:
            return None

    def add(self, aggregate: PaySagaAggregate) -> None:
        """Takes a new aggregate in hand."""
        self.aggregates[aggregate.id] = aggregate
        self._touched.append(aggregate)

    def load(self, aggregate_ids: Collection[UUID]) -> None:
        """Loads aggregates that will be asked for, together instead of one by one."""
        missing = [found for found in aggregate_ids if found not in self.aggregates]
        if len(missing) > 1:
            self.aggregates.update(self._follower.get_many(missing))

    def change(self, *rows: RowChange) -> None:
        """Adds row changes, to be written in the same transaction."""
        self.rows.extend(rows)

    def settle(self) -> None:
        """Collects what the aggregates in hand triggered since the last call, in order."""
        for aggregate in self._touched:
            self.events.extend(aggregate.collect_events())
        self._touched.clear()
