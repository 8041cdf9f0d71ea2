"""A role that may add events and alter none runs the whole service, and that is all it may do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from application.vault import payment_subject
from domain.client import ClientInfo
from interface.bootstrap import open_persistence
from interface.settings import InvalidSettings, load_settings
from system.applications import LOG_NAMES
from tests.e2e.house import house
from tests.integration.cli_kit import run, settings_env
from tests.integration.production_kit import Production, running
from tests.simulation import scenarios

SARA = ClientInfo("Sara Omar", "sara@example.com")


@pytest.fixture
def role(database_url: str) -> Iterator[str]:
    """A role without any rights."""
    name = f"service_{uuid4().hex}"
    execute(database_url, SQL("CREATE ROLE {} LOGIN").format(Identifier(name)))
    yield name
    for statement in ("DROP OWNED BY {}", "DROP ROLE {}"):
        execute(database_url, SQL(statement).format(Identifier(name)))  # type: ignore[arg-type]


def execute(url: str, statement: Any) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def as_role(url: str, role: str) -> str:
    """The same database, reached as a role."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{role}@"))


@pytest.fixture
def owners_env(database_url: str, tmp_path: Path) -> dict[str, str]:
    return settings_env(tmp_path, database_url=database_url)


@pytest.fixture
def service_url(database_url: str, role: str, owners_env: dict[str, str]) -> str:
    """The database as the service reaches it, which may not alter events."""
    result = run("database", "prepare", "--service-role", role, env=owners_env)
    assert result.exit_code == 0, result.output
    assert f"{role} may add events" in result.stdout
    return as_role(database_url, role)


@pytest.fixture
def service(service_url: str) -> Iterator[Production]:
    """The service, running with that role."""
    persistence = open_persistence(load_settings(database_url=service_url))
    with running(Production(persistence)) as process:
        yield process
    persistence.close()


def test_the_service_runs_payments_to_the_end(
    service: Production, service_url: str, owners_env: dict[str, str]
) -> None:
    paid = scenarios.paid(service)
    service.refund_payment(paid)
    scenarios.opened(service)
    service.run()
    assert service.payment(paid).status == "refunded"
    env = {**owners_env, "PAYSAGA_DATABASE_URL": service_url}
    for command in (
        ("replay", "--all", "--check"),
        ("journal", "verify", "--deep"),
        ("journal", "finance"),
        ("doctor",),
    ):
        result = run(*command, env=env)
        assert result.exit_code == 0 or command == ("doctor",), (command, result.output)
        assert "permission denied" not in result.output


def test_a_rebuild_by_the_owner_leaves_the_views_usable_by_the_service(
    service: Production, database_url: str, owners_env: dict[str, str]
) -> None:
    execute(database_url, "GRANT SELECT ON view_payments TO PUBLIC")
    paid = scenarios.paid(service)
    result = run("projections", "rebuild", "--all", env=owners_env)
    assert result.exit_code == 0, result.output
    service.refund_payment(paid)
    service.run()
    shown = rows(service, "SELECT status FROM view_payments")
    assert shown == [("refunded",)]
    [(readable,)] = rows(
        service, "SELECT has_table_privilege('pg_monitor', 'view_payments', 'SELECT')"
    )
    assert readable


def test_a_rebuild_by_the_service_is_refused_with_the_command_to_run(
    service: Production, owners_env: dict[str, str]
) -> None:
    by_service = {**owners_env, "PAYSAGA_DATABASE_URL": str_of(service)}
    result = run("projections", "rebuild", "PaymentsView", env=by_service)
    assert result.exit_code == 1
    assert "belong to another role" in result.stderr
    assert "`paysaga projections rebuild PaymentsView`" in result.stderr


def test_a_rebuild_over_http_is_refused_with_the_command_to_run(service_url: str) -> None:
    with house(service_url) as home:
        answer = home.api.request("POST", "/v1/projections/PaymentsView/rebuild", json={})
        assert answer.status_code == 409, answer.text
        assert answer.json()["code"] == "refused"
        assert "`paysaga projections rebuild PaymentsView`" in answer.json()["detail"]
        assert home.api.get("/v1/projections/PaymentsView/rebuild").json()["isRunning"] is False


def str_of(service: Production) -> str:
    return service.persistence.conninfo


