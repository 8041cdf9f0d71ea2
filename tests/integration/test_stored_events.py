"""Whatever version of an event was ever stored is read for ever (design 2)."""

import json
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from eventsourcing.persistence import StoredEvent

from application.envelope import envelope
from application.vault import Vault
from domain.event import PaySagaAggregate
from domain.payment import Payment
from system.persistence.memory import MemoryClientKeys
from system.testing import SeededIds
from tests.integration.stored_events_kit import (
    FOLDER,
    example_of,
    fields_of,
    file_of,
    stored_in,
    version_of,
)
from tests.unit.test_transcoding import event_classes, mapper

ADVICE = (
    "raise `class_version`, write `upcast_vN_vN+1`, and keep an example with "
    "`python -m tests.integration.stored_events_kit` (docs/audit.md, Changing an event)"
)
CLASSES = pytest.mark.parametrize("cls", event_classes(), ids=lambda cls: cls.__qualname__)
EXAMPLES = pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda p: p.stem)


def example_in(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def read(stored: StoredEvent) -> Any:
    return mapper().decode(
        stored.originator_id, stored.originator_version, stored.topic, stored.state
    )


@CLASSES
def test_there_is_an_example_of_every_version(cls: type[PaySagaAggregate.Event]) -> None:
    missing = [
        version for version in range(1, version_of(cls) + 1) if not file_of(cls, version).exists()
    ]
    assert not missing, f"no stored example of {cls.__qualname__} in version {missing}: {ADVICE}"


@CLASSES
def test_no_class_has_changed_without_a_new_version(cls: type[PaySagaAggregate.Event]) -> None:
    kept = example_in(file_of(cls, version_of(cls)))
    assert fields_of(cls) == kept["fields"], f"{cls.__qualname__} has changed: {ADVICE}"


@EXAMPLES
def test_every_stored_example_is_read_with_all_its_fields(path: Path) -> None:
    event = read(stored_in(example_in(path)))
    hints = {
        name: hint
        for name, hint in get_type_hints(type(event)).items()
        if "ClassVar" not in str(hint) and not name.startswith("originator_")
    }
    assert hints.keys() <= vars(event).keys()
    for name, hint in hints.items():
        assert fits(getattr(event, name), hint), f"{name} is {getattr(event, name)!r}, not {hint}"


def fits(value: Any, hint: Any) -> bool:
    """True when a value is of the type that a field is declared with."""
    if get_origin(hint) in (Union, UnionType):
        return any(fits(value, each) for each in get_args(hint))
    kind = get_origin(hint) or hint
    if kind is float:
        return isinstance(value, float | int)
    return kind is Any or isinstance(value, kind)


@EXAMPLES
def test_every_stored_example_has_an_envelope(path: Path) -> None:
    event = read(stored_in(example_in(path)))
    shown = envelope(event, Vault(MemoryClientKeys(), SeededIds()), "PROCESSED")
    assert shown["aggregateId"] == example_in(path)["originatorId"]
    assert shown["version"] == str(version_of(type(event)))


@CLASSES
def test_an_event_of_the_newest_version_is_stored_as_its_example(
    cls: type[PaySagaAggregate.Event],
) -> None:
    kept = stored_in(example_in(file_of(cls, version_of(cls))))
    assert mapper().to_stored_event(read(kept)) == kept


def test_no_example_is_of_a_class_that_is_gone() -> None:
    topics = {example_of(cls)["topic"] for cls in event_classes()}
    assert {example_in(path)["topic"] for path in FOLDER.glob("*.json")} <= topics


def test_a_changed_field_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fields_of(Payment.Cancelled)
    hints = {**Payment.Cancelled.__annotations__, "note": str}
    monkeypatch.setattr(Payment.Cancelled, "__annotations__", hints)
    assert fields_of(Payment.Cancelled) == {**before, "note": "str"}
    monkeypatch.setattr(Payment.Cancelled, "__annotations__", {"reason": int})
    assert fields_of(Payment.Cancelled) != before


def test_an_old_event_goes_through_the_upcasters(monkeypatch: pytest.MonkeyPatch) -> None:
    old = stored_in(example_in(file_of(Payment.Cancelled, 1)))

    def upcast(state: dict[str, Any]) -> None:
        state["language"] = "en"

    monkeypatch.setattr(Payment.Cancelled, "class_version", 2, raising=False)
    monkeypatch.setattr(Payment.Cancelled, "upcast_v1_v2", staticmethod(upcast), raising=False)
    event = read(old)
    assert event.language == "en"
    again = mapper().to_stored_event(event)
    assert json.loads(again.state)["class_version"] == 2
    assert read(again).language == "en"
