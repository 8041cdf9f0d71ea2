"""What `docs/deployment` holds works here as far as it can be tried, and a deploy loses nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
import yaml

from interface.settings import Settings, load_settings
from tests.e2e.bookkeeping import assert_charged_once, assert_nothing_lost_and_nothing_doubled
from tests.e2e.fleet import Fleet, Process, fleet_on
from tests.e2e.house import ORDER, WAIT_SECONDS, Api, free_port, until

ROOT = Path(__file__).parents[2]
DEPLOYMENT = ROOT / "docs" / "deployment"
PROCFILE = dict(line.split(": ", 1) for line in (DEPLOYMENT / "Procfile").read_text().splitlines())
UNITS = sorted(DEPLOYMENT.glob("*.service"))
PAYMENTS = 24
PRICE = "149.50"


@pytest.fixture
def fleet(postgres_server: Any) -> Iterator[Fleet]:
    name = f"fleet_{uuid4().hex}"
    url = postgres_server.ensure_database(name)
    with fleet_on(url) as fleet:
        yield fleet
    postgres_server.drop_database(name)


@contextmanager
def running(command: str, fleet: Fleet) -> Iterator[subprocess.Popen[bytes]]:
    """A line of the Procfile, run by a shell as process managers do; it ends well on SIGTERM."""
    ours = {f"PAYSAGA_{name.upper()}": str(value) for name, value in fleet.settings.items()}
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PAYSAGA_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        f"exec {command}", shell=True, env={**clean, **ours, "PATH": path}, cwd=fleet.folder
    )
    try:
        yield process
    finally:
        process.terminate()
        assert process.wait(WAIT_SECONDS) == 0


def test_the_procfile_runs_a_service_in_which_a_payment_is_made(fleet: Fleet) -> None:
    assert PROCFILE == {"web": "paysaga web", "worker": "paysaga worker"}
    with running(PROCFILE["web"], fleet), running(PROCFILE["worker"], fleet):
        proxy = Proxy(fleet.api)
        payment_id = proxy.create("order", fleet.merchant.url)
        fleet.customer.pay(proxy.becomes(payment_id, "processing")["transactionRef"])
        proxy.becomes(payment_id, "completed")


def test_the_composition_has_two_of_each_role_with_settings_that_exist() -> None:
    composition = yaml.safe_load((DEPLOYMENT / "compose.yaml").read_text())
    services = composition["services"]
    roles = {name: service for name, service in services.items() if name != "postgres"}
    assert {name: service["command"] for name, service in roles.items()} == {
        "web": ["web"],
        "worker": ["worker"],
    }
    assert [service["deploy"]["replicas"] for service in roles.values()] == [2, 2]
    known = {f"PAYSAGA_{name.upper()}" for name in Settings.model_fields}
    assert all(set(service["environment"]) <= known for service in roles.values())
    dockerfile = ROOT / composition["x-paysaga"]["build"]["dockerfile"]
    assert dockerfile == DEPLOYMENT / "Dockerfile"


@pytest.mark.slow
def test_the_steps_of_the_image_make_a_program_with_all_its_files(tmp_path: Path) -> None:
    """Without a container: the files that are copied, and the installation as it is written."""
    text = (DEPLOYMENT / "Dockerfile").read_text().replace("\\\n", " ")
    source, target = tmp_path / "src", tmp_path / "paysaga"
    source.mkdir()
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        *names, place = line.split()
        for name in names:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, source / (name if place == "./" else place))
    [steps] = re.findall(r"^RUN (python -m venv .+)$", text, re.MULTILINE)
    steps = steps.replace("/paysaga", str(target)).replace("python -m", f"{sys.executable} -m")
    subprocess.run(steps, shell=True, cwd=source, check=True)
    program = target / "bin" / "paysaga"
    for role in ("web", "worker"):
        subprocess.run([program, role, "--help"], cwd=tmp_path, check=True)
    pages = subprocess.run(
        [target / "bin" / "python", "-P", "-c", "import interface; print(interface.__path__[0])"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    wanted = {path.name for path in (ROOT / "interface").rglob("*.html")}
    assert {path.name for path in Path(pages).rglob("*.html")} == wanted


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_takes_the_units(unit: Path, tmp_path: Path) -> None:
    text = unit.read_text()
    assert "/opt/paysaga/bin/paysaga" in text
    here = tmp_path / unit.name.replace("@", "@1")
    here.write_text(text.replace("/opt/paysaga/bin/paysaga", sys.executable))
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(here)],
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [line for line in checked.stderr.splitlines() if here.name in line]
    assert not complaints, checked.stderr


def test_the_example_environment_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PAYSAGA_")]:
        monkeypatch.delenv(name)
    for line in (DEPLOYMENT / "environment.example").read_text().splitlines():
        if not line.startswith("#"):
            monkeypatch.setenv(*line.split("=", 1))
    settings = load_settings()
    assert settings.gateway_url == "https://secure.paytabs.sa"
    assert settings.confirmation_secrets


class Proxy:
    """Sends each request to the newest web, and again when that goes away under way, as a proxy
    before them would."""

    def __init__(self, web: Api) -> None:
        self.web = web

    def request(self, *request: Any, **more: Any) -> requests.Response:
        answers: list[requests.Response] = []

        def is_answered() -> bool:
            try:
                answers.append(self.web.request(*request, **more))
            except requests.ConnectionError:
                return False
            return True

        until(is_answered)
        return answers[0]

    def create(self, key: str, callback_url: str) -> str:
        order = {**ORDER, "callbackUrl": callback_url}
        headers = {"Idempotency-Key": key}
        answer = self.request("POST", "/v1/payments", json=order, headers=headers)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["paymentId"])

    def becomes(self, payment_id: str, status: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            payment = self.request("GET", f"/v1/payments/{payment_id}").json()
            return payment if payment["status"] == status else None

        return dict(until(look))


def told_to_stop(process: Process) -> None:
    """As a deploy ends the old ones."""
    assert process.terminate() == 0


def killed(process: Process) -> None:
    """As a deploy must not end them, and sometimes does."""
    process.kill()


@pytest.mark.parametrize("end", [told_to_stop, killed])
def test_new_processes_take_over_from_old_ones_while_payments_run(
    fleet: Fleet, end: Callable[[Process], None]
) -> None:
    old = [fleet.web(), fleet.worker()]
    proxy, under_way = Proxy(fleet.api), threading.Event()

    def buy(number: int) -> str:
        payment_id = proxy.create(f"order-{number}", fleet.merchant.url)
        if number == PAYMENTS // 3:
            under_way.set()
        fleet.customer.pay(proxy.becomes(payment_id, "processing")["transactionRef"])
        return payment_id

    with ThreadPoolExecutor(4) as buyers:
        bought = buyers.map(buy, range(PAYMENTS))
        assert under_way.wait(WAIT_SECONDS)
        port = free_port()
        fleet.web(port)
        fleet.worker()
        proxy.web = Api(f"http://127.0.0.1:{port}")
        for process in old:
            end(process)
        payments = list(bought)
    assert len(set(payments)) == PAYMENTS
    for payment_id in payments:
        proxy.becomes(payment_id, "completed")
        assert until(lambda: fleet.merchant.ids(payment_id))  # noqa: B023
    assert_nothing_lost_and_nothing_doubled(fleet, payments)
    assert_charged_once(fleet, payments, PRICE)
