"""What a role of the database may do that runs the service and must not rewrite history.

It may add events and entries of the journal, and neither change nor remove any. Keys of clients it
may make, but not throw away. Nothing that is run by others belongs to it, and it can make nothing
of that kind: a trigger or a function of its own would be run with the rights of the owner as soon
as the owner erases a person or verifies the journal. So rebuilds are the owner's business, too.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.sql import SQL, Composed, Identifier

from system.persistence.tables import JOURNAL, TABLES

READ = "SELECT"
ADD = "SELECT, INSERT"
USE = "SELECT, INSERT, UPDATE, DELETE"
KEEP_KEYS = "SELECT, INSERT, UPDATE (subject)"
"""PostgreSQL asks for the last one where a key that is there already is met; it changes nothing."""

OTHERS = {
    "client_keys": KEEP_KEYS,
    "installation": READ,
    "prepared": READ,
    "epoch": ADD,
    **dict.fromkeys(
        ("follower_heartbeats", "worker_heartbeats", "processes", "request_counts"), USE
    ),
    **dict.fromkeys(("api_keys", "projections", "rebuilds"), USE),
}

SCHEMA = "public"
"""Where the logs are: the library writes its name into its statements."""

FIND_ROLE = "SELECT FROM pg_roles WHERE rolname = %s"
UNPROTECTED = """
SELECT relname
FROM unnest(%(tables)s::text[]) name JOIN pg_class ON pg_class.oid = to_regclass(name)
WHERE pg_has_role(%(role)s, relowner, 'MEMBER')
OR has_table_privilege(%(role)s, pg_class.oid, 'TRIGGER')
OR (relname = ANY(%(protected)s) AND (
    has_table_privilege(%(role)s, pg_class.oid, 'UPDATE, DELETE, TRUNCATE')
    OR has_any_column_privilege(%(role)s, pg_class.oid, 'UPDATE')))
"""
"""The tables that a role may still alter: because they are its own, or those of a role to which
it belongs, or because everybody may. A superuser may alter all."""

MAY_CREATE = """
SELECT has_schema_privilege(%(role)s, %(schema)s, 'CREATE')
OR has_database_privilege(%(role)s, current_database(), 'CREATE')
"""
"""Whether a role may make functions, which the owner might run instead of PostgreSQL's own."""
OWNS_ROUTINES = """
SELECT proname FROM pg_proc WHERE pronamespace = to_regnamespace(%(schema)s)
AND pg_has_role(%(role)s, proowner, 'MEMBER')
UNION ALL
SELECT oprname FROM pg_operator WHERE oprnamespace = to_regnamespace(%(schema)s)
AND pg_has_role(%(role)s, oprowner, 'MEMBER')
"""
"""What a role has made when it still could."""


class RoleRefused(Exception):
    """The role cannot be the service's; the text says why and what to do."""


def restrict(conninfo: str, role: str, names: Sequence[str]) -> None:
    """Gives a role what the service needs and nothing more, in one transaction. `names` are those
    of the applications.

    Raises:
        RoleRefused: there is no such role, or it may do more anyway.
        InsufficientPrivilege: the tables belong to another role than the one that is connected.
    """
    with psycopg.connect(conninfo) as connection:
        if connection.execute(FIND_ROLE, (role,)).fetchone() is None:
            raise RoleRefused(
                f"there is no role {role}: CREATE ROLE {role} LOGIN PASSWORD '…' makes it"
            )
        for statement in statements(role, names):
            connection.execute(statement)
        _require_powerless(connection, role, names)


def statements(role: str, names: Sequence[str]) -> Iterator[Composed]:
    """The SQL that `restrict` executes."""
    grantee, schema = Identifier(role), Identifier(SCHEMA)
    yield SQL("REVOKE CREATE ON SCHEMA {} FROM {}").format(schema, grantee)
    yield SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, grantee)
    for name, rights in _rights(names).items():
        table = Identifier(name)
        yield SQL("REVOKE ALL ON {} FROM {}").format(table, grantee)
        yield SQL("GRANT {} ON {} TO {}").format(SQL(rights), table, grantee)
    yield SQL("GRANT USAGE ON ALL SEQUENCES IN SCHEMA {} TO {}").format(schema, grantee)


def _require_powerless(connection: Connection[Any], role: str, names: Sequence[str]) -> None:
    """Looks at what was there without a grant of ours.

    Raises:
        RoleRefused: the role may alter events, or plant what the owner would run.
    """
    rights = _rights(names)
    protected = [name for name, right in rights.items() if right == ADD]
    asked = {"role": role, "schema": SCHEMA, "tables": list(rights), "protected": protected}
    if found := connection.execute(UNPROTECTED, asked).fetchone():
        raise RoleRefused(
            f"{role} may alter {found[0]} whatever is granted: it must be no superuser, "
            "and neither own the tables nor belong to the role that does"
        )
    if connection.execute(MAY_CREATE, asked).fetchone() == (True,):
        raise RoleRefused(
            f"{role} may make functions that you would run: REVOKE CREATE ON SCHEMA {SCHEMA} "
            "FROM PUBLIC, and CREATE ON DATABASE from the role"
        )
    if found := connection.execute(OWNS_ROUTINES, asked).fetchone():
        raise RoleRefused(f"{role} has made {found[0]}, which you might run: drop it first")


def _rights(names: Sequence[str]) -> dict[str, str]:
    """What the service needs on each table."""
    logs = [name.lower() for name in names]
    return {
        **dict.fromkeys(TABLES, USE),
        **OTHERS,
        **{f"{log}_tracking": USE for log in logs},
        **{f"{log}_events": ADD for log in logs},
        JOURNAL.name: ADD,
    }
