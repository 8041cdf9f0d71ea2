"""Tables that are filled beside the live ones, and take their places in one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from psycopg import Connection
from psycopg.sql import SQL, Identifier

from system.persistence.row_sql import RowWriter
from system.persistence.table_sql import create_index_statements, create_table_statement
from system.persistence.tables import TABLES, Table

NEW = "__new"
OLD = "__old"

INDEXES = (
    "SELECT indexname FROM pg_indexes "
    "WHERE schemaname = ANY(current_schemas(false)) AND tablename = %s"
)
FOREIGN = """
SELECT relname FROM unnest(%s::text[]) name JOIN pg_class ON pg_class.oid = to_regclass(name)
WHERE NOT pg_has_role(relowner, 'USAGE')
"""
GRANTS = """
SELECT privilege_type AS privilege, rolname AS grantee
FROM pg_class, aclexplode(relacl) LEFT JOIN pg_roles ON pg_roles.oid = grantee
WHERE pg_class.oid = to_regclass(%s) AND grantee <> relowner
"""
"""What others than the owner may do with a table; without a name: everybody."""


class ShadowTables:
    """The new tables of one projection, named after the live ones."""

    def __init__(self, names: Sequence[str]) -> None:
        self._live = [TABLES[name] for name in names]
        self._new: Mapping[str, Table] = {
            table.name: replace(table, name=table.name + NEW, channel=None) for table in self._live
        }

    def writer(self) -> RowWriter:
        """Writes row changes that name the live tables into the new ones."""
        return RowWriter(self._new)

    def may_take_places(self, connection: Connection[Any]) -> bool:
        """True when the live tables are the connected role's own to replace."""
        names = [table.name for table in self._live]
        return connection.execute(FOREIGN, (names,)).fetchone() is None

    def exist(self, connection: Connection[Any]) -> bool:
        """True when all of them are there, from a rebuild that was interrupted."""
        return all(_exists(connection, table.name) for table in self._new.values())

    def create(self, connection: Connection[Any]) -> None:
        """Makes them anew and empty, without the indexes that only readers need."""
        self.drop(connection)
        for live in self._live:
            connection.execute(create_table_statement(self._new[live.name]))

    def drop(self, connection: Connection[Any]) -> None:
        """Removes them, and old ones that were left behind."""
        for table in self._live:
            for suffix in (NEW, OLD):
                connection.execute(
                    SQL("DROP TABLE IF EXISTS {}").format(Identifier(table.name + suffix))
                )

    def index(self, connection: Connection[Any]) -> None:
        """Makes the indexes that readers need."""
        for table in self._new.values():
            for statement in create_index_statements(table):
                connection.execute(statement)
            connection.execute(SQL("ANALYZE {}").format(Identifier(table.name)))

    def take_places(self, connection: Connection[Any]) -> None:
        """Swaps new and live tables with all their indexes, within the caller's transaction."""
        for table in self._live:
            if _exists(connection, table.name):
                _grant_likewise(connection, table.name + NEW, table.name)
                _rename(connection, table.name, table.name + OLD)
            _rename(connection, table.name + NEW, table.name)


def _exists(connection: Connection[Any], name: str) -> bool:
    row = connection.execute("SELECT to_regclass(%s) AS found", (name,)).fetchone()
    return row is not None and row["found"] is not None


def _grant_likewise(connection: Connection[Any], new: str, live: str) -> None:
    """Who may read the live table, say for reports, may read the one that takes its place."""
    for row in connection.execute(GRANTS, (live,)).fetchall():
        connection.execute(
            SQL("GRANT {} ON {} TO {}").format(
                SQL(row["privilege"]),
                Identifier(new),
                Identifier(row["grantee"]) if row["grantee"] else SQL("PUBLIC"),
            )
        )


def _rename(connection: Connection[Any], name: str, new_name: str) -> None:
    indexes = connection.execute(INDEXES, (name,)).fetchall()
    connection.execute(
        SQL("ALTER TABLE {} RENAME TO {}").format(Identifier(name), Identifier(new_name))
    )
    for row in indexes:
        index = row["indexname"]
        connection.execute(
            SQL("ALTER INDEX {} RENAME TO {}").format(
                Identifier(index), Identifier(index.replace(name, new_name, 1))
            )
        )
