"""`paysaga status`: the whole fleet on one screen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from application.circuit_breaker import CircuitBreakerConfig
from system.definition import PAYSAGA
from system.presence import Presence
from tests.e2e.house import House, house, until
from tests.integration.cli_kit import run, settings_env
from tests.integration.production_kit import Production, applications_on, context, store
from tests.unit.circuit_breaker_kit import bench


@pytest.fixture(autouse=True)
def log_lines() -> Iterator[None]:
    """Keeps the log lines of the house out of what the command prints."""
    with capture_logs():
        yield


@pytest.fixture
def home(database_url: str) -> Iterator[House]:
    with house(database_url) as home:
        yield home


@pytest.fixture
def env(database_url: str, tmp_path: Path) -> dict[str, str]:
    return settings_env(tmp_path, database_url=database_url)


def shown(env: dict[str, str]) -> dict[str, Any]:
    """What the command prints as JSON; its exit code says the same."""
    result = run("status", "--json", env=env)
    document: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == (0 if document["ok"] else 1)
    assert document["ok"] == (not document["problems"])
    return document


def change(env: dict[str, str], statement: str) -> None:
    with psycopg.connect(env["PAYSAGA_DATABASE_URL"]) as connection:
        connection.execute(statement.encode())


@pytest.fixture
def well(home: House, env: dict[str, str]) -> dict[str, str]:
    """The environment of a fleet in which all is well."""
    home.api.created()
    until(lambda: shown(env)["ok"])
    return env


def test_when_all_is_well_it_says_so_on_one_screen(well: dict[str, str]) -> None:
    result = run("status", env=well)
    assert result.exit_code == 0, result.output
    assert "ok       all is well" in result.output
    for title in ("processes", "breakers", "followers", "agenda", "parked", "confirmations"):
        assert f"{title}" in result.output
    assert len(result.output.splitlines()) <= 40


def test_every_process_is_there_with_its_role_version_and_age(well: dict[str, str]) -> None:
    found = shown(well)["processes"]
    assert [(each["role"], each["isAlive"]) for each in found] == [("web", True), ("worker", True)]
    assert all(each["version"] and each["startedAt"] and each["process"] for each in found)


def test_breakers_followers_and_agenda_are_there_with_their_figures(well: dict[str, str]) -> None:
    until(lambda: shown(well)["breakers"][0]["metrics"].get("totalRequests"))
    document = shown(well)
    assert (document["breakers"][0]["service"], document["breakers"][0]["state"]) == (
        "paytabs",
        "CLOSED",
    )
    assert {"lagEvents", "lagSeconds", "state"} <= document["followers"][0].keys()
    [deadlines] = [each for each in document["agenda"] if each["kind"] == "saga_deadline"]
    assert deadlines["depth"] >= 1
    assert document["confirmations"] == {"exhausted": 0, "failing": 0, "pending": 0}


@pytest.fixture
def still(database_url: str, env: dict[str, str]) -> dict[str, str]:
    """The environment of a fleet in which all would be well, and nobody does anything."""
    with store(database_url) as kept:
        for role in ("web", "worker"):
            Presence(kept, f"{role}:1", role, "1").beat()
        for name in PAYSAGA.follows:
            change(env, f"INSERT INTO follower_heartbeats VALUES ('{name}', 'worker:1', now())")
    assert shown(env)["ok"]
    return env


NEW_WORK = (
    "INSERT INTO agenda (work_id, kind, aggregate_id, payment_id, due_at, correlation_id) SELECT "
    "gen_random_uuid(), 'confirmation', gen_random_uuid(), gen_random_uuid(), now() - {}, 'c'"
)
PARKED_EVENT = (
    "INSERT INTO parked_events (parked_id, follower, leader, position, payment_id, topic, "
    "attempts, is_released) VALUES (gen_random_uuid(), 'Agenda', 'PaymentSagas', 1, "
    "gen_random_uuid(), 'x', 1, false)"
)
PARKED_SAGA = (
    "INSERT INTO view_sagas SELECT gen_random_uuid(), gen_random_uuid(), 'completed', "
    "'why', NULL, now(), now()"
)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("UPDATE processes SET seen_at = now() - interval '16 s' WHERE role = 'web'", "no web"),
        ("DELETE FROM processes WHERE role = 'worker'", "no worker process lives"),
        ("DELETE FROM follower_heartbeats WHERE follower = 'Agenda'", "do not run: Agenda"),
        (NEW_WORK.format("interval '121 s'"), "work of the kind confirmation has been due"),
        (PARKED_EVENT, "1 events are parked: `paysaga parked list`"),
        (PARKED_SAGA, "1 sagas wait for a person"),
    ],
)
def test_what_needs_a_look_is_named_and_the_exit_code_says_so(
    still: dict[str, str], fault: str, words: str
) -> None:
    change(still, fault)
    assert words in " ".join(shown(still)["problems"])
    result = run("status", env=still)
    assert result.exit_code == 1
    assert "problem  " in result.output
    assert words in result.output


def test_a_breaker_that_is_open_is_a_problem(still: dict[str, str], database_url: str) -> None:
    with store(database_url) as kept, context():
        config = CircuitBreakerConfig(name="paytabs")
        applications_on(kept).operations.force_open("paytabs", "desk", config)
    [problem] = shown(still)["problems"]
    assert problem.startswith("the breaker of paytabs is open")


def test_a_breaker_that_lets_only_trials_through_is_a_problem(
    still: dict[str, str], database_url: str
) -> None:
    b = bench()
    b.half_open()
    with store(database_url) as kept, context():
        for change in b.changes:
            applications_on(kept).operations.record_change(change)
    [problem] = shown(still)["problems"]
    assert problem.startswith("the breaker of paytabs is half-open")


def test_a_follower_that_is_far_behind_is_a_problem(
    still: dict[str, str], database_url: str
) -> None:
    with store(database_url) as kept:
        Production(kept).create_payment("10.00", "SAR", "Tea")
    change(
        still,
        "UPDATE payments_events SET state = convert_to(regexp_replace(convert_from(state, 'UTF8'),"
        ' \'"timestamp":\\{[^}]*\\}\', \'"timestamp":{"_type_":"datetime_iso","_data_":'
        "\"2026-01-01T00:00:00+00:00\"}'), 'UTF8')",
    )
    assert "the follower PaymentSagas is" in " ".join(shown(still)["problems"])


def test_work_and_lags_within_bounds_are_no_problem(still: dict[str, str]) -> None:
    change(still, NEW_WORK.format("interval '10 s'"))
    assert shown(still)["agenda"][0]["due"] == 1


def test_when_nothing_runs_it_still_fits_on_one_screen(still: dict[str, str]) -> None:
    change(still, "DELETE FROM follower_heartbeats")
    change(still, "DELETE FROM processes")
    change(still, PARKED_EVENT)
    lines = run("status", env=still).output.splitlines()
    assert len(lines) <= 40
    rows = {line.split()[0]: line.split() for line in lines if "never_run" in line}
    assert sorted(rows) == sorted(PAYSAGA.follows)
    assert rows["Agenda"][-1] == "1"
    assert rows["Contracts"][-1] == "0"


def test_a_table_that_grows_too_long_is_cut(still: dict[str, str]) -> None:
    change(
        still,
        "INSERT INTO processes SELECT 'w' || n, 'worker', '1', now(), now(), '{}' "
        "FROM generate_series(1, 30) AS n",
    )
    assert "and 12 more: see --json" in run("status", env=still).output


def test_without_a_database_it_says_so(env: dict[str, str]) -> None:
    away = {**env, "PAYSAGA_DATABASE_URL": "postgresql://u@127.0.0.1:9/x"}
    result = run("status", env=away)
    assert result.exit_code == 1
    assert "the database cannot be reached" in result.output
