"""How domain events become bytes and back: exact money, typed enums, value objects by name."""

import dataclasses
import types
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import JSONTranscoder, Mapper, StoredEvent, Transcoding

from domain.event import Metadata
from domain.gateway_report import GatewayReport
from domain.money import Money
from domain.payment_saga import Call
from domain.payment_terms import Failure
from domain.sealed import Sealed


class MoneyAsStr(Transcoding):
    """Money as `149.50 SAR`."""

    type = Money
    name = "money"

    def encode(self, obj: Money) -> str:
        return f"{obj.amount} {obj.currency.code}"

    def decode(self, data: str) -> Money:
        amount, currency = data.split(" ")
        return Money(Decimal(amount), currency)


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

    def encode(self, obj: Any) -> dict[str, Any]:
        return {
            name: value
            for name, value in vars(obj).items()
            if name not in self._defaults or value != self._defaults[name]
        }

    def decode(self, data: dict[str, Any]) -> Any:
        for name, enum in enum_fields(self.type):
            if name in data:
                data[name] = enum(data[name])
        return self.type(**data)


VALUE_OBJECTS: dict[str, type[Any]] = {
    "metadata": Metadata,
    "report": GatewayReport,
    "call": Call,
    "failure": Failure,
    "sealed": Sealed,
}
"""The stored names of value objects. A name is for ever; a class behind it may move."""


def register_transcodings(transcoder: JSONTranscoder) -> None:
    """Teaches a transcoder the value objects of the domain."""
    transcoder.register(MoneyAsStr())
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


class PaySagaMapper(Mapper[UUID]):
    """Restores enum fields of events to their enums."""

    def to_domain_event(self, stored_event: StoredEvent) -> DomainEventProtocol[UUID]:
        event = super().to_domain_event(stored_event)
        fields = vars(event)
        for name, enum in enum_fields(type(event)):
            if fields.get(name) is not None:
                fields[name] = enum(fields[name])
        return event
