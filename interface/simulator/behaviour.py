"""Holds how the simulator should misbehave, for how long, and hands it out call by call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

API_PATHS = ("/payment/request", "/payment/query")
CALLBACK_MODES = (
    "normal",
    "lost",
    "duplicate",
    "delayed",
    "before_answer",
    "wrong_amount",
    "wrong_signature",
)
REFUND_MODES = ("succeed", "pending", "decline")
LATENCY_MS_MAX = 600_000
CALLBACK_DELAY_MS_MAX = 3_600_000
CALLBACK_DELAY_MS_DEFAULT = 2_000
NEXT_MAX = 1_000_000

_CALL, _OUTCOME, _REFUND = "call", "outcome", "refund"
_GROUPS: Mapping[str, frozenset[str]] = {
    _CALL: frozenset({"latency_ms", "status", "malformed", "drop_before", "drop_after", "perform"}),
    _OUTCOME: frozenset({"callback", "callback_delay_ms"}),
    _REFUND: frozenset({"refund"}),
}


class InvalidBehaviourError(ValueError):
    """A field is unknown or its value is not one of those allowed."""


@dataclass(frozen=True, slots=True)
class CallFault:
    """What goes wrong with one API call; the strongest fault wins, in this order of fields.

    ``perform`` says whether the call is done although its answer is replaced.
    """

    latency_ms: int = 0
    drop_before: bool = False
    status: int | None = None
    malformed: bool = False
    drop_after: bool = False
    perform: bool = False


@dataclass(frozen=True, slots=True)
class CallbackPlan:
    """How the callback of one outcome is sent: a member of CALLBACK_MODES and a delay."""

    mode: str = "normal"
    delay_ms: int = 0


class Behaviour:
    """The current wishes (contract, section 9). Thread-safe.

    ``next`` counts calls for transport faults, outcomes for callback wishes and refunds for the
    refund wish, each on its own; a wish whose count is used up is gone.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fields: dict[str, object] = {}
        self._left: dict[str, int] = {}

    def replace(self, fields: Mapping[str, object]) -> None:
        """Forget the earlier wishes and take these. Raises InvalidBehaviourError."""
        for name, value in fields.items():
            _check(name, value)
        count = fields.get("next")
        with self._lock:
            self._fields = dict(fields)
            self._left = dict.fromkeys(_GROUPS, count) if isinstance(count, int) else {}

    def clear(self) -> None:
        """Behave well again."""
        self.replace({})

    def shown(self) -> dict[str, object]:
        """The wishes still in force, in the form they are given."""
        with self._lock:
            shown = dict(self._fields)
            left = [self._left[group] for group in self._active() if group in self._left]
        return shown | ({"next": max(left)} if left else {})

    def take_call(self, path: str) -> CallFault | None:
        """What goes wrong with this API call, None when nothing does."""
        if not self._fields:
            return None
        paths = self._fields.get("paths", API_PATHS)
        if not isinstance(paths, list | tuple) or path not in paths:
            return None
        fields = self._take(_CALL)
        return _call_fault(fields) if fields else None

    def take_outcome(self) -> CallbackPlan:
        """How to send the callback of this outcome."""
        fields = self._take(_OUTCOME) if self._fields else {}
        mode = str(fields.get("callback", "normal"))
        default_ms = CALLBACK_DELAY_MS_DEFAULT if mode == "delayed" else 0
        delay_ms = fields.get("callback_delay_ms", default_ms)
        return CallbackPlan(mode, delay_ms if isinstance(delay_ms, int) else default_ms)

    def take_refund(self) -> str:
        """How this refund ends: a member of REFUND_MODES."""
        fields = self._take(_REFUND) if self._fields else {}
        return str(fields.get("refund", "succeed"))

    def _take(self, group: str) -> dict[str, object]:
        with self._lock:
            fields = {name: self._fields[name] for name in _GROUPS[group] & self._fields.keys()}
            if fields and group in self._left:
                self._count_down(group)
            return fields

    def _count_down(self, group: str) -> None:
        self._left[group] -= 1
        if self._left[group] > 0:
            return
        for name in _GROUPS[group]:
            self._fields.pop(name, None)
        if not self._active():
            self._fields = {}
            self._left = {}

    def _active(self) -> list[str]:
        return [group for group, names in _GROUPS.items() if names & self._fields.keys()]


def _call_fault(fields: Mapping[str, object]) -> CallFault:
    replaced_only = bool(fields.get("malformed")) and fields.get("status") is None
    latency_ms, status = fields.get("latency_ms", 0), fields.get("status")
    return CallFault(
        latency_ms=latency_ms if isinstance(latency_ms, int) else 0,
        drop_before=bool(fields.get("drop_before")),
        status=status if isinstance(status, int) else None,
        malformed=bool(fields.get("malformed")),
        drop_after=bool(fields.get("drop_after")),
        perform=bool(fields.get("perform", replaced_only)),
    )


def _whole(least: int, most: int) -> tuple[Callable[[object], bool], str]:
    def fits(value: object) -> bool:
        return type(value) is int and least <= value <= most

    return fits, f"a whole number from {least} to {most}"


def _one_of(values: tuple[str, ...]) -> tuple[Callable[[object], bool], str]:
    return lambda value: value in values, "one of " + ", ".join(values)


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _are_paths(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(path in API_PATHS for path in value)


_YES_OR_NO = (_is_bool, "true or false")
_FIELDS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "latency_ms": _whole(0, LATENCY_MS_MAX),
    "status": _whole(200, 599),
    "malformed": _YES_OR_NO,
    "drop_before": _YES_OR_NO,
    "drop_after": _YES_OR_NO,
    "perform": _YES_OR_NO,
    "next": _whole(1, NEXT_MAX),
    "paths": (_are_paths, "a list of " + ", ".join(API_PATHS)),
    "callback": _one_of(CALLBACK_MODES),
    "callback_delay_ms": _whole(0, CALLBACK_DELAY_MS_MAX),
    "refund": _one_of(REFUND_MODES),
}


def _check(name: str, value: object) -> None:
    if name not in _FIELDS:
        raise InvalidBehaviourError(f"{name!r} is unknown; known are {', '.join(_FIELDS)}")
    fits, expected = _FIELDS[name]
    if not fits(value):
        raise InvalidBehaviourError(f"{name} must be {expected}")
