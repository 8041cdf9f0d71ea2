"""Each symptom of docs/troubleshooting.md is provoked, and its commands show what the page says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import requests

from tests.e2e.fleet import Fleet, fleet_on
from tests.e2e.house import SECRETS, until
from tests.unit.docs_tables import DOCS

PAGE = (DOCS / "troubleshooting.md").read_text()


@pytest.fixture
def fleet(postgres_server: Any) -> Iterator[Fleet]:
    name = f"fleet_{uuid4().hex}"
    with fleet_on(postgres_server.ensure_database(name), breaker_volume_threshold=3) as fleet:
        fleet.web()
        yield fleet
    postgres_server.drop_database(name)


def told(fleet: Fleet, *arguments: str, code: int = 0) -> str:
    """What a command says to an operator, on both outputs."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PAYSAGA_")}
    ours = {f"PAYSAGA_{name.upper()}": str(value) for name, value in fleet.settings.items()}
    client = {"PAYSAGA_URL": fleet.api.url, "PAYSAGA_API_KEY": SECRETS["admin"]}
    done = subprocess.run(
        [sys.executable, "-m", "interface.cli", *arguments],
        env=clean | ours | client,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


def the_page_says(*words: str) -> None:
    for each in words:
        assert each in PAGE, each


def test_a_payment_without_a_worker_stays_initiated_and_its_saga_says_why(fleet: Fleet) -> None:
    the_page_says("saga with `version` 0", "all are silent", "start `paysaga worker`")
    payment_id = fleet.api.created()["paymentId"]
    saga = fleet.api.get(f"/v1/payments/{payment_id}/saga").json()
    assert (fleet.api.payment(payment_id)["status"], saga["version"]) == ("initiated", 0)
    answer = requests.get(f"{fleet.api.url}/readyz", timeout=30)
    assert answer.status_code == 503
    assert "has never run: start `paysaga worker`" in answer.text
    assert "problem" in told(fleet, "doctor", code=1)
    rows = json.loads(told(fleet, "projections", "list", "--json"))["data"]
    assert {row["state"] for row in rows} == {"never_run"}
    fleet.worker()
    fleet.api.becomes(payment_id, "processing")


def test_a_worker_that_hangs_is_seen_and_another_takes_over(fleet: Fleet) -> None:
    the_page_says("`kill -STOP`", "taken over within seconds")
    worker = fleet.worker()
    worker.freeze()
    try:
        payment_id = fleet.api.created()["paymentId"]
        assert fleet.api.payment(payment_id)["status"] == "initiated"
    finally:
        worker.kill()
    fleet.worker()
    fleet.api.becomes(payment_id, "processing")


def test_a_gateway_that_is_down_is_named_and_its_breaker_opens_and_is_reset(fleet: Fleet) -> None:
    the_page_says("problem  gateway: … cannot be asked", '"state":"OPEN"', "/paytabs/reset")
    fleet.worker()
    fleet.customer.behave(status=503)
    waiting = [fleet.api.created()["paymentId"] for _ in range(12)]

    def state() -> str:
        return str(fleet.api.get("/v1/circuit-breakers/paytabs").json()["state"])

    until(lambda: state() == "OPEN")
    output = told(fleet, "doctor", code=1)
    assert "problem  gateway:" in output
    assert "cannot be asked" in output
    fleet.customer.behave_well()
    reset = fleet.api.request("POST", "/v1/circuit-breakers/paytabs/reset")
    assert reset.json()["state"] == "CLOSED"
    for payment_id in waiting:
        until(lambda: fleet.api.payment(payment_id)["status"] == "processing", 90)  # noqa: B023


def test_a_lost_callback_shows_as_none_and_the_payment_completes_all_the_same(
    fleet: Fleet,
) -> None:
    the_page_says("paysaga webhooks list", "The payment completes all the same")
    fleet.worker()
    fleet.customer.behave(callback="lost", next=1)
    payment_id = fleet.api.created()["paymentId"]
    fleet.customer.pay(fleet.api.becomes(payment_id, "processing")["transactionRef"])
    fleet.api.becomes(payment_id, "completed")
    listed = told(fleet, "webhooks", "list", "--payment", payment_id, "--json")
    assert json.loads(listed)["data"] == []


def test_a_parked_event_is_listed_and_taken_in_when_it_is_retried(fleet: Fleet) -> None:
    the_page_says("released: the follower takes it in")
    payment_id = fleet.api.created()["paymentId"]
    with psycopg.connect(fleet.database_url) as connection:
        [(state,)] = connection.execute("SELECT state FROM payments_events").fetchall()
        spoilt = "UPDATE payments_events SET state = %s"
        connection.execute(spoilt, (state.replace(b'"priority"', b'"priorty"')[:-1],))
    fleet.worker()

    def parked() -> list[dict[str, Any]]:
        return list(json.loads(told(fleet, "parked", "list", "--json"))["data"])

    until(parked)
    with psycopg.connect(fleet.database_url) as connection:
        connection.execute(spoilt, (state,))
    for row in parked():
        assert "released" in told(fleet, "parked", "retry", row["parkedId"])
    fleet.api.becomes(payment_id, "processing")
    until(lambda: not parked())


def test_a_broken_journal_is_named_with_its_entry(fleet: Fleet) -> None:
    the_page_says("entry 4: altered:")
    fleet.worker()
    payment_id = fleet.api.created()["paymentId"]
    fleet.api.becomes(payment_id, "processing")
    until(lambda: not fleet.unread())
    assert "sound" in told(fleet, "journal", "verify")
    with psycopg.connect(fleet.database_url) as connection:
        connection.execute("UPDATE journal SET correlation_id = 'x' WHERE position = 4")
    assert "entry 4: altered:" in told(fleet, "journal", "verify", code=1)
    assert "payment.initiated" in told(fleet, "journal", "export", "--payment", payment_id)
