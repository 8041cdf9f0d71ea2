"""`paysaga doctor`: what it finds, and what it tells people to do."""

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from interface.bootstrap import open_persistence
from interface.settings import load_settings
from interface.simulator import SimulatorConfig, SimulatorServer
from system.definition import PAYSAGA
from tests.integration.cli_kit import run, settings_env

PROFILE_ID = 123456
SERVER_KEY = "SKEYFORTESTS0001"


@pytest.fixture
def simulator() -> Iterator[SimulatorServer]:
    config = SimulatorConfig(profile_id=PROFILE_ID, server_key=SERVER_KEY)
    with SimulatorServer(config) as server:
        yield server


@pytest.fixture
def env(tmp_path: Path, database_url: str, simulator: SimulatorServer) -> dict[str, str]:
    """Everything in order, as if a worker had been active a moment ago."""
    open_persistence(load_settings(database_url=database_url)).close()
    beat(database_url, "clock_timestamp()")
    return settings_env(
        tmp_path,
        database_url=database_url,
        paytabs_profile_id=PROFILE_ID,
        paytabs_server_key=SERVER_KEY,
        paytabs_base_url=simulator.url,
    )


def beat(database_url: str, moment: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("DELETE FROM follower_heartbeats")
        for name in PAYSAGA.follows:
            connection.execute(
                "INSERT INTO follower_heartbeats (follower, process, active_at) "
                f"VALUES (%s, 'test', {moment})",
                (name,),
            )


def problems(env: dict[str, str]) -> dict[str, dict[str, object]]:
    """The checks that found a problem, by name."""
    result = run("doctor", "--json", env=env)
    checks = json.loads(result.stdout)["checks"]
    found = {check["name"]: check for check in checks if not check["ok"]}
    assert result.exit_code == (1 if found else 0)
    assert all(check["advice"] for check in found.values())
    return found


def test_when_all_is_well_every_line_says_ok(env: dict[str, str]) -> None:
    result = run("doctor", env=env)
    assert result.exit_code == 0, result.stdout
    assert all(line.startswith("ok ") for line in result.stdout.splitlines())
    assert SERVER_KEY not in result.stdout


def test_wrong_settings_are_listed_one_by_one(tmp_path: Path) -> None:
    result = run("doctor", env=settings_env(tmp_path, port="x", lease_ms=1))
    assert result.exit_code == 1
    assert result.stdout.count("problem  settings: ") == 2


def test_a_fresh_folder_gets_the_advice_to_start_serve(tmp_path: Path) -> None:
    found = problems(settings_env(tmp_path))
    assert set(found) == {"database", "gateway"}
    assert "start `paysaga serve`" in str(found["database"]["advice"])


def test_a_database_that_does_not_answer_is_a_problem(env: dict[str, str]) -> None:
    found = problems({**env, "PAYSAGA_DATABASE_URL": "postgresql://u:hidden-pw@127.0.0.1:9/x"})
    assert set(found) == {"database"}
    assert "hidden-pw" not in str(found)


def test_an_unprepared_database_is_a_problem(env: dict[str, str], database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("DROP TABLE agenda")
    assert "agenda" in str(problems(env)["tables"]["detail"])


def test_followers_that_never_ran_are_a_problem(env: dict[str, str], database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("DELETE FROM follower_heartbeats")
    assert "never ran" in str(problems(env)["followers"]["detail"])


def test_followers_that_fell_silent_are_a_problem(env: dict[str, str], database_url: str) -> None:
    beat(database_url, "clock_timestamp() - interval '16 seconds'")
    assert "too long ago" in str(problems(env)["followers"]["detail"])


def test_a_wrong_key_of_the_gateway_is_a_problem(env: dict[str, str]) -> None:
    found = problems({**env, "PAYSAGA_PAYTABS_SERVER_KEY": "SWRONGKEY0000001"})
    assert set(found) == {"gateway"}
    assert "refused" in str(found["gateway"]["detail"])


def test_a_gateway_that_does_not_answer_is_a_problem(
    env: dict[str, str], simulator: SimulatorServer
) -> None:
    simulator.stop()
    assert "cannot be asked" in str(problems(env)["gateway"]["detail"])


@pytest.mark.parametrize("url", ["http://pay.example.com", "https://localhost", "https://10.1.2.3"])
def test_an_address_that_paytabs_cannot_call_is_a_problem(env: dict[str, str], url: str) -> None:
    far = {**env, "PAYSAGA_PAYTABS_BASE_URL": "https://gateway.invalid", "PAYSAGA_PUBLIC_URL": url}
    assert "public URL" in problems(far)


def test_a_public_https_address_is_fine_for_a_far_gateway(env: dict[str, str]) -> None:
    far = {
        **env,
        "PAYSAGA_PAYTABS_BASE_URL": "https://gateway.invalid",
        "PAYSAGA_PUBLIC_URL": "https://pay.example.com",
    }
    assert set(problems(far)) == {"gateway"}
