"""Changes to rows of a table, as data: what projections and the agenda ask a recorder to do."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Upsert:
    """Inserts a row, or sets these columns of the row that has the key already."""

    table: str
    key: Key
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Patch:
    """Sets columns of a row; does nothing when there is no such row."""

    table: str
    key: Key
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Delete:
    """Removes a row; does nothing when there is no such row."""

    table: str
    key: Key


@dataclass(frozen=True)
class Insert:
    """Adds a row that must be new: the batch is refused when there is one with the key."""

    table: str
    key: Key
    values: Mapping[str, Any] = field(default_factory=dict)


RowChange = Upsert | Patch | Delete | Insert


def fold(changes: Iterable[RowChange]) -> list[RowChange]:
    """Fewer changes that come to the same: all deletions first, then all patches, then all
    upserts, at most one of each per row. Within a kind they may be written in any order. Rows that
    must be new come last and stay as they are."""
    folded: dict[tuple[str, Key], tuple[RowChange, ...]] = {}
    for change in changes:
        name = (change.table, change.key)
        folded[name] = _after(folded.get(name, ()), change)
    left = [change for row in folded.values() for change in row]
    return [change for kind in WRITTEN_IN_ORDER for change in left if type(change) is kind]


WRITTEN_IN_ORDER: tuple[type, ...] = (Delete, Patch, Upsert, Insert)


class _Merged(dict[str, Any]):
    """Values that were put together here, and may be added to."""


def _after(earlier: tuple[RowChange, ...], change: RowChange) -> tuple[RowChange, ...]:
    """What is left to do with a row: one change, or a deletion or a patch before an upsert."""
    last = earlier[-1] if earlier else None
    if isinstance(change, Insert):
        return (*earlier, change)
    if last is None or isinstance(change, Delete):
        return (change,)
    if isinstance(last, Delete):
        return (last, change) if isinstance(change, Upsert) else earlier
    if isinstance(last, Patch) and isinstance(change, Upsert):
        return (*earlier, change)
    if isinstance(last.values, _Merged):
        last.values.update(change.values)
        return earlier
    merged = _Merged(last.values)
    merged.update(change.values)
    return (*earlier[:-1], type(last)(last.table, last.key, merged))
