"""`ReplayCheck` sees whatever a read model shows that the events do not say, in every view."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from system.persistence.tables import TABLES
from system.replay_check import Difference, Finding, NotReplayed, ReplayCheck
from tests.integration.cli_kit import run, settings_env
from tests.integration.history_kit import forget, happen, live_projections, views
from tests.integration.journal_kit import Books, books
from tests.integration.test_rebuild_any_history import A_FULL_HISTORY

SPOILT = {
    "uuid": "gen_random_uuid()",
    "text": "coalesce({0}, '') || '!'",
    "jsonb": """'"spoilt"'""",
    "numeric": "coalesce({0}, 0) + 1",
    "integer": "coalesce({0}, 0) + 1",
    "boolean": "NOT {0}",
    "timestamptz": "coalesce({0}, now()) - interval '1 day'",
}
"""Another value for a column of each type."""


@pytest.fixture(scope="module")
def shared(postgres_server: Any) -> Iterator[Books]:
    """One database with a history that leaves something in every view."""
    name = f"replay_check_{uuid4().hex}"
    with books(postgres_server.ensure_database(name)) as kept:
        forget(kept)
        happen(kept, A_FULL_HISTORY)
        for following in live_projections(kept, 1000):
            while following.advance():
                continue
        yield kept
    postgres_server.drop_database(name)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("system.replay_check.SECOND_LOOKS", 0)


EVERY_VIEW = (
    *("view_payments", "view_refunds", "view_sagas", "view_webhooks", "view_confirmations"),
    *("view_contracts", "view_earnings"),
)


def found_after(kept: Books, statement: str) -> list[Finding]:
    """What is found after a statement, which is then undone."""
    tables = views(kept)
    for table in tables:
        kept.query(f"CREATE TABLE kept_{table} AS TABLE {table}")
    try:
        kept.query(statement)
        return list(ReplayCheck(kept.persistence, kept.applications).run())
    finally:
        for table in tables:
            kept.query(f"DELETE FROM {table}")
            kept.query(f"INSERT INTO {table} TABLE kept_{table}")
            kept.query(f"DROP TABLE kept_{table}")


def first_key(kept: Books, table: str) -> tuple[str, str]:
    name = TABLES[table].key[0]
    return name, str(kept.query(f"SELECT {name} AS key FROM {table} ORDER BY 1")[0]["key"])


def test_every_view_is_checked(shared: Books) -> None:
    assert sorted(views(shared)) == sorted(EVERY_VIEW)
    assert list(ReplayCheck(shared.persistence, shared.applications).run()) == []


COLUMNS = [
    (table, column)
    for table in EVERY_VIEW
    for column in TABLES[table].columns
    if column not in TABLES[table].key
]


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_a_spoilt_column_is_named(shared: Books, table: str, column: str) -> None:
    name, key = first_key(shared, table)
    value = SPOILT[TABLES[table].columns[column].split()[0]].format(column)
    found = found_after(shared, f"UPDATE {table} SET {column} = {value} WHERE {name} = '{key}'")
    assert (table, key, column) in {(each.table, each.key, each.column) for each in found}


@pytest.mark.parametrize("table", EVERY_VIEW)
def test_a_missing_row_is_named(shared: Books, table: str) -> None:
    name, key = first_key(shared, table)
    found = found_after(shared, f"DELETE FROM {table} WHERE {name} = '{key}'")
    assert Difference(table, key, None, None, key) in found


@pytest.mark.parametrize("table", EVERY_VIEW)
def test_a_row_too_many_is_seen(shared: Books, table: str) -> None:
    name, key = first_key(shared, table)
    others = ", ".join(column for column in TABLES[table].columns if column != name)
    found = found_after(
        shared,
        f"INSERT INTO {table} ({name}, {others}) "
        f"SELECT gen_random_uuid(), {others} FROM {table} WHERE {name} = '{key}'",
    )
    assert table in {each.table.split(",")[0] for each in found}


def test_earnings_from_a_payment_that_earned_nothing_are_seen(shared: Books) -> None:
    unearned = (
        "SELECT payment_id FROM view_payments p WHERE NOT EXISTS "
        "(SELECT FROM view_earnings e WHERE e.payment_id = p.payment_id) LIMIT 1"
    )
    found = found_after(
        shared,
        "INSERT INTO view_earnings SELECT gen_random_uuid(), contract_id, "
        f"({unearned}), payee_id, currency, gross, platform_fee, net, calculated_at "
        "FROM view_earnings LIMIT 1",
    )
    assert [(each.table, each.column, each.replayed) for each in found] == [
        ("view_earnings", None, None)
    ]


LOST_OR_SPOILT = {
    "DELETE FROM payments_events WHERE originator_version = 1": "its first event is gone",
    "UPDATE payments_events SET originator_version = 0 WHERE originator_version = 1": (
        "its first event is gone"
    ),
    "UPDATE payments_events SET originator_version = 3 WHERE originator_version = 2": (
        "its event 2 is gone"
    ),
    "UPDATE payments_events SET state = 'x' WHERE true": "MapperDeserialisationError: ",
    "UPDATE payments_events SET topic = 'os:system' WHERE true": "TopicError: ",
}


@pytest.mark.parametrize("damage", LOST_OR_SPOILT)
def test_an_aggregate_that_cannot_be_replayed_is_named_and_passed_over(
    database_url: str, damage: str, tmp_path: Path
) -> None:
    with books(database_url) as kept:
        [first] = kept.query(
            "SELECT originator_id AS id FROM payments_events WHERE originator_version = 2"
        )
        kept.query(f"{damage} AND originator_id = %s", first["id"])
        kept.query("UPDATE view_sagas SET status = 'parked'")
        found = list(ReplayCheck(kept.persistence, kept.applications).run())
        [lost] = [each for each in found if isinstance(each, NotReplayed)]
        assert (lost.log, lost.aggregate_id) == ("Payments", first["id"])
        assert lost.reason.startswith(LOST_OR_SPOILT[damage])
        differing = {each.table for each in found if isinstance(each, Difference)}
        assert differing == {"view_sagas"}
        env = settings_env(tmp_path, database_url=database_url)
        result = run("replay", "--all", "--check", env=env)
        assert result.exit_code == 1
        assert f"Payments {first['id']} cannot be replayed: {lost.reason}" in result.stdout
        assert "view_sagas" in result.stdout
        assert result.stderr.splitlines()[-2:] == [
            "1 aggregates cannot be replayed, and were not compared",
            "`paysaga journal verify` names what was altered",
        ]


def test_every_aggregate_that_cannot_be_replayed_is_named(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the damage is, and page by page."""
    monkeypatch.setattr("system.replay_check.PAGE_SIZE", 1)
    with books(database_url) as kept:
        sagas = kept.query("SELECT DISTINCT originator_id AS id FROM paymentsagas_events")
        kept.query("UPDATE payments_events SET state = ''")
        kept.query("DELETE FROM paymentsagas_events WHERE originator_version = 1")
        payments = kept.query("SELECT DISTINCT originator_id AS id FROM payments_events")
        result = run(
            *("replay", "--all", "--check", "--json"),
            env=settings_env(tmp_path, database_url=database_url),
        )
        told = [json.loads(line) for line in result.stdout.splitlines()]
        assert {(each["log"], each["aggregateId"]) for each in told} == {
            *(("Payments", str(each["id"])) for each in payments),
            *(("PaymentSagas", str(each["id"])) for each in sagas),
        }
        assert f"{len(payments) + len(sagas)} aggregates cannot be replayed" in result.stderr


