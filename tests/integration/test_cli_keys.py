"""`paysaga keys`: keys kept as digests, used by every web process, ended at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from domain.security_incident import SecurityIncident
from interface.settings import Role
from interface.web.incident_limit import IncidentLimit
from interface.web.key_ring import TOUCH_EVERY, KeyRing, KnownKey, RefusedKey, digest_of
from system.persistence.api_keys import ApiKeys, StoredKey
from tests.e2e.house import SECRETS, Api, House, house_on, until
from tests.integration.cli_kit import run, settings_env


@pytest.fixture(scope="module")
def home(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server, with_worker=False, create_wait_ms=0) as home:
        yield home


@pytest.fixture
def env(home: House, tmp_path: Path) -> dict[str, str]:
    return settings_env(tmp_path, database_url=home.settings.database_url)


@pytest.fixture(autouse=True)
def _no_incidents_before(home: House) -> None:
    """Each test has the whole limit of incidents to itself."""
    vars(home.context.key_incident_limit).update(vars(IncidentLimit()))


def created(env: dict[str, str], name: str, *options: str) -> dict[str, Any]:
    result = run("keys", "create", name, *options, "--json", env=env)
    assert result.exit_code == 0, result.stderr
    return dict(json.loads(result.stdout))


def listed(env: dict[str, str], name: str) -> dict[str, Any]:
    result = run("keys", "list", "--json", env=env)
    return next(key for key in json.loads(result.stdout)["data"] if key["name"] == name)


def incidents(home: House, kind: str) -> list[dict[str, Any]]:
    return [
        event.detail
        for event in home.events_of("Operations")
        if isinstance(event, SecurityIncident.Recorded) and event.kind == kind
    ]


def test_a_key_that_was_made_opens_the_api_with_its_role(home: House, env: dict[str, str]) -> None:
    key = created(env, "shop", "--role", "write")
    shop = Api(home.url, key["secret"])
    answer = until(lambda: (found := shop.create()).ok and found)
    events = shop.events(answer.json()["paymentId"])
    assert events[0]["metadata"]["userId"] == "shop"
    assert shop.get("/v1/parked-events").status_code == 403
    assert incidents(home, "api_key_created")[-1] == {"name": "shop", "role": "write"}


def test_only_a_digest_is_kept(home: House, env: dict[str, str]) -> None:
    key = created(env, "digest", "--role", "read")
    assert home.settings.database_url
    with psycopg.connect(home.settings.database_url) as connection:
        [row] = connection.execute("SELECT * FROM api_keys WHERE name = 'digest'").fetchall()
    assert bytes(row[2]) == digest_of(key["secret"])
    assert key["secret"] not in str(row)
    shown = run("keys", "list", env=env)
    assert "digest" in shown.stdout
    assert key["secret"] not in shown.stdout


def test_people_are_told_to_keep_the_secret(env: dict[str, str]) -> None:
    result = run("keys", "create", "person", "--role", "read", env=env)
    assert "Secret  sk_" in result.stdout
    assert "shown this once" in result.stderr


def test_a_revoked_key_is_refused_at_once_and_recorded(home: House, env: dict[str, str]) -> None:
    shop = Api(home.url, created(env, "leaver", "--role", "read")["secret"])
    until(lambda: shop.get("/v1/payments").ok)
    assert run("keys", "revoke", "leaver", env=env).exit_code == 0
    [refusal] = until(lambda: [found for found in [shop.get("/v1/payments")] if not found.ok])
    assert "revoked" in refusal.json()["detail"]
    assert listed(env, "leaver")["state"] == "revoked"
    assert {"name": "leaver"} in incidents(home, "api_key_revoked")
    until(lambda: {"reason": "revoked", "name": "leaver"}.items() <= refused(home)[-1].items())


def refused(home: House) -> list[dict[str, Any]]:
    return incidents(home, "api_key_refused") or [{}]


def test_a_name_is_used_once(env: dict[str, str]) -> None:
    created(env, "once", "--role", "read")
    run("keys", "revoke", "once", env=env)
    again = run("keys", "create", "once", "--role", "admin", env=env)
    assert again.exit_code == 1
    assert "choose another name" in again.stderr


def test_a_key_that_is_not_there_cannot_be_revoked(env: dict[str, str]) -> None:
    result = run("keys", "revoke", "nobody", env=env)
    assert result.exit_code == 1
    assert "paysaga keys list" in result.stderr


CONFIGURED = {"PAYSAGA_API_KEYS": "shop-in-settings:write:sk_configured"}


@pytest.mark.parametrize(
    ("settings", "name", "reason"),
    [
        (CONFIGURED, "shop-in-settings", "is a key of PAYSAGA_API_KEYS"),
        ({}, "demo", "is generated while PAYSAGA_API_KEYS is not set"),
    ],
)
def test_a_name_of_the_settings_is_not_used_for_a_second_secret(
    env: dict[str, str], settings: dict[str, str], name: str, reason: str
) -> None:
    result = run("keys", "create", name, "--role", "read", env={**env, **settings})
    assert result.exit_code == 1
    assert f"{reason}: choose another name" in result.stderr
    assert name not in run("keys", "list", env=env).stdout


def test_a_key_of_the_settings_is_not_said_to_be_revoked(env: dict[str, str]) -> None:
    result = run("keys", "revoke", "shop-in-settings", env={**env, **CONFIGURED})
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "works until you change PAYSAGA_API_KEYS" in result.stderr
    assert "sk_configured" not in result.output


def test_a_name_that_the_settings_have_too_is_revoked_and_told_to_work_on(
    home: House, env: dict[str, str]
) -> None:
    created(env, "twice", "--role", "read")
    settings = {"PAYSAGA_API_KEYS": "twice:read:sk_configured"}
    result = run("keys", "revoke", "twice", env={**env, **settings})
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "the key in the database is revoked" in result.stderr
    assert "works until you change PAYSAGA_API_KEYS" in result.stderr
    assert listed(env, "twice")["state"] == "revoked"
    assert {"name": "twice"} in incidents(home, "api_key_revoked")


@pytest.mark.parametrize("name", ["", "a b", "a:b", "x" * 65, "é"])
def test_a_name_that_is_none_is_wrong_usage(env: dict[str, str], name: str) -> None:
    assert run("keys", "create", name, "--role", "read", env=env).exit_code == 2


def test_the_time_of_the_last_use_is_noted(home: House, env: dict[str, str]) -> None:
    key = created(env, "used", "--role", "read")
    assert key["lastUsedAt"] is None
    shop = Api(home.url, key["secret"])
    until(lambda: shop.get("/v1/payments").ok)
    assert listed(env, "used")["lastUsedAt"] is not None


def test_keys_from_the_settings_keep_working(home: House) -> None:
    assert {
        Api(home.url, secret).get("/v1/payments").status_code for secret in SECRETS.values()
    } == {200}


def test_a_wrong_key_and_a_role_that_is_too_small_are_recorded(home: House) -> None:
    Api(home.url, "sk_wrong").get("/v1/payments")
    assert refused(home)[-1] == {"reason": "unknown", "name": None, "path": "/v1/payments"}
    Api(home.url, SECRETS["read"]).create()
    assert refused(home)[-1]["reason"] == "role_too_small"
    assert refused(home)[-1]["name"] == "read"


def test_a_flood_of_wrong_keys_is_counted_and_not_recorded(home: House) -> None:
    before = len(refused(home))
    for _ in range(30):
        Api(home.url, "sk_wrong").get("/v1/payments")
    assert len(refused(home)) <= before + 10


def test_an_expired_key_is_refused_and_one_that_lasts_is_not(home: House) -> None:
    stored = ApiKeys(home.context.persistence)
    now = home.context.applications.clock.now()
    soon = now + timedelta(days=1)
    stored.add(StoredKey("short", "read", digest_of("sk_short"), now, soon))
    ring = KeyRing((), stored, home.context.listener)
    assert ring.find("sk_short", now) == KnownKey("short", Role.READ, is_managed=True)
    assert ring.find("sk_short", soon) == RefusedKey("expired", "short")


def test_the_last_use_is_written_down_once_a_minute_at_most(home: House) -> None:
    stored = ApiKeys(home.context.persistence)
    now = home.context.applications.clock.now()
    stored.add(StoredKey("busy", "read", digest_of("sk_busy"), now))
    ring = KeyRing((), stored, home.context.listener)
    for moment in (now, now + TOUCH_EVERY / 2):
        ring.find("sk_busy", moment)
    [busy] = [key for key in stored.all() if key.name == "busy"]
    assert busy.last_used_at == now
