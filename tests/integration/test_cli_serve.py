"""What `paysaga serve` refuses before it starts anything, each in one clear line."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli_kit import run, settings_env


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def refusal(env: dict[str, str]) -> str:
    result = run("serve", env=env)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


@pytest.mark.parametrize("name", ["port", "simulator_port"])
def test_a_port_that_is_taken_is_told(tmp_path: Path, taken_port: int, name: str) -> None:
    env = settings_env(tmp_path, **{"port": 0, "simulator_port": 0, name: taken_port})
    line = refusal(env)
    assert line.startswith(f"PAYSAGA_{name.upper()}: {taken_port} is in use by another program")


def test_an_address_of_another_machine_is_told(tmp_path: Path) -> None:
    assert "no address of this machine" in refusal(settings_env(tmp_path, host="203.0.113.9"))


def test_a_data_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "PAYSAGA_DATA_DIR" in refusal(settings_env(tmp_path / "file"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_data_folder_without_permission_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "give this user the right" in refusal(settings_env(tmp_path / "data"))


def test_a_gateway_without_a_profile_is_not_simulated_silently(tmp_path: Path) -> None:
    line = refusal(settings_env(tmp_path, paytabs_region="SAU"))
    assert "PAYSAGA_PAYTABS_PROFILE_ID: not set, but PAYSAGA_PAYTABS_REGION is" in line


def test_every_wrong_setting_gets_its_own_line(tmp_path: Path) -> None:
    env = settings_env(tmp_path, port="x", web_workers=0, no_such_thing=1)
    result = run("serve", env=env)
    assert result.exit_code == 1
    told = {line.partition(":")[0] for line in result.stderr.splitlines()}
    assert told == {"PAYSAGA_PORT", "PAYSAGA_WEB_WORKERS", "PAYSAGA_NO_SUCH_THING"}


def test_an_empty_kept_key_is_told(tmp_path: Path) -> None:
    (tmp_path / "api_key").write_text("")
    line = refusal(settings_env(tmp_path, port=0, simulator_port=0))
    assert "api_key' is empty: remove it" in line
