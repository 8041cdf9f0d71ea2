"""`readyz`, `metrics` and `doctor` answer soon, however the database fails to."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import requests

from interface.embedded_postgres import EmbeddedPostgres
from system.persistence import brief_connection as limits
from system.persistence.brief_connection import NoAnswerInTime, brief_connection
from system.readiness import Check, readiness
from tests.e2e.house import House, house
from tests.integration.cli_kit import run, settings_env
from tests.postgres_kit import FAST_AND_FORGETFUL, postgres_of_its_own

SOON_SECONDS = 15
"""Generous: the limits are 1 and 2 s."""


@pytest.fixture
def home(database_url: str) -> Iterator[House]:
    with house(database_url, with_worker=False) as home:
        yield home


@contextmanager
def frozen(*processes: psutil.Process) -> Iterator[None]:
    """Processes that are there and do nothing."""
    try:
        for process in processes:
            os.kill(process.pid, signal.SIGSTOP)
        yield
    finally:
        for process in processes:
            os.kill(process.pid, signal.SIGCONT)


def all_of(server: EmbeddedPostgres) -> list[psutil.Process]:
    """The server's processes, the one that makes the others first."""
    main = psutil.Process(server.pid)
    return [main, *main.children(recursive=True)]


def what_readyz_says(home: House) -> tuple[int, list[dict[str, Any]]]:
    answer = requests.get(f"{home.url}/readyz", timeout=SOON_SECONDS)
    return answer.status_code, answer.json()["checks"]


def assert_not_answering(said: tuple[int, list[dict[str, Any]]]) -> None:
    status, [check] = said
    assert (status, check["name"], check["ok"]) == (503, "database", False)
    assert check["detail"].startswith("does not answer in time: ")


TABLES = (
    "follower_heartbeats",
    "gateway_events",
    "breaker_metrics",
    "operations_events",
    "view_confirmations",
)


def test_readyz_waits_for_no_locked_table(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STATEMENT_TIMEOUT_MS", 200)
    for table in TABLES:
        with psycopg.connect(home.settings.conninfo) as connection:
            connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
            assert_not_answering(what_readyz_says(home))
    _, checks = what_readyz_says(home)
    assert checks[0] == {"name": "database", "ok": True, "detail": "answers"}


def test_readyz_answers_although_the_newest_call_cannot_be_read(home: House) -> None:
    insert = (
        "INSERT INTO gateway_events (originator_id, originator_version, topic, state) "
        "VALUES (gen_random_uuid(), 1, 'os:system', '{}')"
    )
    with psycopg.connect(home.settings.conninfo, autocommit=True) as connection:
        connection.execute(insert)
        _, checks = what_readyz_says(home)
        connection.execute("DELETE FROM gateway_events WHERE topic = 'os:system'")
    [check] = [each for each in checks if each["name"] == "gateway_key"]
    assert check["ok"]
    assert "'os:system' names no event" in check["detail"]


def test_readyz_does_not_wait_for_the_pool(home: House) -> None:
    pool = home.context.persistence
    with ExitStack() as stack:
        for _ in range(home.settings.database_pool_size):
            stack.enter_context(pool.connection())
        _, checks = what_readyz_says(home)
    assert checks[0]["ok"]


def test_many_probes_of_a_locked_table_are_all_answered(home: House) -> None:
    with (
        psycopg.connect(home.settings.conninfo) as connection,
        ThreadPoolExecutor(16) as pool,
    ):
        connection.execute("LOCK TABLE follower_heartbeats")
        for said in pool.map(lambda _: what_readyz_says(home), range(16)):
            assert_not_answering(said)


def test_a_server_that_takes_connections_and_never_answers_is_not_waited_for(home: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        conninfo = f"postgresql://me@127.0.0.1:{silent.getsockname()[1]}/any"
        now = home.context.applications.clock.now()
        checks = readiness(conninfo, home.context.applications.gateway, now)
    detail = "does not answer in time: connection timeout expired"
    assert checks == [Check("database", False, detail)]


def test_a_server_where_nobody_listens_cannot_be_reached(home: House) -> None:
    now = home.context.applications.clock.now()
    conninfo = "postgresql://me@127.0.0.1:9/any"
    [check] = readiness(conninfo, home.context.applications.gateway, now)
    assert (check.name, check.is_ok) == ("database", False)
    assert check.detail.startswith("cannot be reached: ")


def test_a_server_that_freezes_after_the_connection_was_made_is_not_waited_for(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FROZEN_AFTER_SECONDS", 0.5)
    with (
        pytest.raises(NoAnswerInTime, match=r"nothing came for 0\.5 s"),
        brief_connection(database_url) as connection,
        frozen(psutil.Process(connection.info.backend_pid)),
    ):
        connection.execute("SELECT 1")
    assert connection.closed


def test_a_whole_server_that_is_frozen_is_told_by_readyz_metrics_doctor_and_status(
    tmp_path: Path,
) -> None:
    with postgres_of_its_own(FAST_AND_FORGETFUL) as server:
        url = server.ensure_database("house")
        env = settings_env(tmp_path, database_url=url)
        with house(url, with_worker=False) as home, frozen(*all_of(server)):
            assert_not_answering(what_readyz_says(home))
            metrics = requests.get(f"{home.url}/metrics", timeout=SOON_SECONDS).text
            doctor, status = run("doctor", env=env), run("status", env=env)
    assert "paysaga_database_up 0.0" in metrics
    assert "problem  database: does not answer in time" in doctor.stdout
    assert (doctor.exit_code, status.exit_code) == (1, 1)
    assert "the database cannot be reached" in status.stderr