def rows(service: Production, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(str_of(service)) as connection:
        return connection.execute(query.encode()).fetchall()


PROTECTED = [*(f"{name.lower()}_events" for name in LOG_NAMES), "journal"]
ALTERATIONS = (
    *("UPDATE {} SET {} = NULL", "DELETE FROM {}", "TRUNCATE {}", "DROP TABLE {}"),
    "ALTER TABLE {} DISABLE TRIGGER ALL",
    "CREATE RULE r AS ON INSERT TO {} DO INSTEAD NOTHING",
)


def test_nothing_that_was_recorded_can_be_altered(service_url: str) -> None:
    with psycopg.connect(service_url, autocommit=True) as connection:
        for table in PROTECTED:
            column = "envelope" if table == "journal" else "state"
            for alteration in ALTERATIONS:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(alteration.format(table, column).encode())
        for function in ("payments_append", "text_trigrams"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"DROP FUNCTION {function}".encode())


EVERYWHERE = "public.to_jsonb(text) RETURNS jsonb LANGUAGE sql AS $$ SELECT '1'::jsonb $$"
PLANTS = (
    f"CREATE FUNCTION {EVERYWHERE}",
    "CREATE OPERATOR public.<> (leftarg = jsonb, rightarg = jsonb, function = jsonb_eq)",
    "CREATE VIEW public.planted AS SELECT 1",
    "CREATE SCHEMA planted",
)
PLANTS_ON_TABLES = (
    "CREATE TRIGGER planted BEFORE UPDATE ON {} FOR EACH ROW "
    "EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE RULE planted AS ON UPDATE TO {} DO ALSO SELECT 1",
    "CREATE POLICY planted ON {} USING (true)",
    "ALTER TABLE {} ADD CHECK (true)",
    "ALTER TABLE {} RENAME TO planted",
    "CREATE INDEX planted ON {} ((1))",
)


def test_nothing_can_be_planted_that_the_owner_would_run(service_url: str) -> None:
    with psycopg.connect(service_url, autocommit=True) as connection:
        tables = [
            name
            for (name,) in connection.execute(
                "SELECT relname FROM pg_class WHERE relkind = 'r' AND "
                "relnamespace = 'public'::regnamespace"
            )
        ]
        plants = [plant.format(table) for plant in PLANTS_ON_TABLES for table in tables]
        assert "view_payments" in tables
        for plant in (*PLANTS, *plants):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(plant.encode())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("GRANT CREATE ON SCHEMA public TO PUBLIC", "may make functions"),
        ("GRANT TRIGGER ON view_payments TO PUBLIC", "may alter view_payments"),
        ("ALTER TABLE view_refunds OWNER TO {}", "may alter view_refunds"),
        (f"CREATE FUNCTION {EVERYWHERE}; ALTER FUNCTION to_jsonb(text) OWNER TO {{}}", "to_jsonb"),
    ],
)
def test_a_role_that_may_plant_something_anyway_is_refused(
    service_url: str,
    database_url: str,
    role: str,
    owners_env: dict[str, str],
    given: str,
    said: str,
) -> None:
    execute(database_url, given.format(role).encode())
    refused = run("database", "prepare", "--service-role", role, env=owners_env)
    assert (refused.exit_code, said in refused.stderr) == (1, True), refused.output


def test_keys_of_clients_are_thrown_away_by_the_owner_only(
    service: Production, service_url: str, owners_env: dict[str, str]
) -> None:
    payment_id = service.create_payment("10.00", "SAR", "Tea", client=SARA)
    service.run()
    by_service = {**owners_env, "PAYSAGA_DATABASE_URL": service_url}
    refused = run("privacy", "erase", str(payment_id), "--yes", env=by_service)
    assert refused.exit_code == 1
    assert "permission denied for table client_keys" in refused.stderr
    assert "the role that owns the tables" in refused.stderr
    assert rows(service, "SELECT client_info->>'name' FROM view_payments") == [("Sara Omar",)]
    done = run("privacy", "erase", str(payment_id), "--yes", env=owners_env)
    assert done.exit_code == 0, done.output
    assert rows(service, "SELECT client_info::text FROM view_payments") == [('"erased"',)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        rows(service, "UPDATE client_keys SET key = '' RETURNING 1")
    vault = service.applications.vault
    assert vault.seal(payment_subject(payment_id), {"name": "Sara Omar"}).ciphertext == ""


def test_an_unprepared_database_is_told_with_the_command_to_run(
    database_url: str, role: str
) -> None:
    with pytest.raises(InvalidSettings) as refusal:
        open_persistence(load_settings(database_url=as_role(database_url, role)))
    [line] = refusal.value.problems
    assert "`paysaga database prepare --service-role ROLE`" in line


def test_a_role_that_may_alter_events_anyway_is_refused(
    database_url: str, role: str, owners_env: dict[str, str]
) -> None:
    unknown = run("database", "prepare", "--service-role", "nobody_", env=owners_env)
    assert (unknown.exit_code, "CREATE ROLE nobody_" in unknown.stderr) == (1, True)
    [owner] = [part for part in (urlsplit(database_url).username,) if part]
    for granted in ("ALTER ROLE {} SUPERUSER", f"GRANT {owner} TO {{}}"):
        execute(database_url, SQL(granted).format(Identifier(role)))  # type: ignore[arg-type]
        refused = run("database", "prepare", "--service-role", role, env=owners_env)
        assert (refused.exit_code, "may alter" in refused.stderr) == (1, True)
        execute(database_url, SQL("ALTER ROLE {} NOSUPERUSER").format(Identifier(role)))


def test_a_prepared_database_is_left_alone(database_url: str) -> None:
    settings = load_settings(database_url=database_url)
    open_persistence(settings).close()
    execute(database_url, "DROP INDEX view_payments_1_idx")
    open_persistence(settings).close()
    assert "view_payments_1_idx" not in indexes(database_url)
    execute(database_url, "UPDATE prepared SET digest = 'of another version'")
    open_persistence(settings).close()
    assert "view_payments_1_idx" in indexes(database_url)
    execute(database_url, "DROP TABLE view_refunds")
    open_persistence(settings).close()
    assert "view_refunds_pkey" in indexes(database_url)


def indexes(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {name for (name,) in connection.execute("SELECT indexname FROM pg_indexes")}
