"""Processes are killed, stopped, doubled and kept waiting: the payment completes exactly once."""

from __future__ import annotations

import json
import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
import requests

from tests.e2e.fleet import Fleet, Process, at_once, fleet_on
from tests.e2e.house import Api, free_port, until

SLOW_MS = 1500


@pytest.fixture(scope="module")
def fleet(postgres_server: Any) -> Iterator[Fleet]:
    name = f"fleet_{uuid4().hex}"
    url = postgres_server.ensure_database(name)
    with fleet_on(url) as fleet:
        fleet.web()
        yield fleet
    postgres_server.drop_database(name)


@pytest.fixture(autouse=True)
def _well_behaved(fleet: Fleet) -> Iterator[None]:
    fleet.customer.behave()
    fleet.merchant.gate.set()
    yield
    fleet.merchant.gate.set()
    fleet.stop_all_but_the_first()


def ordered(fleet: Fleet) -> str:
    """A payment that nobody has worked on yet; returns its id."""
    answer = fleet.api.create({"Prefer": "respond-async"}, callbackUrl=fleet.merchant.url)
    assert answer.status_code == 202
    return str(answer.json()["paymentId"])


def with_page(fleet: Fleet) -> tuple[str, str]:
    """A payment whose page is open; returns its id and its transaction."""
    payment_id = ordered(fleet)
    return payment_id, fleet.api.becomes(payment_id, "processing")["transactionRef"]


def paid(fleet: Fleet) -> str:
    payment_id, ref = with_page(fleet)
    fleet.customer.pay(ref)
    return payment_id


Moment = Callable[[Fleet, Process], str]


def after_the_request(fleet: Fleet, worker: Process) -> str:
    payment_id = ordered(fleet)
    worker.kill()
    return payment_id


def after_the_saga_began(fleet: Fleet, worker: Process) -> str:
    before = fleet.count("paymentsagas")
    payment_id = ordered(fleet)
    at_once(lambda: fleet.count("paymentsagas") > before)
    worker.kill()
    return payment_id


def while_the_page_is_asked_for(fleet: Fleet, worker: Process) -> str:
    fleet.customer.behave(latency_ms=SLOW_MS, next=1)
    payment_id = ordered(fleet)
    at_once(lambda: fleet.is_claimed(payment_id))
    time.sleep(SLOW_MS / 3000)
    worker.kill()
    return payment_id


def when_the_gateway_has_the_page_but_we_do_not(fleet: Fleet, worker: Process) -> str:
    payment_id = ordered(fleet)
    at_once(lambda: fleet.customer.transactions(payment_id))
    worker.kill()
    return payment_id


def after_the_answer_was_recorded(fleet: Fleet, worker: Process) -> str:
    before = fleet.count("gateway")
    payment_id = ordered(fleet)
    at_once(lambda: fleet.count("gateway") > before)
    worker.kill()
    return payment_id


def while_a_lost_page_is_asked_after(fleet: Fleet, worker: Process) -> str:
    fleet.customer.behave(drop_after=True, next=1)
    payment_id = ordered(fleet)
    at_once(lambda: fleet.customer.transactions(payment_id))
    fleet.customer.behave(latency_ms=SLOW_MS, next=1, paths=["/payment/query"])
    time.sleep(0.3)
    worker.kill()
    return payment_id


def after_the_page(fleet: Fleet, worker: Process) -> str:
    payment_id, _ = with_page(fleet)
    worker.kill()
    return payment_id


def before_the_customer_pays(fleet: Fleet, worker: Process) -> str:
    payment_id, ref = with_page(fleet)
    worker.kill()
    before = fleet.count("webhooks")
    fleet.customer.pay(ref)
    until(lambda: fleet.count("webhooks") > before)
    return payment_id


def after_the_callback(fleet: Fleet, worker: Process) -> str:
    before = fleet.count("webhooks")
    payment_id = paid(fleet)
    at_once(lambda: fleet.count("webhooks") > before)
    worker.kill()
    return payment_id


