"""How domain events become bytes and back: exact money, typed enums, value objects by name."""

import dataclasses
import threading
import types
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from enum import StrEnum
from functools import cache, lru_cache
from typing import Any, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import (
    JSONTranscoder,
    Mapper,
    MapperDeserialisationError,
    StoredEvent,
    Transcoding,
)
from eventsourcing.utils import TopicError, resolve_topic

from domain.contract import Payee, Terms
from domain.event import Metadata, PaySagaAggregate
from domain.gateway_report import GatewayReport
from domain.money import Money
from domain.payment_saga import Call
from domain.payment_terms import Failure
from domain.sealed import Sealed

MONEY_MAX = 4096
"""The most amounts that are kept decoded: those of a payment recur in most of its events."""


class MoneyAsStr(Transcoding):
    """Money as `149.50 SAR`."""

    type = Money
    name = "money"

    def encode(self, obj: Money) -> str:
        return f"{obj.amount} {obj.currency.code}"

    def decode(self, data: str) -> Money:
        return _money(data)


@lru_cache(MONEY_MAX)
def _money(data: str) -> Money:
    amount, currency = data.split(" ")
    return Money(Decimal(amount), currency)


class DateAsISO(Transcoding):
    """A day as `2026-12-24`."""

    type = date
    name = "date"

    def encode(self, obj: date) -> str:
        return obj.isoformat()

    def decode(self, data: str) -> date:
        return date.fromisoformat(data)


class ValueObjectAsDict(Transcoding):
    """A frozen dataclass as its fields; those that have their default are left out."""

    def __init__(self, value_type: type[Any], name: str) -> None:
        self.type = value_type
        self.name = name
        self._defaults = {
            field.name: field.default
            for field in dataclasses.fields(value_type)
            if field.default is not dataclasses.MISSING
        }
        names = [field.name for field in dataclasses.fields(value_type)]
        self._in_order = {name: self._defaults.get(name) for name in names}
        self._required = set(names) - self._defaults.keys()
        self._enums = enum_fields(value_type)  # type: ignore[arg-type]

    def encode(self, obj: Any) -> dict[str, Any]:
        return {
            name: value
            for name, value in vars(obj).items()
            if name not in self._defaults or value != self._defaults[name]
        }

    def decode(self, data: dict[str, Any]) -> Any:
        """Made as a copy is made: a frozen dataclass is slow to make field by field. The fields
        come in their order, so that the same value is stored as the same bytes again."""
        fields = {**self._in_order, **data}
        if len(fields) != len(self._in_order) or not data.keys() >= self._required:
            raise TypeError(f"the fields of a stored {self.name} are {', '.join(data)}")
        for name, enum in self._enums:
            if name in data:
                fields[name] = enum(data[name])
        value: Any = object.__new__(self.type)
        object.__setattr__(value, "__dict__", fields)
        return value


@dataclasses.dataclass(frozen=True)
class Lookalike:
    """A dictionary of somebody else's that has the very keys of an encoded object."""

    items: list[tuple[str, Any]]


class LookalikeAsPairs(Transcoding):
    """A lookalike as pairs, so that its sender cannot choose what it is decoded as."""

    type = Lookalike
    name = "dict"

    def encode(self, obj: Lookalike) -> list[tuple[str, Any]]:
        return obj.items

    def decode(self, data: list[tuple[str, Any]]) -> dict[str, Any]:
        return dict(data)


LOOKALIKE_KEYS = frozenset({"_type_", "_data_"})


class PaySagaTranscoder(JSONTranscoder):
    """Keeps dictionaries from outside (metadata, headers, payloads) as they came, whatever their
    keys are."""

    def encode(self, obj: Any) -> bytes:
        fields = {name: disguised(value) for name, value in obj.items()}
        return super().encode(fields)

    def decode(self, data: bytes) -> Any:
        """Without looking for spaces around the document, as long as there are none."""
        text = data.decode()
        document, end = self.decoder.raw_decode(text)
        return document if end == len(text) else self.decoder.decode(text)

    def _decode_obj(self, d: dict[str, Any]) -> Any:
        """As the library does it, but without an error for each object of two other fields."""
        if len(d) == 2 and "_type_" in d and "_data_" in d:
            return super()._decode_obj(d)
        return d


def disguised(value: Any) -> Any:
    """The same JSON value with every lookalike in it marked as such."""
    if isinstance(value, list):
        return [disguised(item) for item in value]
    if not isinstance(value, dict):
        return value
    fields = {key: disguised(item) for key, item in value.items()}
    return Lookalike(list(fields.items())) if fields.keys() == LOOKALIKE_KEYS else fields


