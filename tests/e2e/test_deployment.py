"""What `docs/deployment` holds works here as far as it can be tried, and a deploy loses nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from interface.settings import load_settings
from tests.e2e.fleet import Fleet, fleet_on
from tests.e2e.house import ORDER, WAIT_SECONDS, Api, free_port, until

DEPLOYMENT = Path(__file__).parents[2] / "docs" / "deployment"
PROCFILE = dict(line.split(": ", 1) for line in (DEPLOYMENT / "Procfile").read_text().splitlines())
UNITS = sorted(DEPLOYMENT.glob("*.service"))
PAYMENTS = 24


@pytest.fixture
def fleet(postgres_server: Any) -> Iterator[Fleet]:
    name = f"fleet_{uuid4().hex}"
    url = postgres_server.ensure_database(name)
    with fleet_on(url) as fleet:
        yield fleet
    postgres_server.drop_database(name)


def test_the_roles_of_the_procfile_are_commands() -> None:
    for command in PROCFILE.values():
        program, role = command.split()
        assert shutil.which(program, path=str(Path(sys.executable).parent))
        assert (
            subprocess.run(
                [sys.executable, "-m", "interface.cli", role, "--help"], check=False
            ).returncode
            == 0
        )


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


def test_new_processes_take_over_from_old_ones_while_payments_run(fleet: Fleet) -> None:
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
        assert [process.terminate() for process in old] == [0, 0]
        payments = list(bought)
    assert len(set(payments)) == PAYMENTS
    for payment_id in payments:
        proxy.becomes(payment_id, "completed")
        assert [kind for kind, *_ in fleet.customer.kinds(payment_id)] == ["Sale"]
        assert until(lambda: fleet.merchant.ids(payment_id))  # noqa: B023
