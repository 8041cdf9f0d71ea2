"""The roles as processes of their own: how they start without a database, and how they end."""

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import requests
from psycopg.sql import SQL, Identifier

from interface.cli.program import COMMANDS
from tests.e2e.house import free_port
from tests.integration.cli_kit import run, settings_env
from tests.integration.role_process import WAIT_SECONDS, answers, role_process, wait_until

SERVER_KEY = "SKEYFORTESTS0001"
PROFILE: dict[str, object] = {
    "paytabs_profile_id": 123456,
    "paytabs_server_key": SERVER_KEY,
    "paytabs_base_url": "http://127.0.0.1:9",
}
ORPHANING = (
    "import os, subprocess, sys\n"
    "env = {**os.environ, 'PAYSAGA_PARENT_PID': str(os.getpid())}\n"
    "child = subprocess.Popen(sys.argv[1:], env=env)\n"
    "print(child.pid, flush=True)\n"
    "sys.stdin.read()\n"
)
"""A program that starts another one and ends when its stdin does."""


@pytest.fixture
def web_env(database_url: str, tmp_path: Path) -> dict[str, str]:
    port = free_port()
    return settings_env(tmp_path, database_url=database_url, port=port, web_workers=1)


@pytest.fixture
def web_url(web_env: dict[str, str], tmp_path: Path) -> Iterator[str]:
    url = f"http://127.0.0.1:{web_env['PAYSAGA_PORT']}"
    with role_process("web", web_env, tmp_path):
        wait_until(lambda: answers(f"{url}/healthz"), "the web role answers")
        yield url


def log_of(folder: Path, role: str) -> str:
    return (folder / f"{role}.log").read_text()


@pytest.mark.parametrize("role", ["web", "worker"])
def test_a_role_without_a_database_says_what_is_missing(tmp_path: Path, role: str) -> None:
    with role_process(role, settings_env(tmp_path, port=0, **PROFILE), tmp_path) as process:
        assert process.wait(WAIT_SECONDS) == 1
    log = log_of(tmp_path, role)
    assert "PAYSAGA_DATABASE_URL: not set" in log
    assert "Traceback" not in log


def test_a_worker_without_a_profile_says_what_is_missing(tmp_path: Path, database_url: str) -> None:
    env = settings_env(tmp_path, database_url=database_url)
    with role_process("worker", env, tmp_path) as process:
        assert process.wait(WAIT_SECONDS) == 1
    assert "PAYSAGA_PAYTABS_PROFILE_ID: not set" in log_of(tmp_path, "worker")


@pytest.mark.parametrize("role", ["web", "worker"])
def test_a_database_that_may_not_be_prepared_is_told_in_one_line(
    tmp_path: Path, database_url: str, role: str
) -> None:
    with psycopg.connect(database_url) as connection:
        name = f"guest_{uuid4().hex}"
        connection.execute(SQL("CREATE ROLE {} LOGIN").format(Identifier(name)))
    url = database_url.replace("postgres@", f"{name}@")
    env = settings_env(tmp_path, database_url=url, port=0, **PROFILE)
    with role_process(role, env, tmp_path) as process:
        assert process.wait(WAIT_SECONDS) == 1
    log = log_of(tmp_path, role)
    assert "the database cannot be prepared: " in log
    assert "Traceback" not in log


def test_a_database_address_that_is_none_is_told_without_its_password(tmp_path: Path) -> None:
    result = run("worker", env=settings_env(tmp_path, database_url="postgresql//u:secret-pw@h/d"))
    assert result.exit_code == 1
    assert result.stderr.startswith("PAYSAGA_DATABASE_URL: (hidden) is wrong")
    assert "secret-pw" not in result.stderr


def test_a_worker_waits_for_its_database_and_still_can_be_stopped(tmp_path: Path) -> None:
    url = "postgresql://paysaga:a-long-password@127.0.0.1:9/paysaga"
    env = settings_env(tmp_path, database_url=url, **PROFILE)
    with role_process("worker", env, tmp_path) as process:
        wait_until(lambda: "waiting_for_database" in log_of(tmp_path, "worker"), "it waits")
        process.terminate()
        assert process.wait(WAIT_SECONDS) == 0
    assert "a-long-password" not in log_of(tmp_path, "worker")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_stops_when_told(
    tmp_path: Path, database_url: str, number: signal.Signals
) -> None:
    env = settings_env(tmp_path, database_url=database_url, **PROFILE)
    with role_process("worker", env, tmp_path) as process:
        wait_until(lambda: "worker_started" in log_of(tmp_path, "worker"), "it has started")
        process.send_signal(number)
        assert process.wait(WAIT_SECONDS) == 0
    log = log_of(tmp_path, "worker")
    assert "worker_stopped" in log
    assert SERVER_KEY not in log