VALUE_OBJECTS: dict[str, type[Any]] = {
    "metadata": Metadata,
    "report": GatewayReport,
    "call": Call,
    "failure": Failure,
    "sealed": Sealed,
    "payee": Payee,
    "terms": Terms,
}
"""The stored names of value objects. A name is for ever; a class behind it may move."""


def register_transcodings(transcoder: JSONTranscoder) -> None:
    """Teaches a transcoder the value objects of the domain."""
    transcoder.register(MoneyAsStr())
    transcoder.register(DateAsISO())
    transcoder.register(LookalikeAsPairs())
    for name, value_type in VALUE_OBJECTS.items():
        transcoder.register(ValueObjectAsDict(value_type, name))


@cache
def enum_fields(cls: type[Any]) -> tuple[tuple[str, type[StrEnum]], ...]:
    """The fields of a class that hold enums, which JSON keeps as plain strings."""
    hints = get_type_hints(cls)
    return tuple((name, enum) for name, hint in hints.items() if (enum := _enum_in(hint)))


def _enum_in(hint: Any) -> type[StrEnum] | None:
    candidates = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    for candidate in candidates:
        if isinstance(candidate, type) and issubclass(candidate, StrEnum):
            return candidate
    return None


@cache
def event_class(topic: str) -> type[Any]:
    """The class of events that a stored topic names.

    Raises:
        TopicError: it names nothing, or something else: no object of that is made.
    """
    cls = resolve_topic(topic)
    if not (isinstance(cls, type) and issubclass(cls, PaySagaAggregate.Event)):
        raise TopicError(f"'{topic}' names no event")
    return cls


DECODED_MAX = 2048
"""The most events of one log that are kept decoded; the oldest gives way."""

DECODED_BYTES_MAX = 8192
"""Larger events are decoded each time: what a gateway sends may be as large as a request."""


Stored = tuple[UUID, int, str, bytes]
"""All that is stored of an event: its aggregate's id, its version, topic and state."""


def _key(stored: StoredEvent) -> Stored:
    aggregate_id: Any = stored.originator_id
    return aggregate_id, stored.originator_version, stored.topic, stored.state


class PaySagaMapper(Mapper[UUID]):
    """Restores enum fields of events to their enums.

    An event is frozen, and is read by every follower of its log and with its aggregate: what was
    decoded or recorded lately is not decoded again. It is found by all that is stored of it, so
    that nothing else than the very same bytes gives the very same event.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._known: dict[Stored, DomainEventProtocol[UUID]] = {}
        self._lock = threading.Lock()

    def to_domain_event(self, stored_event: StoredEvent) -> DomainEventProtocol[UUID]:
        stored = _key(stored_event)
        event = self._known.get(stored)
        if event is None:
            event = self.decode(*stored)
            self._keep(stored, event)
        return event

    def remember(
        self, stored: Iterable[StoredEvent], events: Iterable[DomainEventProtocol[UUID]]
    ) -> None:
        """Keeps events that were recorded here as if they had been decoded lately."""
        for each, event in zip(stored, events, strict=True):
            self._keep(_key(each), event)

    def forget(self) -> None:
        """Decodes every event again when it is read next."""
        self._known = {}

    def _keep(self, stored: Stored, event: DomainEventProtocol[UUID]) -> None:
        if len(stored[3]) > DECODED_BYTES_MAX:
            return
        with self._lock:
            if len(self._known) >= DECODED_MAX:
                del self._known[next(iter(self._known))]
            self._known[stored] = event

    def decode(self, *stored: Any) -> DomainEventProtocol[UUID]:
        """An event from its aggregate's id, its version, topic and state, without looking whether
        it was decoded lately: for those who read a whole log.

        Raises:
            MapperDeserialisationError: it is stored in a way that is not known.
            TopicError: the topic names no event.
        """
        aggregate_id, version, topic, state = stored
        cls = event_class(topic)
        if getattr(cls, "class_version", 1) > 1:
            return self._with_enums(super().to_domain_event(StoredEvent(*stored)))
        try:
            fields = self.transcoder.decode(state)
        except Exception as error:
            raise MapperDeserialisationError(
                f"version {version} of {aggregate_id} ({topic}) is not deserializable: {error}"
            ) from error
        event: Any = object.__new__(cls)
        fields["originator_id"], fields["originator_version"] = aggregate_id, version
        object.__setattr__(event, "__dict__", fields)
        return self._with_enums(event)

    def _with_enums(self, event: DomainEventProtocol[UUID]) -> DomainEventProtocol[UUID]:
        fields = vars(event)
        for name, enum in enum_fields(type(event)):
            if fields.get(name) is not None:
                fields[name] = enum(fields[name])
        return event