def while_a_lost_callback_is_asked_after(fleet: Fleet, worker: Process) -> str:
    fleet.customer.behave(callback="lost", latency_ms=SLOW_MS, paths=["/payment/query"])
    payment_id = paid(fleet)
    at_once(lambda: fleet.is_claimed(payment_id))
    worker.kill()
    return payment_id


def after_the_payment_completed(fleet: Fleet, worker: Process) -> str:
    before = fleet.count("payments")
    payment_id = paid(fleet)
    at_once(lambda: fleet.count("payments") >= before + 3)
    worker.kill()
    return payment_id


def before_the_confirmation(fleet: Fleet, worker: Process) -> str:
    before = fleet.count("confirmations")
    payment_id = paid(fleet)
    at_once(lambda: fleet.count("confirmations") > before)
    worker.kill()
    return payment_id


def while_the_merchant_is_told(fleet: Fleet, worker: Process) -> str:
    fleet.merchant.gate.clear()
    payment_id = paid(fleet)
    at_once(lambda: fleet.merchant.ids(payment_id))
    worker.kill()
    fleet.merchant.gate.set()
    return payment_id


def after_the_confirmation(fleet: Fleet, worker: Process) -> str:
    before = fleet.count("confirmations")
    payment_id = paid(fleet)
    at_once(lambda: fleet.count("confirmations") >= before + 2)
    worker.kill()
    return payment_id


MOMENTS: dict[str, Moment] = {
    moment.__name__: moment
    for moment in (
        after_the_request,
        after_the_saga_began,
        while_the_page_is_asked_for,
        when_the_gateway_has_the_page_but_we_do_not,
        after_the_answer_was_recorded,
        while_a_lost_page_is_asked_after,
        after_the_page,
        before_the_customer_pays,
        after_the_callback,
        while_a_lost_callback_is_asked_after,
        after_the_payment_completed,
        before_the_confirmation,
        while_the_merchant_is_told,
        after_the_confirmation,
    )
}


def finish(fleet: Fleet, payment_id: str) -> None:
    """The customer pays if nobody did; everything that follows has followed."""

    def status() -> str | None:
        found = str(fleet.api.payment(payment_id)["status"])
        return None if found == "initiated" else found

    until(status)
    ref = fleet.api.payment(payment_id)["transactionRef"]
    sales = [item for item in fleet.customer.transactions(payment_id) if item["tran_ref"] == ref]
    if sales[0]["status"] is None:
        fleet.customer.pay(ref)
    fleet.api.saga_becomes(payment_id, "completed")
    until(lambda: not fleet.unread())


def assert_paid_exactly_once(fleet: Fleet, payment_id: str) -> None:
    payment = fleet.api.payment(payment_id)
    types = [event["type"] for event in fleet.api.events(payment_id)]
    assert types == ["payment.initiated", "payment.processing", "payment.completed"]
    assert payment["amountCaptured"] == payment["amount"]
    statuses = Counter(item["status"] for item in fleet.customer.transactions(payment_id))
    assert statuses["A"] == 1
    books = fleet.customer.books(payment_id)
    assert (books["charged"], books["refunded"], books["net"]) == ("149.50", "0.00", "149.50")
    told = fleet.merchant.ids(payment_id)
    confirmed = fleet.rows(
        "SELECT topic, convert_from(state, 'UTF8') FROM confirmations_events"
        " WHERE convert_from(state, 'UTF8') LIKE %s",
        f"%{payment_id.replace('-', '')}%",
    )
    assert told, confirmed
    assert len(set(told)) == 1


def asked(fleet: Fleet, payment_id: str) -> list[str]:
    """The operations asked of the gateway for a payment, in order."""
    names = ("open_page", "query_cart", "query_transaction", "refund")
    return [
        next(name for name in names if name in state)
        for topic, state in fleet.operations(payment_id)
        if topic == "Requested"
    ]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_worker_killed_at_any_moment_leaves_nothing_half_done(fleet: Fleet, moment: str) -> None:
    payment_id = MOMENTS[moment](fleet, fleet.worker())
    fleet.worker()
    finish(fleet, payment_id)
    assert_paid_exactly_once(fleet, payment_id)
    operations = asked(fleet, payment_id)
    for first, then in pairwise(operations):
        assert (first, then) != ("open_page", "open_page"), operations
    if moment == "while_the_page_is_asked_for":
        assert operations[:2] == ["open_page", "query_cart"]


