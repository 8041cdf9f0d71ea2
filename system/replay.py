"""Rebuilds a payment from its events, and tells what each event changed, who caused it and why."""

from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, cast
from uuid import UUID, uuid5

from eventsourcing.application import AggregateNotFoundError
from eventsourcing.persistence import StoredEvent

from application.envelope import Opener, camel_case, public_value
from application.event_log import EventLog, ReadsMany, replayed
from domain.confirmation import Confirmation
from domain.contract import Contract
from domain.earnings import Earnings
from domain.event import PaySagaAggregate
from domain.gateway_call import GatewayCall
from domain.payment import Payment
from domain.payment_saga import PaymentSaga
from system.applications import Applications
from system.replaying import read_back, replaying

Event = PaySagaAggregate.Event
State = dict[str, Any]

CONTRACT_EVENTS = tuple(
    member
    for member in vars(Contract).values()
    if isinstance(member, type) and issubclass(member, Event)
)

LIBRARY_FIELDS = frozenset(
    {"_id", "_version", "_created_on", "_modified_on", "_pending_events", "metadata"}
)


@dataclass(frozen=True)
class Change:
    """One value of an aggregate that an event changed; `path` is its place, as `steps.settle`."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Happening:
    """An event with what it changed, and what it caused in turn."""

    event: Event
    changes: tuple[Change, ...]
    effects: tuple["Happening", ...] = ()


@dataclass(frozen=True)
class Story:
    """A payment at some moment, with everything that had happened to it until then: `roots` are
    the first causes, `events` all of it by time."""

    payment: Payment
    saga: PaymentSaga | None
    roots: tuple[Happening, ...]

    @property
    def happenings(self) -> list[Happening]:
        """Everything that happened, by time."""
        found: list[Happening] = []
        waiting = list(self.roots)
        while waiting:
            happening = waiting.pop()
            found.append(happening)
            waiting.extend(happening.effects)
        return sorted(found, key=lambda happening: _order(happening.event))


def story_of(
    applications: Applications,
    payment_id: UUID,
    *,
    version: int | None = None,
    as_of: datetime | None = None,
) -> Story:
    """The story of a payment, until now, until its `version`, or until the moment `as_of`.

    Raises:
        AggregateNotFoundError: there was no such payment then.
        ReplayImpossible: an event of it, or of what belongs to it, is gone or is none. Events of
            the payment behind `version` do not matter.
    """
    log = applications.payments
    with replaying(log, payment_id):
        records = stored_of(log, [payment_id])[:version]
        events, _ = read_back(log, payment_id, records)
        own = [event for event in events if as_of is None or event.timestamp <= as_of]
        if own and (version is None or own[-1].originator_version == version):
            return _story(applications, own, own[-1].timestamp if version is not None else as_of)
    raise AggregateNotFoundError(str(payment_id))


def _story(applications: Applications, own: Sequence[Event], end: datetime | None) -> Story:
    """The story of the payment that has these events, until the moment `end`."""
    payment_id = own[0].originator_id
    others = [
        event
        for event in _around(applications, payment_id, own)
        if end is None or event.timestamp <= end
    ]
    lives = [own, *_by_aggregate(others)]
    saga_id = PaymentSaga.create_id(payment_id)
    return Story(
        payment=replayed(None, own),
        saga=replayed(None, (event for event in others if event.originator_id == saga_id)),
        roots=tree(
            happening
            for events in lives
            for happening in told(events)
            if _is_about(happening.event, payment_id)
        ),
    )


def _is_about(event: Event, payment_id: UUID) -> bool:
    """A contract has other payments too."""
    return not isinstance(event, CONTRACT_EVENTS) or (
        getattr(event, "payment_id", None) == payment_id
    )


def _around(applications: Applications, payment_id: UUID, own: Sequence[Event]) -> list[Event]:
    """The events of all that belongs to a payment: saga, calls, callbacks, confirmations, the
    suspicions that came of them, its contract, and what was earned."""
    saga = histories(applications.sagas, [PaymentSaga.create_id(payment_id)])
    calls = [event.call.call_id for event in saga if isinstance(event, PaymentSaga.CallRequested)]
    webhooks = [
        event.webhook_id for event in saga if isinstance(event, PaymentSaga.NotificationHandled)
    ]
    told_of = [Confirmation.create_id(payment_id, event.originator_version) for event in own]
    gateway = histories(applications.gateway, calls)
    doubtful = [
        uuid5(event.event_id, "security")
        for event in (*saga, *gateway)
        if isinstance(event, PaymentSaga.ReportDoubted | GatewayCall.Refused)
    ]
    shared = [Earnings.create_id(payment_id)]
    if isinstance(own[0], Payment.Initiated) and own[0].contract_id:
        shared.append(Contract.create_id(own[0].contract_id))
    return [
        *saga,
        *gateway,
        *histories(applications.contracts, shared),
        *histories(applications.webhooks, webhooks),
        *histories(applications.confirmations, told_of),
        *histories(applications.operations, doubtful),
    ]


def histories(log: EventLog[Any], aggregate_ids: Sequence[UUID]) -> list[Event]:
    """The events of several aggregates.

    Raises:
        ReplayImpossible: one of them is gone, or is none.
    """
    stored = groupby(stored_of(log, aggregate_ids), key=lambda each: each.originator_id)
    return [
        event
        for aggregate_id, records in stored
        for event in read_back(log, cast(UUID, aggregate_id), list(records))[0]
    ]


def stored_of(log: EventLog[Any], aggregate_ids: Sequence[UUID]) -> Sequence[StoredEvent]:
    """What is stored of several aggregates, of each together and in order; in one round trip where
    the recorder can do that."""
    if not isinstance(log.recorder, ReadsMany):
        return [event for each in aggregate_ids for event in log.recorder.select_events(each)]
    return log.recorder.select_events_of(list(aggregate_ids))


def _by_aggregate(events: Iterable[Event]) -> list[list[Event]]:
    found: dict[UUID, list[Event]] = {}
    for event in events:
        found.setdefault(event.originator_id, []).append(event)
    return [sorted(each, key=lambda event: event.originator_version) for each in found.values()]


def told(events: Sequence[Event]) -> list[Happening]:
    """The events of one aggregate, each with what it changed."""
    aggregate: Any = None
    looks = Looks()
    happenings = []
    for event in events:
        aggregate = event.mutate(aggregate)
        happenings.append(Happening(event, tuple(looks.changes(aggregate))))
    return happenings


class Looks:
    """How an aggregate looked when it was last looked at. Only what has changed since is put into
    words: a payment of a thousand events has hundreds of refunds."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], tuple[Any, Any]] = {}

    def changes(self, aggregate: PaySagaAggregate) -> list[Change]:
        """What is different from the last time, value by value, within objects too."""
        found: list[Change] = []
        values = dict(_values(aggregate))
        for place, value in values.items():
            before, shown = self._known.get(place, (None, None))
            if before != value:
                now = plain(value, lambda _sealed: "sealed")
                found += differences({place[-1]: shown}, {place[-1]: now}, _prefix(place))
                self._known[place] = (deepcopy(value), now)
        for place in [place for place in self._known if place not in values]:
            _, shown = self._known.pop(place)
            found.append(Change(".".join(place), shown, None))
        return found


