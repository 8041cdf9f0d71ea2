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


RowChange = Upsert | Patch | Delete


def fold(changes: Iterable[RowChange]) -> list[RowChange]:
    """The same changes with at most one deletion and one write per row, so that they may be
    written set by set in any order of rows."""
    folded: dict[tuple[str, Key], RowChange] = {}
    for change in changes:
        name = (change.table, change.key)
        folded[name] = _after(folded.get(name), change)
    return list(folded.values())


def _after(earlier: RowChange | None, change: RowChange) -> RowChange:
    if isinstance(change, Delete) or earlier is None:
        return change
    if isinstance(earlier, Delete):
        return change if isinstance(change, Upsert) else earlier
    merged = {**earlier.values, **change.values}
    if isinstance(earlier, Upsert) or isinstance(change, Upsert):
        return Upsert(change.table, change.key, merged)
    return Patch(change.table, change.key, merged)
