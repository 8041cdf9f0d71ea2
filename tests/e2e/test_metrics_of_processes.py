"""Counts of requests are right across the processes of a web role, dead ones included."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest

from interface.roles.shared_metrics import PREFIX
from tests.e2e.fleet import Fleet, Process, fleet_on
from tests.e2e.house import Api, until
from tests.integration.test_web_metrics import value

PROCESSES = 3
ASKED = {"method": "GET", "route": "/v1/payments", "status": "200"}


@pytest.fixture
def fleet(postgres_server: Any) -> Iterator[Fleet]:
    name = f"fleet_{uuid4().hex}"
    with fleet_on(postgres_server.ensure_database(name), web_workers=PROCESSES) as fleet:
        yield fleet
    postgres_server.drop_database(name)


def children(web: Process) -> list[psutil.Process]:
    return psutil.Process(web.process.pid).children()


def folder_of(web: Process) -> Path:
    """The folder that the role's main process holds open."""
    folders = {
        Path(os.readlink(link))
        for link in Path(f"/proc/{web.process.pid}/fd").iterdir()
        if PREFIX in str(link.readlink())
    }
    [folder] = folders
    return folder


def ask(fleet: Fleet, times: int) -> None:
    """Each time on a connection of its own, so that any process may answer."""
    for _ in range(times):
        assert Api(fleet.api.url).get("/v1/payments").status_code == 200


def test_all_processes_are_counted_and_a_death_loses_nothing(fleet: Fleet) -> None:
    web = fleet.web()
    until(lambda: len(children(web)) == PROCESSES)
    ask(fleet, 30)
    assert {value(fleet.api.url, "http_requests_total", **ASKED) for _ in range(10)} == {30}
    folder = folder_of(web)
    for _ in range(4):
        victim = children(web)[0]
        os.kill(victim.pid, signal.SIGKILL)
        until(lambda gone=victim.pid: gone not in {child.pid for child in children(web)})
        until(lambda: len(children(web)) == PROCESSES)
        ask(fleet, 5)
    assert {value(fleet.api.url, "http_requests_total", **ASKED) for _ in range(10)} == {50}
    places = {path.stem.split("_")[-1] for path in folder.iterdir()}
    assert places <= {"0", "1", "2"}
    assert web.terminate() == 0
    assert not folder.exists()
