"""SQL that creates the tables declared in `system.persistence.tables`."""

from psycopg.sql import SQL, Composed, Identifier

from system.persistence.tables import Table


def create_table_statement(table: Table) -> Composed:
    """Creates the table with its key and without other indexes."""
    columns = ", ".join(f'"{name}" {kind}' for name, kind in table.columns.items())
    key = ", ".join(f'"{name}"' for name in table.key)
    return SQL("CREATE TABLE IF NOT EXISTS {} ({}, PRIMARY KEY ({}))").format(
        Identifier(table.name), SQL(columns), SQL(key)
    )


def create_index_statements(table: Table) -> list[Composed]:
    """Creates the table's other indexes."""
    return [
        SQL("CREATE INDEX IF NOT EXISTS {} ON {} {}").format(
            Identifier(f"{table.name}_{number}_idx"), Identifier(table.name), SQL(index)
        )
        for number, index in enumerate(table.indexes, 1)
    ]
