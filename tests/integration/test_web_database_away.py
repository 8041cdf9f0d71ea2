"""The database goes away under a running house and comes back: refusals, no loss, no restart."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import requests

from interface.embedded_postgres import EmbeddedPostgres
from tests.e2e.house import Api, House, house, until
from tests.integration.test_web_events import opened
from tests.postgres_kit import FAST_AND_FORGETFUL


@pytest.fixture
def server(data_dir: Path) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that the test may stop."""
    server = EmbeddedPostgres(data_dir / "pg", options=FAST_AND_FORGETFUL, durable=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def home(server: EmbeddedPostgres) -> Iterator[House]:
    url = server.ensure_database("house")
    with house(url, lease_ms=1000, reconcile_after_seconds=1) as home:
        yield home


def assert_away(answer: requests.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json()["code"] == "database_unavailable"


def calls(api: Api, home: House, payment_id: str) -> dict[str, Any]:
    """Each kind of call that needs the database."""
    return {
        "create": lambda: api.create({"Idempotency-Key": uuid4().hex}),
        "create with a client": lambda: api.create(clientInfo={"name": uuid4().hex}),
        "get": lambda: api.get(f"/v1/payments/{payment_id}"),
        "list": lambda: api.get("/v1/payments"),
        "events": lambda: api.get(f"/v1/payments/{payment_id}/events"),
        "saga": lambda: api.get(f"/v1/payments/{payment_id}/saga"),
        "cancel": lambda: api.cancel(payment_id),
        "webhook": lambda: home.notify(b'{"tran_ref":"T1","cart_id":"x"}'),
        "wrong signature": lambda: home.notify(b"{}", "0" * 64),
        "return": lambda: requests.post(
            f"{home.url}/v1/return/paytabs/{payment_id}", timeout=30, allow_redirects=False
        ),
    }


def test_a_database_that_stops_is_told_and_one_that_comes_back_is_used(
    server: EmbeddedPostgres, home: House
) -> None:
    api = home.api
    payment = api.created(callbackUrl=home.merchant.url)
    attempts = calls(api, home, payment["paymentId"])
    home.customer.behave(callback="delayed", callback_delay_ms=200)
    server.stop()
    with ThreadPoolExecutor(3) as pool:
        for answer in pool.map(lambda name: attempts[name](), ("create", "list", "webhook")):
            assert_away(answer)
    assert requests.get(f"{home.url}/healthz", timeout=10).status_code == 200
    ready = requests.get(f"{home.url}/readyz", timeout=30)
    assert ready.status_code == 503
    assert ready.json()["checks"][0]["name"] == "database"
    assert not ready.json()["checks"][0]["ok"]
    home.customer.pay(payment["transactionRef"])
    server.start()
    until(lambda: api.get("/v1/payments").ok)
    assert api.create().status_code == 201
    notified = home.notify(b'{"tran_ref":"T1","cart_id":"x"}')
    assert notified.status_code == 200
    until(lambda: requests.get(f"{home.url}/readyz", timeout=30).ok)
    api.becomes(payment["paymentId"], "completed")
    assert home.merchant.next().json["type"] == "payment.completed"


def test_connections_that_were_cut_are_replaced_without_a_refusal(
    server: EmbeddedPostgres, home: House
) -> None:
    api = home.api
    payment_id = api.created()["paymentId"]
    for name, call in calls(api, home, payment_id).items():
        with psycopg.connect(server.conninfo("house"), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = 'house' AND pid <> pg_backend_pid()"
            )
        answer = call()
        assert answer.status_code < 500, f"{name}: {answer.text}"
    done = api.created(callbackUrl=home.merchant.url)
    home.customer.pay(done["transactionRef"])
    api.saga_becomes(done["paymentId"], "completed")


def test_a_create_that_was_refused_meanwhile_can_be_repeated(
    server: EmbeddedPostgres, home: House
) -> None:
    api = home.api
    api.created()
    headers = {"Idempotency-Key": uuid4().hex}
    server.stop()
    assert_away(api.create(headers))
    server.start()
    until(lambda: api.get("/v1/payments").ok)
    answer = api.create(headers)
    assert answer.status_code == 201
    assert len(home.customer.transactions(answer.json()["paymentId"])) == 1


def test_a_stream_outlives_an_outage_and_misses_nothing(
    server: EmbeddedPostgres, home: House
) -> None:
    api = home.api
    before = api.created()["paymentId"]
    stream = opened(api, after=0, type="payment.initiated")
    assert before in stream.next()["data"]
    server.stop()
    assert_away(api.create())
    server.start()
    until(lambda: api.get("/v1/payments").ok)
    after = api.created()["paymentId"]
    assert after in stream.next()["data"]
    stream.close()


@pytest.mark.slow
def test_after_a_long_outage_the_first_seconds_bring_everything_back(
    server: EmbeddedPostgres, home: House
) -> None:
    api = home.api
    payment = api.created(callbackUrl=home.merchant.url)
    server.stop()
    assert_away(api.create())
    time.sleep(60)
    server.start()
    until(lambda: api.create().status_code == 201, seconds=15)
    home.customer.pay(payment["transactionRef"])
    api.saga_becomes(payment["paymentId"], "completed")