def _values(aggregate: PaySagaAggregate) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The values of an aggregate with their places, those in dictionaries one by one."""
    for name, value in vars(aggregate).items():
        if name in LIBRARY_FIELDS:
            continue
        if isinstance(value, dict):
            for key, item in value.items():
                yield (camel_case(name), str(key)), item
        else:
            yield (camel_case(name),), value


def _prefix(place: tuple[str, ...]) -> str:
    return "".join(f"{name}." for name in place[:-1])


def tree(happenings: Iterable[Happening]) -> tuple[Happening, ...]:
    """Puts each happening under the one that caused it; those whose cause is not among them are
    the roots."""
    in_order = sorted(happenings, key=lambda happening: _order(happening.event))
    effects: dict[str | None, list[Happening]] = {}
    known = {str(happening.event.event_id) for happening in in_order}
    for happening in in_order:
        cause = happening.event.metadata.causation_id
        effects.setdefault(cause if cause in known else None, []).append(happening)
    whole: dict[str, Happening] = {}
    for happening in _effects_first(effects):
        name = str(happening.event.event_id)
        caused = tuple(whole[str(each.event.event_id)] for each in effects.get(name, ()))
        whole[name] = Happening(happening.event, happening.changes, caused)
    return tuple(whole[str(root.event.event_id)] for root in effects.get(None, ()))


def _effects_first(effects: dict[str | None, list[Happening]]) -> list[Happening]:
    """All happenings under a root, each behind everything that it caused."""
    downwards: list[Happening] = []
    waiting = list(effects.get(None, ()))
    while waiting:
        happening = waiting.pop()
        downwards.append(happening)
        waiting.extend(effects.get(str(happening.event.event_id), ()))
    return downwards[::-1]


def _order(event: Event) -> tuple[datetime, str, int]:
    return (event.timestamp, str(event.originator_id), event.originator_version)


def plain(value: Any, opener: Opener) -> Any:
    """A value of an aggregate as JSON knows it."""
    known = public_value(value, opener)
    if is_dataclass(known) and not isinstance(known, type):
        return {
            camel_case(field.name): plain(getattr(known, field.name), opener)
            for field in fields(known)
        }
    if isinstance(value, dict):
        return {str(key): plain(item, opener) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(str(item) for item in value)
    if isinstance(value, list | tuple):
        return [plain(item, opener) for item in value]
    return known


def differences(before: State, after: State, path: str = "") -> list[Change]:
    """What is different, value by value, within objects too."""
    found: list[Change] = []
    for name in [*after, *(name for name in before if name not in after)]:
        old, new, place = before.get(name), after.get(name), f"{path}{name}"
        if isinstance(old, dict) and isinstance(new, dict):
            found += differences(old, new, f"{place}.")
        elif old != new:
            found.append(Change(place, old, new))
    return found
