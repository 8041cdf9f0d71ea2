"""The process that recorded an event reads it as it is, all others decode it: they must not tell
one from the other, or they would show, count and decide differently."""

from dataclasses import is_dataclass
from typing import Any

import pytest
from eventsourcing.persistence import StoredEvent

from application.event_log import PlainEventStore
from application.transcoding import PaySagaMapper
from domain.money import Money
from tests.simulation.runs import run

STORED_BESIDE = frozenset({"originator_id", "originator_version"})


def exact(value: Any) -> Any:
    """A value with the types of all that is in it, and its members in their order."""
    if isinstance(value, dict):
        return dict, [(name, exact(item)) for name, item in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [exact(item) for item in value]
    if isinstance(value, Money):
        return Money, str(value.amount), value.currency.code
    if is_dataclass(value):
        return type(value), exact(vars(value))
    return type(value), str(value)


def members(event: Any) -> Any:
    return exact({name: value for name, value in vars(event).items() if name not in STORED_BESIDE})


@pytest.mark.parametrize("seed", range(20))
def test_an_event_is_the_same_recorded_and_decoded_also_when_much_has_been_made_of_it(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded: list[tuple[PaySagaMapper, StoredEvent, Any]] = []
    put = PlainEventStore.put

    def noting(store: Any, events: Any, **options: Any) -> Any:
        recorded.extend((store.mapper, store.mapper.to_stored_event(each), each) for each in events)
        return put(store, events, **options)

    monkeypatch.setattr(PlainEventStore, "put", noting)
    assert run(seed) is None
    assert recorded
    for mapper, stored, event in recorded:
        decoded = mapper.decode(
            stored.originator_id, stored.originator_version, stored.topic, stored.state
        )
        assert members(event) == members(decoded)
