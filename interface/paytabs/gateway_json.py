"""Reads JSON from outside strictly and within limits, so that nothing ambiguous or huge gets in."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import NoReturn

Members = Callable[[list[tuple[str, object]]], dict[str, object]]

_INT_DIGITS_MAX = 15
"""Longer whole numbers are kept as text: not every reader of JSON holds them exactly."""


class UnreadableJson(ValueError):
    """The text is not JSON that may be read; the message says why."""


@dataclass(frozen=True)
class Limits:
    """How much JSON is read: levels of nesting, fields and elements in all, characters."""

    depth: int
    fields: int
    key_length: int = 128
    text_length: int = 4096


def read_json(body: bytes, limits: Limits) -> object:
    """The JSON value of a body: objects, arrays, str, int, bool and None.

    Numbers with a fraction or an exponent, and very long ones, come as the text they were
    written as: no float is ever made. NUL and lone surrogates, which no database takes,
    become U+FFFD.

    Raises:
        UnreadableJson: not UTF-8, not JSON (RFC 8259), NaN or Infinity, a key twice in one
            object, or beyond the limits.
    """
    return _Measure(limits).checked(_parsed(body, limits, _object_without_repeats), depth=0)


def read_outline(body: bytes, limits: Limits) -> dict[str, object]:
    """What can be kept of a JSON object that `read_json` may have refused: its plain values, and
    those of the objects in it. Whatever is deeper, in arrays or beyond the limits is left out,
    and of a repeated key only the last is kept.

    Raises:
        UnreadableJson: not UTF-8, not JSON, no object, or nested too deep to be parsed at all.
    """
    value = _parsed(body, limits, dict)
    if not isinstance(value, dict):
        raise UnreadableJson("not a JSON object")
    inner = {
        key: _plain_members(item, limits) if isinstance(item, dict) else item
        for key, item in islice(value.items(), limits.fields)
    }
    return _plain_members(inner, limits, dict)


def _plain_members(
    members: dict[str, object], limits: Limits, *also: type[object]
) -> dict[str, object]:
    return {
        _cleaned(key): _cleaned(item) if isinstance(item, str) else item
        for key, item in islice(members.items(), limits.fields)
        if len(key) <= limits.key_length
        and (isinstance(item, also) or not isinstance(item, dict | list))
        and not (isinstance(item, str) and len(item) > limits.text_length)
    }


def _parsed(body: bytes, limits: Limits, members: Members) -> object:
    try:
        value: object = json.loads(
            body.decode("utf-8"),
            parse_float=str,
            parse_int=_whole_number,
            parse_constant=_refuse_constant,
            object_pairs_hook=members,
        )
    except UnicodeDecodeError:
        raise UnreadableJson("not UTF-8") from None
    except RecursionError:
        raise UnreadableJson(f"nested deeper than {limits.depth} levels") from None
    except json.JSONDecodeError as error:
        raise UnreadableJson(f"not JSON: {error.msg} at character {error.pos}") from None
    return value


def _whole_number(literal: str) -> int | str:
    return int(literal) if len(literal) <= _INT_DIGITS_MAX else literal


def _refuse_constant(name: str) -> NoReturn:
    raise UnreadableJson(f"{name} is not a JSON number")


def _object_without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise UnreadableJson("an object has the same key twice")
    return result


class _Measure:
    """Counts what a value holds against the limits, and cleans its texts on the way."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._fields = 0

    def checked(self, value: object, depth: int) -> object:
        if isinstance(value, str):
            return self._text(value, self._limits.text_length, "a text")
        if isinstance(value, dict):
            self._enter(len(value), depth)
            return {
                self._text(key, self._limits.key_length, "a key"): self.checked(item, depth + 1)
                for key, item in value.items()
            }
        if isinstance(value, list):
            self._enter(len(value), depth)
            return [self.checked(item, depth + 1) for item in value]
        return value

    def _enter(self, size: int, depth: int) -> None:
        if depth >= self._limits.depth:
            raise UnreadableJson(f"nested deeper than {self._limits.depth} levels")
        self._fields += size
        if self._fields > self._limits.fields:
            raise UnreadableJson(f"more than {self._limits.fields} fields")

    @staticmethod
    def _text(value: str, length_max: int, what: str) -> str:
        if len(value) > length_max:
            raise UnreadableJson(f"{what} is longer than {length_max} characters")
        return _cleaned(value)


def _cleaned(text: str) -> str:
    return (
        text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    )
