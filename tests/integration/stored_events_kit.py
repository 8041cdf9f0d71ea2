"""Keeps one stored example of every version of every event: `python -m
tests.integration.stored_events_kit` writes those that are missing, and changes none."""

import dataclasses
import json
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from eventsourcing.persistence import StoredEvent
from eventsourcing.utils import get_topic

from domain.event import PaySagaAggregate
from domain.money import Money
from tests.unit.test_transcoding import event_classes, examples, mapper

FOLDER = Path(__file__).parent / "stored_events"

Event = PaySagaAggregate.Event


def version_of(cls: type[Event]) -> int:
    """The schema version that is written now."""
    return int(getattr(cls, "class_version", 1))


def file_of(cls: type[Event], version: int) -> Path:
    """Where the example of a version is kept."""
    return FOLDER / f"{cls.__qualname__}.v{version}.json"


def fields_of(cls: type[Event]) -> dict[str, str]:
    """The fields of an event class with their types, value objects spelt out."""
    return {
        name: told(hint)
        for name, hint in sorted(get_type_hints(cls).items())
        if "ClassVar" not in str(hint) and not name.startswith("originator_")
    }


def told(hint: Any) -> str:
    """A type in words. The fields of a value object are part of what is stored."""
    arguments = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return " | ".join(told(argument) for argument in arguments)
    if arguments:
        return f"{hint.__origin__.__name__}[{', '.join(told(each) for each in arguments)}]"
    if hint is not Money and dataclasses.is_dataclass(hint):
        hints = get_type_hints(hint)
        fields = (f"{each.name}: {told(hints[each.name])}" for each in dataclasses.fields(hint))
        return f"{hint.__name__}({', '.join(fields)})"
    return getattr(hint, "__name__", str(hint)).replace("NoneType", "None")


def example_of(cls: type[Event]) -> dict[str, Any]:
    """An event of the class as it is stored now."""
    stored = mapper().to_stored_event(examples()[cls][0])
    return {
        "topic": get_topic(cls),
        "version": version_of(cls),
        "originatorId": str(stored.originator_id),
        "originatorVersion": stored.originator_version,
        "fields": fields_of(cls),
        "state": stored.state.decode(),
    }


def stored_in(document: dict[str, Any]) -> StoredEvent:
    """The event of an example, as a log holds it."""
    return StoredEvent(
        UUID(document["originatorId"]),
        document["originatorVersion"],
        document["topic"],
        document["state"].encode(),
    )


def main() -> None:
    """Writes the examples that are missing."""
    FOLDER.mkdir(exist_ok=True)
    for cls in event_classes():
        path = file_of(cls, version_of(cls))
        if not path.exists():
            path.write_text(json.dumps(example_of(cls), indent=1, ensure_ascii=False) + "\n")
            print(path.relative_to(FOLDER.parent))


if __name__ == "__main__":
    main()
