"""Rebuilds over HTTP: asked for by an admin, done beside the service, seen by everybody."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import requests
from eventsourcing.persistence import OperationalError

from system.rebuild import REBUILD_SPACE
from tests.e2e.house import SECRETS, Api, House, house_on, until

PATH = "/v1/projections/PaymentsView/rebuild"


@pytest.fixture(scope="module")
def home(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server) as home:
        yield home


def test_a_rebuild_runs_beside_the_service_and_its_state_is_shown(home: House) -> None:
    payment = home.api.created()
    until(lambda: home.api.data("/v1/payments"))
    with home.context.persistence.connection() as connection:
        connection.execute("DELETE FROM view_payments")
    answer = home.api.request("POST", PATH)
    assert (answer.status_code, answer.json()["projection"]) == (202, "PaymentsView")
    until(lambda: not home.api.get(PATH).json()["isRunning"] and home.api.data("/v1/payments"))
    [shown] = home.api.data("/v1/payments")
    assert shown["paymentId"] == payment["paymentId"]
    assert home.api.get(PATH).json() == {
        "projection": "PaymentsView",
        "isRunning": False,
        "isInterrupted": False,
        "position": 0,
        "total": 0,
    }


def test_a_second_rebuild_at_the_same_time_is_refused(home: House) -> None:
    with psycopg.connect(home.settings.conninfo, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s, hashtext('PaymentsView'))", (REBUILD_SPACE,))
        assert home.api.get(PATH).json()["isRunning"] is True
        answer = home.api.request("POST", PATH)
        assert (answer.status_code, answer.json()["code"]) == (409, "rebuild_under_way")
    assert until(lambda: home.api.get(PATH).json()["isRunning"] is False)


def test_a_repeated_request_starts_no_second_rebuild(home: House) -> None:
    def ask(key: str) -> requests.Response:
        return home.api.request("POST", PATH, headers={"Idempotency-Key": key})

    home.api.created()
    started: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("interface.web.rebuilds._run", lambda _: started.append("one"))
        for _ in range(3):
            assert ask("once").status_code == 202
        assert ask("once").headers["Idempotent-Replayed"] == "true"
        assert ask("again").headers.get("Idempotent-Replayed") is None
    assert until(lambda: len(started) == 2)


def test_a_rebuild_has_begun_before_it_is_recorded_that_it_was_asked_for(home: House) -> None:
    """Otherwise a repeat would be told for ever that it was accepted, and nobody would do it."""
    begun = threading.Event()
    operations = home.context.applications.operations

    def fail(*_: object, **__: object) -> None:
        raise OperationalError("gone")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("interface.web.rebuilds._run", lambda _: begun.set())
        patch.setattr(operations, "_record_command", fail)
        asked = home.api.request("POST", PATH, headers={"Idempotency-Key": "lost"})
        assert asked.status_code == 503
    assert begun.wait(20)
    again = home.api.request("POST", PATH, headers={"Idempotency-Key": "lost"})
    assert (again.status_code, again.headers.get("Idempotent-Replayed")) == (202, None)
    until(lambda: home.api.get(PATH).json()["isRunning"] is False)


def test_a_rebuild_that_was_refused_may_be_asked_for_again_with_its_key(home: House) -> None:
    def ask() -> requests.Response:
        return home.api.request("POST", PATH, headers={"Idempotency-Key": "patient"})

    with psycopg.connect(home.settings.conninfo, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s, hashtext('PaymentsView'))", (REBUILD_SPACE,))
        assert ask().status_code == 409
    until(lambda: home.api.get(PATH).json()["isRunning"] is False)
    answer = ask()
    assert (answer.status_code, answer.headers.get("Idempotent-Replayed")) == (202, None)
    until(lambda: home.api.get(PATH).json()["isRunning"] is False)


@pytest.mark.parametrize("name", ["Agenda", "Journal", "nothing"])
def test_only_read_models_can_be_rebuilt(home: House, name: str) -> None:
    answer = home.api.request("POST", f"/v1/projections/{name}/rebuild")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "PaymentsView" in answer.json()["detail"]


def test_only_an_admin_may_ask_for_a_rebuild(home: House) -> None:
    assert Api(home.url, SECRETS["write"]).request("POST", PATH).status_code == 403
    assert Api(home.url, SECRETS["read"]).get(PATH).status_code == 200
