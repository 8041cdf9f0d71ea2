"""Secrets that nobody set: made once, kept for their owner only, the same for every process."""

import base64
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from interface.kept_secrets import complete, kept, with_simulator_profile
from interface.serve.attached import attach
from interface.serve.data_folder import DataFolder, Running, running_serve
from interface.settings import InvalidSettings, Role, load_settings

DATABASE = "postgresql:///paysaga?host=%2Fsomewhere"


def test_a_demo_key_with_every_right_is_made_once_and_kept(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path / "data")
    first, second = complete(settings), complete(settings)
    (key,) = first.api_keys
    assert (key.name, key.role) == ("demo", Role.ADMIN)
    assert key.secret.get_secret_value().startswith("sk_demo_")
    assert second.api_keys == first.api_keys
    assert second.confirmation_secret == first.confirmation_secret


def test_what_is_set_stays_and_nothing_is_made(tmp_path: Path) -> None:
    settings = load_settings(
        data_dir=tmp_path,
        api_keys="shop:write:sk_of_the_shop",
        confirmation_secret="whsec_c2VjcmV0",
    )
    assert complete(settings) == settings
    assert list(tmp_path.iterdir()) == []


def test_the_confirmation_secret_has_the_form_of_standard_webhooks(tmp_path: Path) -> None:
    (secret,) = complete(load_settings(data_dir=tmp_path)).confirmation_secrets
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32


def test_kept_secrets_can_be_read_by_their_owner_only(tmp_path: Path) -> None:
    with_simulator_profile(complete(load_settings(data_dir=tmp_path)))
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}
    assert len(modes) == 4


def test_of_many_who_make_a_secret_at_once_all_get_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(
            pool.map(lambda number: kept(tmp_path / "s", lambda: f"secret-{number}"), range(32))
        )
    assert len(set(found)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_an_empty_file_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "api_key").write_text("\n")
    with pytest.raises(InvalidSettings, match="is empty: remove it"):
        complete(load_settings(data_dir=tmp_path))


def test_a_profile_id_that_is_none_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "simulator_profile_id").write_text("abc")
    with pytest.raises(InvalidSettings, match="holds no profile id"):
        with_simulator_profile(load_settings(data_dir=tmp_path))


def test_other_commands_find_what_a_running_serve_started(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path)
    running = Running(1, "http://127.0.0.1:18411", DATABASE, "http://127.0.0.1:8090")
    with DataFolder(tmp_path) as folder:
        folder.tell(running)
        assert running_serve(tmp_path) == running
        attached = attach(settings)
    assert attached.database_url == DATABASE
    assert attached.gateway_url == "http://127.0.0.1:8090"
    assert attached.base_url == "http://127.0.0.1:18411"
    assert attached.paytabs_profile_id is not None
    assert attach(settings) == settings


def test_what_is_set_goes_before_what_serve_started(tmp_path: Path) -> None:
    with DataFolder(tmp_path) as folder:
        folder.tell(Running(1, "http://127.0.0.1:8080", DATABASE, None))
        attached = attach(
            load_settings(
                data_dir=tmp_path,
                database_url="postgresql://other/db",
                public_url="https://pay.example.com",
            )
        )
    assert attached.database_url == "postgresql://other/db"
    assert attached.base_url == "https://pay.example.com"
    assert attached.paytabs_profile_id is None


def test_a_folder_knows_that_its_last_serve_was_killed(tmp_path: Path) -> None:
    with DataFolder(tmp_path) as folder:
        assert not folder.was_killed
    (tmp_path / "serve.json").write_text("{}")
    assert running_serve(tmp_path) is None
    with DataFolder(tmp_path) as folder:
        assert folder.was_killed
        with pytest.raises(InvalidSettings, match="in use by another"):
            DataFolder(tmp_path).__enter__()