@contextmanager
def altered(kept: Books, pattern: str, text: str) -> Iterator[None]:
    """Stored payments with other values, for a while."""
    state = "convert_to(regexp_replace(convert_from(state, 'UTF8'), %s, %s, 'g'), 'UTF8')"
    kept.query("CREATE TABLE kept_events AS TABLE payments_events")
    kept.query(f"UPDATE payments_events SET state = {state}", pattern, text)
    try:
        yield
    finally:
        kept.query(
            "UPDATE payments_events e SET state = k.state FROM kept_events k "
            "WHERE e.notification_id = k.notification_id"
        )
        kept.query("DROP TABLE kept_events")


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ('"_type_":"money"', '"_type_":"lost"'),
        ('"amount":[{][^}]*[}]', '"amount":1'),
        ('"refund_id":[{][^}]*[}]', '"refund_id":"x"'),
    ],
)
def test_a_value_of_another_kind_in_an_event_is_told_as_damage(
    shared: Books, pattern: str, text: str
) -> None:
    with altered(shared, pattern, text):
        found = list(ReplayCheck(shared.persistence, shared.applications).run())
    assert {each.log for each in found if isinstance(each, NotReplayed)} == {"Payments"}


def test_a_text_that_the_database_cannot_hold_is_no_difference(shared: Books) -> None:
    shared.create_payment("Tea\x00 for two")
    for following in live_projections(shared, 1000):
        following.advance()
    assert list(ReplayCheck(shared.persistence, shared.applications).run()) == []
