"""Row changes as SQL, written set by set within the caller's transaction."""

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import Connection
from psycopg.rows import DictRow
from psycopg.sql import SQL, Composed, Identifier, Placeholder
from psycopg.types.json import Jsonb

from application.rows import Delete, Patch, RowChange, Upsert
from application.vault import Vault, opened
from system.persistence.tables import Table


class RowWriter:
    """Writes folded row changes. `vault` opens personal data as it is written."""

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._tables = tables
        self.vault: Vault | None = None
        self._statements: dict[tuple[type, str, tuple[str, ...]], bytes] = {}

    def write(self, connection: Connection[DictRow], changes: Sequence[RowChange]) -> None:
        """Writes changes of which no two concern the same row (see `application.rows.fold`)."""
        groups: dict[tuple[type, str, tuple[str, ...]], list[Sequence[Any]]] = {}
        for change in changes:
            columns = () if isinstance(change, Delete) else tuple(change.values)
            group = groups.setdefault((type(change), change.table, columns), [])
            group.append(self._parameters(change))
        with connection.cursor() as cursor:
            for shape, parameters in groups.items():
                statement = self._statement_for(*shape)
                if len(parameters) == 1:
                    cursor.execute(statement, parameters[0], prepare=True)
                else:
                    cursor.executemany(statement, parameters)
            written = {table for kind, table, _ in groups if kind is not Delete}
            for channel in {self._tables[table].channel for table in written} - {None}:
                cursor.execute(SQL("NOTIFY {}").format(Identifier(str(channel))))

    def _statement_for(self, kind: type, table: str, columns: tuple[str, ...]) -> bytes:
        shape = (kind, table, columns)
        statement = self._statements.get(shape)
        if statement is None:
            made = _statement(kind, self._tables[table], columns)
            statement = self._statements[shape] = made.as_bytes()
        return statement

    def _parameters(self, change: RowChange) -> list[Any]:
        if isinstance(change, Delete):
            return list(change.key)
        values = [_adapted(opened(value, self.vault)) for value in change.values.values()]
        return [*change.key, *values] if isinstance(change, Upsert) else [*values, *change.key]


def _adapted(value: Any) -> Any:
    storable = _storable(value)
    return Jsonb(storable) if isinstance(storable, dict | list) else storable


def _storable(value: Any) -> Any:
    """PostgreSQL holds no NUL in a text: views show U+FFFD for it, the event keeps it."""
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_storable(item) for item in value]
    return value


def _statement(kind: type, table: Table, columns: tuple[str, ...]) -> Composed:
    matches = SQL(" AND ").join(_equals(name) for name in table.key)
    name = Identifier(table.name)
    if kind is Delete:
        return SQL("DELETE FROM {} WHERE {}").format(name, matches)
    assignments = SQL(", ").join(_equals(column) for column in columns)
    if kind is Patch:
        return SQL("UPDATE {} SET {} WHERE {}").format(name, assignments, matches)
    everything = (*table.key, *columns)
    excluded = SQL(", ").join(
        SQL("{0} = excluded.{0}").format(Identifier(column)) for column in columns
    )
    return SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT ({}) DO UPDATE SET {}").format(
        name,
        SQL(", ").join(map(Identifier, everything)),
        SQL(", ").join([Placeholder()] * len(everything)),
        SQL(", ").join(map(Identifier, table.key)),
        excluded,
    )


def _equals(column: str) -> Composed:
    return SQL("{} = {}").format(Identifier(column), Placeholder())
