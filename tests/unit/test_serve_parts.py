"""The parts of `serve` that can be looked at without starting anything."""

import os
import shlex
from pathlib import Path

import pytest

from interface.roles.lifetime import PARENT_VARIABLE, expected_parent, is_orphaned
from interface.serve.backoff import DELAY_MAX_SECONDS, STEADY_AFTER_SECONDS, Backoff
from interface.serve.greeting import curl_line, greeting
from interface.serve.plan import Plan, child_environment, plan
from interface.settings import InvalidSettings, load_settings


def planned(folder: Path, **settings: object) -> Plan:
    return plan(
        load_settings(data_dir=folder, port=0, simulator_port=0, **settings), was_killed=False
    )


def test_the_delay_grows_up_to_a_limit_while_starts_fail() -> None:
    backoff = Backoff()
    delays = [backoff.ended(0.0) for _ in range(100)]
    assert delays[:4] == [0.5, 1.0, 2.0, 4.0]
    assert max(delays) == delays[-1] == DELAY_MAX_SECONDS


def test_a_steady_run_makes_the_delay_short_again() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.ended(0.0)
    backoff.started(100.0)
    assert backoff.ended(100.0 + STEADY_AFTER_SECONDS) == 0.5


def test_without_a_profile_there_is_a_simulator_with_controls(tmp_path: Path) -> None:
    found = planned(tmp_path)
    assert found.has_database
    assert found.has_simulator
    assert found.settings.simulator_controls
    assert found.settings.allow_private_callbacks
    assert found.simulator_url == f"http://127.0.0.1:{found.settings.simulator_port}"


def test_with_a_profile_nothing_is_simulated_and_nothing_loosened(tmp_path: Path) -> None:
    found = planned(tmp_path, paytabs_profile_id=1, paytabs_server_key="SKEY", paytabs_region="SAU")
    assert not found.has_simulator
    assert found.simulator_url is None
    assert not found.settings.simulator_controls
    assert not found.settings.allow_private_callbacks


def test_what_was_switched_off_stays_off(tmp_path: Path) -> None:
    found = planned(tmp_path, simulator_controls=False, allow_private_callbacks=False)
    assert not found.settings.simulator_controls
    assert not found.settings.allow_private_callbacks


def test_children_read_the_very_settings_that_serve_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decided = planned(tmp_path).settings.model_copy(update={"database_url": "postgresql:///x"})
    for name, text in child_environment(decided, {}).items():
        monkeypatch.setenv(name, text)
    assert load_settings() == decided
    assert expected_parent() == os.getpid()


def test_a_process_knows_when_its_parent_is_gone() -> None:
    assert not is_orphaned(None)
    assert not is_orphaned(os.getppid())
    assert is_orphaned(os.getpid())


def test_a_parent_that_is_no_process_id_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PARENT_VARIABLE, "somebody")
    with pytest.raises(InvalidSettings, match="expected a process id"):
        expected_parent()


def test_the_greeting_holds_a_command_for_the_shell_with_the_real_key(tmp_path: Path) -> None:
    found = planned(tmp_path)
    secret = found.settings.api_keys[0].secret.get_secret_value()
    text = greeting(found)
    line = curl_line(found.settings.local_url, secret)
    assert line in text
    words = shlex.split(line)
    assert f"Authorization: Bearer {secret}" in words
    assert f"{found.settings.local_url}/v1/payments" in words


def test_an_address_to_listen_everywhere_is_shown_as_one_to_connect_to() -> None:
    assert load_settings(host="0.0.0.0").base_url == "http://127.0.0.1:8080"
    assert load_settings(host="::").base_url == "http://[::1]:8080"
