"""What a role of the database may do that runs the service and must not rewrite history.

It may add events and entries of the journal, and neither change nor remove any. The read models
belong to it, so that it can rebuild them. Keys of clients it may make, but not throw away.
"""

from collections.abc import Iterator, Sequence

import psycopg
from psycopg.sql import SQL, Composed, Identifier

from system.persistence.shadow_tables import NEW
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
OR has_table_privilege(%(role)s, pg_class.oid, 'UPDATE, DELETE, TRUNCATE, TRIGGER')
OR has_any_column_privilege(%(role)s, pg_class.oid, 'UPDATE')
"""
"""The tables that a role may still alter: because they are its own, or those of a role to which
it belongs, or because everybody may. A superuser may alter all."""


class RoleRefused(Exception):
    """The role cannot be the service's; the text says why and what to do."""


def restrict(conninfo: str, role: str, names: Sequence[str], views: Sequence[str]) -> None:
    """Gives a role what the service needs and nothing more, in one transaction. `names` are those
    of the applications, `views` the tables that are made anew by rebuilds.

    Raises:
        RoleRefused: there is no such role, or it may do anything anyway.
        InsufficientPrivilege: the tables belong to another role than the one that is connected.
    """
    with psycopg.connect(conninfo) as connection:
        if connection.execute(FIND_ROLE, (role,)).fetchone() is None:
            raise RoleRefused(
                f"there is no role {role}: CREATE ROLE {role} LOGIN PASSWORD '…' makes it"
            )
        for statement in statements(role, names, views):
            connection.execute(statement)
        tables = [name for name, rights in _rights(names, views).items() if rights == ADD]
        found = connection.execute(UNPROTECTED, {"tables": tables, "role": role}).fetchall()
        if found:
            raise RoleRefused(
                f"{role} may alter {found[0][0]} whatever is granted: it must be no superuser, "
                "and neither own the tables nor belong to the role that does"
            )


def statements(role: str, names: Sequence[str], views: Sequence[str]) -> Iterator[Composed]:
    """The SQL that `restrict` executes."""
    grantee = Identifier(role)
    yield SQL("GRANT USAGE, CREATE ON SCHEMA {} TO {}").format(Identifier(SCHEMA), grantee)
    for name, rights in _rights(names, views).items():
        table = Identifier(name)
        yield SQL("REVOKE ALL ON {} FROM {}").format(table, grantee)
        yield SQL("GRANT {} ON {} TO {}").format(SQL(rights), table, grantee)
    for view in (*views, *(name + NEW for name in views)):
        yield SQL("ALTER TABLE IF EXISTS {} OWNER TO {}").format(Identifier(view), grantee)
    yield SQL("GRANT USAGE ON ALL SEQUENCES IN SCHEMA {} TO {}").format(Identifier(SCHEMA), grantee)


def _rights(names: Sequence[str], views: Sequence[str]) -> dict[str, str]:
    """What the service needs on each table that is not its own."""
    logs = [name.lower() for name in names]
    return {
        **dict.fromkeys((name for name in TABLES if name not in views), USE),
        **OTHERS,
        **{f"{log}_tracking": USE for log in logs},
        **{f"{log}_events": ADD for log in logs},
        JOURNAL.name: ADD,
    }
