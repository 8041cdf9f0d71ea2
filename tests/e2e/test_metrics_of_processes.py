"""Counts of requests are right across the processes of a web role, dead ones included."""

from __future__ import annotations

import os
import re
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
from tests.integration.test_web_metrics import scrape, value
from tests.unit.test_alerts import RULES

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


COUNTED = re.compile(r"(?:rate|increase)\((?:max\()?(paysaga_\w+)(?:{(\w+)=~?\"([^\"]+)\"})?")


def test_what_alerts_count_is_there_at_0_when_the_service_is_new(fleet: Fleet) -> None:
    fleet.web()
    there = scrape(fleet.api.url)
    rules = COUNTED.findall(RULES)
    assert len(rules) == len(re.findall(r"rate\(|increase\(", RULES)) > 0
    for name, label, pattern in rules:
        counts = [
            count
            for (sample, labels), count in there.items()
            if sample == name and (not label or re.fullmatch(pattern, dict(labels)[label]))
        ]
        assert counts, (name, pattern)
        assert set(counts) == {0} or not label, (name, pattern)


def of_processes(fleet: Fleet, name: str) -> dict[str, list[float]]:
    """What a metric says of each process, by role."""
    found: dict[str, list[float]] = {}
    for (sample, labels), measured in scrape(fleet.api.url).items():
        if sample == f"paysaga_{name}":
            found.setdefault(dict(labels)["role"], []).append(measured)
    return found


def test_every_process_of_the_fleet_shows_what_it_uses(fleet: Fleet) -> None:
    web, worker = fleet.web(), fleet.worker()
    known = {"web": PROCESSES, "worker": 1}

    def counted() -> dict[str, int]:
        return {role: len(each) for role, each in of_processes(fleet, "process_threads").items()}

    until(lambda: counted() == known)
    for name in ("memory_bytes", "cpu_seconds_total", "open_files", "threads"):
        shown = of_processes(fleet, f"process_{name}")
        assert all(value > 0 for values in shown.values() for value in values), name
    memory = psutil.Process(worker.process.pid).memory_info().rss
    assert of_processes(fleet, "process_memory_bytes")["worker"] == [pytest.approx(memory, rel=0.3)]
    pools = of_processes(fleet, "database_pool_connections_max")
    assert set(pools["web"] + pools["worker"]) == {10.0}
    started = of_processes(fleet, "process_start_time_seconds")
    assert started["worker"] == [
        pytest.approx(psutil.Process(worker.process.pid).create_time(), abs=60)
    ]
    assert web.terminate() == 0
    assert worker.terminate() == 0
    assert fleet.rows("SELECT process FROM processes") == []
