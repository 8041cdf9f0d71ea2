"""A process is killed in the middle of a request, and the client repeats it with the same key."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
import requests

from tests.e2e.fleet import Fleet, at_once, fleet_on
from tests.e2e.house import until

SLOW_MS = 1500


@pytest.fixture
def fleet(postgres_server: Any) -> Iterator[Fleet]:
    name = f"fleet_{uuid4().hex}"
    url = postgres_server.ensure_database(name)
    with fleet_on(url, create_wait_ms=20_000) as fleet:
        yield fleet
    postgres_server.drop_database(name)


def test_a_create_that_was_cut_off_by_a_crash_is_found_again_by_its_key(fleet: Fleet) -> None:
    web = fleet.web()
    fleet.worker()
    fleet.customer.behave(latency_ms=SLOW_MS, next=1)
    headers = {"Idempotency-Key": uuid4().hex}
    with ThreadPoolExecutor(1) as pool:
        cut_off = pool.submit(fleet.api.create, headers)
        at_once(lambda: fleet.count("payments") == 1)
        web.kill()
        assert isinstance(cut_off.exception(30), requests.ConnectionError)
    fleet.web()
    answer = fleet.api.create(headers)
    assert answer.status_code == 201
    assert answer.headers["Idempotent-Replayed"] == "true"
    payment = answer.json()
    assert payment["nextAction"]["url"]
    assert len(fleet.api.data("/v1/payments")) == 1
    assert len(fleet.customer.transactions(payment["paymentId"])) == 1


def test_a_refund_whose_worker_was_killed_in_the_middle_is_made_once(fleet: Fleet) -> None:
    fleet.web()
    worker = fleet.worker()
    payment = fleet.api.created()
    payment_id = payment["paymentId"]
    fleet.customer.pay(payment["transactionRef"])
    fleet.api.saga_becomes(payment_id, "completed")
    key = uuid4().hex
    first = fleet.api.refund(payment_id, key, amount=5)
    at_once(lambda: fleet.customer.books(payment_id)["refunded"] == "5.00")
    worker.kill()
    again = fleet.api.refund(payment_id, key, amount=5)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json()["refundId"] == first.json()["refundId"]
    fleet.worker()
    until(lambda: fleet.api.payment(payment_id)["amountRefunded"] == 5)
    until(lambda: not fleet.unread())
    assert fleet.customer.books(payment_id)["refunded"] == "5.00"
    assert len(fleet.api.payment(payment_id)["refunds"]) == 1