def test_the_web_role_stops_when_told(web_env: dict[str, str], tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{web_env['PAYSAGA_PORT']}/healthz"
    with role_process("web", web_env, tmp_path) as process:
        wait_until(lambda: answers(url), "it answers")
        process.terminate()
        assert process.wait(WAIT_SECONDS) == 0
    assert "Traceback" not in log_of(tmp_path, "web")


def test_the_web_role_leaves_no_control_socket_around(
    web_env: dict[str, str], tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{web_env['PAYSAGA_PORT']}/healthz"
    env = {**web_env, "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    with role_process("web", env, tmp_path):
        wait_until(lambda: answers(url), "it answers")
        assert not list(tmp_path.rglob("*.ctl"))


def test_a_request_line_or_header_beyond_the_limit_is_refused(web_url: str) -> None:
    assert requests.get(f"{web_url}/healthz?{'x' * 9000}", timeout=10).status_code == 414
    large = requests.get(f"{web_url}/healthz", headers={"X-Large": "x" * 9000}, timeout=10)
    assert large.status_code == 431


def test_connections_are_kept_for_the_next_request(web_url: str) -> None:
    connection = http.client.HTTPConnection(web_url.removeprefix("http://"), timeout=10)
    connection.connect()
    kept = connection.sock
    for _ in range(2):
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b'{"status":"ok"}')
        assert connection.sock is kept
    connection.close()


@pytest.mark.parametrize("role", ["web", "simulator"])
def test_a_role_whose_port_is_taken_says_so(tmp_path: Path, database_url: str, role: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        env = settings_env(tmp_path, database_url=database_url, port=port, simulator_port=port)
        with role_process(role, env, tmp_path) as process:
            assert process.wait(WAIT_SECONDS) == 1
    assert f"{port} is in use by another program" in log_of(tmp_path, role)


def test_the_simulator_keeps_its_profile_and_its_controls_off(tmp_path: Path) -> None:
    port = free_port()
    env = settings_env(tmp_path, simulator_port=port)
    with role_process("simulator", env, tmp_path) as process:
        wait_until(lambda: "simulator_started" in log_of(tmp_path, "simulator"), "it has started")
        url = f"http://127.0.0.1:{port}/_simulator/transactions"
        assert requests.get(url, timeout=10).status_code == 404
        process.terminate()
        assert process.wait(WAIT_SECONDS) == 0
    kept = {name: (tmp_path / name).stat().st_mode & 0o777 for name in os.listdir(tmp_path)}
    assert kept["simulator_profile_id"] == 0o600
    assert kept["simulator_server_key"] == 0o600
    assert kept["simulator.sqlite"] == 0o600


@pytest.mark.parametrize("role", ["simulator", "worker", "web"])
def test_a_role_ends_when_the_one_that_started_it_is_gone(
    tmp_path: Path, database_url: str, role: str
) -> None:
    port = free_port()
    settings = {"port": port, "simulator_port": port, "database_url": database_url, **PROFILE}
    started = {"simulator": "simulator_started", "worker": "worker_started", "web": "Listening at"}
    with (tmp_path / f"{role}.log").open("wb") as log:
        parent = subprocess.Popen(
            [sys.executable, "-c", ORPHANING, sys.executable, "-m", "interface.cli", role],
            env={**os.environ, **settings_env(tmp_path, **settings)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    assert parent.stdout
    pid = int(parent.stdout.readline())
    wait_until(lambda: started[role] in log_of(tmp_path, role), "it has started")
    parent.communicate()
    wait_until(lambda: has_ended(pid), "it has ended")
    assert "parent_is_gone" in log_of(tmp_path, role)


def has_ended(pid: int) -> bool:
    """True when there is no such process, or only what is left of one."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_wrong_port_for_the_simulator_is_wrong_usage() -> None:
    assert run("simulator", "--port", "70000").exit_code == 2


def test_every_command_has_help() -> None:
    listed = run("--help")
    assert listed.exit_code == 0
    for command in COMMANDS:
        assert f"  {command}" in listed.stdout
        result = run(command, "--help")
        assert result.exit_code == 0
        assert result.stdout.startswith(f"Usage: program {command}")


def test_a_command_that_does_not_exist_is_wrong_usage() -> None:
    assert run("fly").exit_code == 2


@pytest.mark.slow
def test_clients_that_stall_in_their_requests_do_not_hold_the_role_up(
    web_url: str, tmp_path: Path
) -> None:
    """More of them than threads: their places are given back after the time limit."""
    host, port = web_url.removeprefix("http://").split(":")
    stalling = [socket.create_connection((host, int(port))) for _ in range(40)]
    for connection in stalling:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHo")
    wait_until(lambda: answers(f"{web_url}/healthz"), "the role answers in spite of them")
    for connection in stalling:
        connection.close()
    assert "Traceback" not in log_of(tmp_path, "web")