def test_money_that_is_given_back_while_the_worker_dies_is_given_back_once(fleet: Fleet) -> None:
    worker = fleet.worker()
    payment_id, ref = with_page(fleet)
    fleet.api.cancel(payment_id)
    fleet.customer.behave(latency_ms=SLOW_MS, next=1, paths=["/payment/request"])
    fleet.customer.pay(ref)
    at_once(lambda: fleet.is_claimed(payment_id))
    time.sleep(SLOW_MS / 3000)
    worker.kill()
    fleet.worker()
    fleet.api.saga_becomes(payment_id, "compensated")
    books = fleet.customer.books(payment_id)
    assert (books["charged"], books["refunded"], books["net"]) == ("149.50", "149.50", "0.00")
    assert asked(fleet, payment_id).count("refund") == 1


def test_a_worker_told_to_stop_finishes_its_call_and_hands_over(fleet: Fleet) -> None:
    worker = fleet.worker()
    fleet.customer.behave(latency_ms=SLOW_MS, next=1)
    payment_id = ordered(fleet)
    at_once(lambda: fleet.is_claimed(payment_id))
    assert worker.terminate() == 0
    assert asked(fleet, payment_id) == ["open_page"]
    assert [topic for topic, _ in fleet.operations(payment_id)] == ["Requested", "Succeeded"]
    assert not fleet.is_claimed(payment_id)
    fleet.worker()
    finish(fleet, payment_id)
    assert_paid_exactly_once(fleet, payment_id)
    assert "query_cart" not in asked(fleet, payment_id)


def test_a_gateway_that_hangs_does_not_hold_up_the_answer(fleet: Fleet) -> None:
    fleet.worker()
    fleet.customer.behave(latency_ms=4000, next=1)
    began = time.monotonic()
    answer = fleet.api.create(callbackUrl=fleet.merchant.url)
    print(f"answered after {time.monotonic() - began:.2f} s; the gateway takes 4 s")
    payment = answer.json()
    assert answer.status_code == 201
    assert payment["status"] == "initiated"
    assert payment["nextAction"] is None
    assert fleet.customer.transactions(payment["paymentId"]) == []
    assert fleet.api.becomes(payment["paymentId"], "processing")["nextAction"] is not None
    finish(fleet, payment["paymentId"])
    assert_paid_exactly_once(fleet, payment["paymentId"])


def test_a_web_process_killed_in_a_create_is_asked_again_with_the_same_key(fleet: Fleet) -> None:
    fleet.worker()
    port = free_port()
    web = fleet.web(port, create_wait_ms=10_000)
    fleet.customer.behave(latency_ms=SLOW_MS, next=1)
    headers = {"Idempotency-Key": uuid4().hex}
    order = {"callbackUrl": fleet.merchant.url}
    api = Api(f"http://127.0.0.1:{port}")
    before = fleet.count("payments")
    trouble: list[Exception] = []

    def ask() -> None:
        try:
            api.create(headers, **order)
        except requests.RequestException as error:
            trouble.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    at_once(lambda: fleet.count("payments") > before)
    web.kill()
    asking.join()
    assert trouble
    again = fleet.api.create(headers, **order)
    assert again.status_code == 201
    assert again.headers["Idempotent-Replayed"] == "true"
    payment_id = again.json()["paymentId"]
    finish(fleet, payment_id)
    assert_paid_exactly_once(fleet, payment_id)
    assert len(fleet.customer.transactions(payment_id)) == 1


