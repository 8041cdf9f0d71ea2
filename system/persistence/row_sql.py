"""Row changes as SQL, written set by set within the caller's transaction."""

from collections.abc import Mapping, Sequence
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


class RowWriter:
    """Writes folded row changes, those of one shape by one statement. `vault` opens personal data
    as it is written."""

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._tables = tables
        self.vault: Vault | None = None
        self._statements: dict[tuple[Shape, bool], bytes] = {}

    def write(self, connection: Connection[DictRow], changes: Sequence[RowChange]) -> None:
        """Writes changes of which no two concern the same row (see `application.rows.fold`)."""
        groups: dict[Shape, list[Sequence[Any]]] = {}
        opened = opened_many(_sealed_in(changes), self.vault)
        for change in changes:
            columns = () if isinstance(change, Delete) else tuple(change.values)
            group = groups.setdefault((type(change), change.table, columns), [])
            group.append(self._parameters(change, opened))
        with connection.cursor() as cursor:
            for shape, parameters in groups.items():
                is_many = len(parameters) > 1
                values = [list(column) for column in zip(*parameters, strict=True)]
                statement = self._statement_for(shape, is_many=is_many)
                cursor.execute(statement, values if is_many else parameters[0], prepare=True)
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

    def _parameters(self, change: RowChange, opened: Mapping[Sealed, Any]) -> list[Any]:
        """The values of one change: first the key, then the columns."""
        if isinstance(change, Delete):
            return list(change.key)
        kinds = self._tables[change.table].columns
        values = (
            (name, opened[value] if isinstance(value, Sealed) else value)
            for name, value in change.values.items()
        )
        return [*change.key, *(_adapted(value, kinds[name]) for name, value in values)]


def _sealed_in(changes: Sequence[RowChange]) -> set[Sealed]:
    return {
        value
        for change in changes
        if not isinstance(change, Delete)
        for value in change.values.values()
        if isinstance(value, Sealed)
    }


def _adapted(value: Any, kind: str) -> Any:
    text = storable(value)
    is_json = kind.startswith("jsonb") and value is not None
    return Jsonb(text) if is_json else text


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
