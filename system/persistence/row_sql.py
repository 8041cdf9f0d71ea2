"""Row changes as SQL, written set by set within the caller's transaction."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from psycopg import Connection
from psycopg.adapt import PyFormat
from psycopg.rows import DictRow
from psycopg.sql import SQL, Composable, Composed, Identifier, Placeholder
from psycopg.types.json import Jsonb

from application.rows import Delete, Insert, Patch, RowChange, Upsert
from application.vault import Vault, opened_many
from domain.sealed import Sealed
from system.persistence.tables import Table

Shape = tuple[type, str, tuple[str, ...]]
"""What changes that are written by one statement have in common: kind, table and columns."""

Column = list[Any]
"""The values of one column, a value for each change."""

TEXTS = frozenset({"text", "jsonb"})
"""The types of columns whose values are made storable; sealed values stand only in these."""


class RowWriter:
    """Writes folded row changes, those of one shape by one statement. `vault` opens personal data
    as it is written."""

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._tables = tables
        self.vault: Vault | None = None
        self._statements: dict[tuple[Shape, bool], bytes] = {}

    def write(self, connection: Connection[DictRow], changes: Sequence[RowChange]) -> None:
        """Writes changes of which no two concern the same row (see `application.rows.fold`)."""
        groups: dict[Shape, list[RowChange]] = {}
        for change in changes:
            names = () if isinstance(change, Delete) else tuple(change.values)
            groups.setdefault((type(change), change.table, names), []).append(change)
        columns_of = {shape: _columns(shape, group) for shape, group in groups.items()}
        opened = opened_many(_sealed_in(columns_of.values()), self.vault)
        with connection.cursor() as cursor:
            for shape, columns in columns_of.items():
                is_many = len(groups[shape]) > 1
                sets = self._adapted(shape, columns, opened)
                statement = self._statement_for(shape, is_many=is_many)
                cursor.execute(
                    statement, sets if is_many else [value for [value] in sets], prepare=True
                )
            for table in sorted({table for kind, table, _ in groups if kind is not Delete}):
                self._finish(cursor, self._tables[table])

    def _finish(self, cursor: Any, table: Table) -> None:
        if table.waits_for_disk:
            cursor.execute("SELECT set_config('synchronous_commit', 'on', true)")
        if table.channel is not None:
            cursor.execute(SQL("NOTIFY {}").format(Identifier(table.channel)))

    def _statement_for(self, shape: Shape, *, is_many: bool) -> bytes:
        statement = self._statements.get((shape, is_many))
        if statement is None:
            kind, table, columns = shape
            make = _set_statement if is_many else _statement
            made = make(kind, self._tables[table], columns)
            statement = self._statements[shape, is_many] = made.as_bytes()
        return statement

    def _adapted(
        self, shape: Shape, columns: Sequence[Column], opened: Mapping[Sealed, Any]
    ) -> list[Column]:
        """The columns as PostgreSQL takes them."""
        _, name, names = shape
        table = self._tables[name]
        kinds = [table.columns[column].split()[0] for column in (*table.key, *names)]
        return [
            _storable_column(column, kind, opened)
            for column, kind in zip(columns, kinds, strict=True)
        ]


def _columns(shape: Shape, changes: Sequence[Any]) -> list[Column]:
    """The values of changes of one shape, column by column: first the key's, then the others."""
    keys = [list(column) for column in zip(*[change.key for change in changes], strict=True)]
    return keys + [[change.values[name] for change in changes] for name in shape[2]]


def _sealed_in(sets: Iterable[Sequence[Column]]) -> set[Sealed]:
    return {
        value
        for columns in sets
        for column in columns
        for value in column
        if isinstance(value, Sealed)
    }


def _storable_column(column: Column, kind: str, opened: Mapping[Sealed, Any]) -> Column:
    if kind not in TEXTS:
        return column
    values = [storable(opened[value] if isinstance(value, Sealed) else value) for value in column]
    if kind == "text":
        return values
    return [None if value is None else Jsonb(value) for value in values]


def storable(value: Any) -> Any:
    """PostgreSQL holds no NUL in a text: views show U+FFFD for it, the event keeps it."""
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [storable(item) for item in value]
    return value


def _statement(kind: type, table: Table, columns: tuple[str, ...]) -> Composed:
    """The statement for one change."""
    names = [*table.key, *columns]
    row = SQL("(VALUES ({})) AS new ({})").format(
        SQL(", ").join([_cast(table, name, "") for name in names]), _listed(names)
    )
    return _from(kind, table, columns, row)


def _set_statement(kind: type, table: Table, columns: tuple[str, ...]) -> Composed:
    """The statement for many changes at once, column by column. Sent as text, a long text in an
    array would cost psycopg more than all the rest."""
    names = [*table.key, *columns]
    rows = SQL("unnest({}) AS new ({})").format(
        SQL(", ").join([_cast(table, name, "[]") for name in names]), _listed(names)
    )
    return _from(kind, table, columns, rows)


def _cast(table: Table, column: str, suffix: str) -> Composed:
    kind = table.columns[column].split()[0]
    return SQL("{}::{}").format(
        Placeholder(format=PyFormat.BINARY if suffix else PyFormat.AUTO), SQL(f"{kind}{suffix}")
    )


def _from(kind: type, table: Table, columns: tuple[str, ...], new: Composable) -> Composed:
    name = Identifier(table.name)
    matches = SQL(" AND ").join(
        [SQL("old.{0} = new.{0}").format(Identifier(column)) for column in table.key]
    )
    if kind is Delete:
        return SQL("DELETE FROM {} AS old USING {} WHERE {}").format(name, new, matches)
    if kind is Patch:
        return SQL("UPDATE {} AS old SET {} FROM {} WHERE {}").format(
            name, _assigned(columns, "new"), new, matches
        )
    names = _listed([*table.key, *columns])
    insert = SQL("INSERT INTO {} ({}) SELECT {} FROM {}").format(name, names, names, new)
    if kind is Insert:
        return insert
    assert kind is Upsert
    conflict = SQL(" ON CONFLICT ({}) DO UPDATE SET {}").format(
        _listed(table.key), _assigned(columns, "excluded")
    )
    return insert + conflict


def _assigned(columns: Sequence[str], source: str) -> Composed:
    return SQL(", ").join(
        [SQL("{0} = {1}.{0}").format(Identifier(column), Identifier(source)) for column in columns]
    )


def _listed(names: Sequence[str]) -> Composed:
    return SQL(", ").join(map(Identifier, names))