def many_payments(fleet: Fleet, apis: list[Api], number: int, threads: int) -> list[str]:
    """Payments made and paid by many customers at once; returns their ids."""

    def buy(index: int) -> str:
        api = Api(apis[index % len(apis)].url)
        answer = api.create({"Idempotency-Key": uuid4().hex}, callbackUrl=fleet.merchant.url)
        assert answer.status_code == 201, answer.text
        payment = answer.json()
        if payment["nextAction"] is None:
            payment = api.becomes(payment["paymentId"], "processing")
        fleet.customer.pay(payment["transactionRef"])
        return str(payment["paymentId"])

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(buy, range(number)))


def assert_all_done_exactly_once(fleet: Fleet, payment_ids: list[str]) -> None:
    for payment_id in payment_ids:
        fleet.api.saga_becomes(payment_id, "completed")
    until(lambda: not fleet.unread())
    for payment_id in payment_ids:
        assert_paid_exactly_once(fleet, payment_id)
        assert len(fleet.merchant.ids(payment_id)) == 1
        assert asked(fleet, payment_id)[0] == "open_page"


def test_two_webs_and_two_workers_share_one_database(fleet: Fleet) -> None:
    port = free_port()
    for start in (lambda: fleet.web(port), fleet.worker, fleet.worker):
        start()
    apis = [fleet.api, Api(f"http://127.0.0.1:{port}")]
    began = time.monotonic()
    payment_ids = many_payments(fleet, apis, 40, threads=6)
    assert_all_done_exactly_once(fleet, payment_ids)
    print(f"40 payments in {time.monotonic() - began:.1f} s")


def test_a_create_brings_the_page_while_the_customer_waits(fleet: Fleet) -> None:
    fleet.worker()
    fleet.api.becomes(fleet.api.create().json()["paymentId"], "processing")
    api, seconds = fleet.api, []
    for _ in range(50):
        began = time.monotonic()
        payment = api.created()
        seconds.append(time.monotonic() - began)
        assert payment["nextAction"] is not None
    half, worst = statistics.median(seconds), max(seconds)
    print(f"create: p50 {half * 1000:.0f} ms, slowest of 50 {worst * 1000:.0f} ms")


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(10))
def test_workers_killed_at_random_under_load(fleet: Fleet, round_: int) -> None:
    port = free_port()
    fleet.web(port)
    workers = [fleet.worker(), fleet.worker()]
    apis = [fleet.api, Api(f"http://127.0.0.1:{port}")]
    done = threading.Event()

    def kill_and_start() -> None:
        while not done.wait(0.7 + 0.13 * round_):
            workers.pop(0).kill()
            workers.append(fleet.worker())

    killer = threading.Thread(target=kill_and_start)
    killer.start()
    try:
        payment_ids = many_payments(fleet, apis, 60, threads=6)
    finally:
        done.set()
        killer.join()
    for payment_id in payment_ids:
        finish(fleet, payment_id)
        assert_paid_exactly_once(fleet, payment_id)


def test_what_the_merchant_was_told_is_what_happened(fleet: Fleet) -> None:
    worker = fleet.worker()
    payment_id = paid(fleet)
    finish(fleet, payment_id)
    [body] = [body for _, body in fleet.merchant.told if payment_id.encode() in body]
    completed = fleet.api.events(payment_id)[-1]
    assert json.loads(body) | {"status": None} == completed | {"status": None}
    worker.kill()


CHUNKED = (
    b"POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer admin-secret\r\n"
    b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
)


@pytest.mark.parametrize("path", [b"/v1/payments", b"/v1/webhooks/paytabs"])
@pytest.mark.parametrize(
    ("chunks", "status"),
    [
        (b"zz\r\n", 400),
        (b"5\r\nabcdefgh\r\n0\r\n\r\n", 400),
        ((b"10000\r\n" + b"x" * 0x10000 + b"\r\n") * 5 + b"0\r\n\r\n", 413),
    ],
)
def test_the_real_server_refuses_broken_and_huge_chunks(
    fleet: Fleet, path: bytes, chunks: bytes, status: int
) -> None:
    before = fleet.counts()
    with socket.create_connection(("127.0.0.1", fleet.port), timeout=30) as connection:
        connection.sendall(CHUNKED % path + chunks)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == status
    assert fleet.counts() == before
