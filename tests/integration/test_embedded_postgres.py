"""The embedded PostgreSQL: started, taken over, stopped, and started again after accidents."""

import os
import signal
from pathlib import Path

import psycopg
import pytest

from interface.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError
from tests.postgres_kit import FAST_AND_FORGETFUL


def server_in(folder: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(folder, options=FAST_AND_FORGETFUL, durable=False)


def query(url: str, statement: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchone() if cursor.description else None


def test_data_outlives_a_stop_and_a_start(data_dir: Path) -> None:
    server = server_in(data_dir / "postgres")
    server.start()
    url = server.ensure_database("paysaga")
    query(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    server.stop()
    assert server.pid is None
    server.start()
    try:
        assert server.ensure_database("paysaga") == url
        assert query(url, "SELECT answer FROM kept") == (42,)
    finally:
        server.stop()


def test_a_running_server_is_taken_over_by_the_next_start(data_dir: Path) -> None:
    first, second = server_in(data_dir / "postgres"), server_in(data_dir / "postgres")
    first.start()
    try:
        second.start()
        assert second.pid == first.pid
    finally:
        second.stop()
    assert first.pid is None


def test_a_killed_server_starts_again_when_its_last_query_has_ended(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir / "postgres", durable=False)
    server.start()
    pid = server.pid
    assert pid is not None
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        os.kill(pid, signal.SIGKILL)
        server.start()
    try:
        assert server.pid != pid
        assert query(server.conninfo(), "SELECT answer FROM kept") == (42,)
    finally:
        server.stop()


def test_a_process_id_that_another_program_has_by_now_does_not_stop_the_start(
    data_dir: Path,
) -> None:
    server = server_in(data_dir / "postgres")
    server.start()
    recorded = (server.folder / "postmaster.pid").read_text().splitlines()
    server.stop()
    stale = "\n".join([str(os.getppid()), *recorded[1:], ""])
    (server.folder / "postmaster.pid").write_text(stale)
    (server.folder / "postmaster.pid").chmod(0o644)
    assert server.pid is None
    server.start()
    try:
        assert query(server.conninfo(), "SELECT 1") == (1,)
    finally:
        server.stop()


def test_a_path_too_long_for_a_socket_gets_a_socket_elsewhere(data_dir: Path) -> None:
    server = server_in(data_dir / ("long" * 25) / "postgres")
    server.start()
    try:
        assert server.socket_folder != server.folder
        assert server.socket_folder.stat().st_mode & 0o077 == 0
        assert query(server.conninfo(), "SELECT 1") == (1,)
    finally:
        server.stop()
        server.socket_folder.rmdir()


def test_an_unfinished_creation_is_begun_anew(data_dir: Path) -> None:
    half_made = data_dir / "postgres.new" / "base"
    half_made.mkdir(parents=True)
    server = server_in(data_dir / "postgres")
    server.start()
    server.stop()
    assert not half_made.exists()


def test_a_folder_with_other_things_in_it_is_left_alone(data_dir: Path) -> None:
    (data_dir / "postgres").mkdir()
    (data_dir / "postgres" / "letter.txt").write_text("dear aunt")
    with pytest.raises(EmbeddedPostgresError, match="holds something else"):
        server_in(data_dir / "postgres").start()
    assert (data_dir / "postgres" / "letter.txt").read_text() == "dear aunt"


def test_data_of_another_version_is_refused_with_advice(data_dir: Path) -> None:
    (data_dir / "postgres").mkdir()
    (data_dir / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedPostgresError, match=r"made by PostgreSQL 9.*move it away"):
        server_in(data_dir / "postgres").start()


def test_a_server_that_cannot_start_says_why(data_dir: Path) -> None:
    server = EmbeddedPostgres(
        data_dir / "postgres", options={"no_such_option": "on"}, durable=False
    )
    with pytest.raises(EmbeddedPostgresError, match="no_such_option"):
        server.start()


def test_it_listens_on_no_network_address(postgres_server: EmbeddedPostgres) -> None:
    assert query(postgres_server.conninfo(), "SHOW listen_addresses") == ("",)


@pytest.mark.parametrize("name", ["", "Upper", "with space", "quote'", "x" * 64, "1st"])
def test_a_name_that_is_none_for_a_database_is_refused(
    postgres_server: EmbeddedPostgres, name: str
) -> None:
    with pytest.raises(ValueError, match="no name for a database"):
        postgres_server.ensure_database(name)
