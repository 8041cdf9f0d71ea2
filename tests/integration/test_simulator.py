"""Pays, refunds and asks at the PayTabs simulator over real HTTP."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from interface.simulator import SimulatorServer, create_simulator
from interface.simulator.signing import sign_body
from tests.integration.simulator_merchant import (
    CONFIG,
    GOOD_CARD,
    KEY,
    WAIT_SECONDS,
    Merchant,
    Receiver,
    listening,
    status,
    until,
)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with listening() as receiver:
        yield receiver


@pytest.fixture
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer(CONFIG) as server:
        yield server


@pytest.fixture
def merchant(server: SimulatorServer) -> Merchant:
    return Merchant(server)


@pytest.fixture
def notified(server: SimulatorServer, receiver: Receiver) -> Merchant:
    return Merchant(server, receiver.url)


def test_a_sale_answers_with_a_page_to_pay_on(merchant: Merchant) -> None:
    answer = merchant.request(customer_details={"name": "Sara", "zip": 12345, "ip": None})
    body = answer.json()
    assert answer.status_code == 200
    assert body["tran_type"] == "Sale"
    assert (body["cart_amount"], body["tran_total"]) == ("149.50", "0")
    assert body["customer_details"] == {"name": "Sara", "zip": "12345"}
    assert (body["serviceId"], body["profileId"], body["merchantId"]) == (2, 90001, 7001)
    assert len(body["tran_ref"]) == 16
    assert body["tran_ref"].startswith("TST")
    base, token = body["redirect_url"].rsplit("/", 1)
    assert base == merchant.server.url + "/payment/wr"
    assert len(token) == 56
    assert token == token.upper()
    assert "payment_result" not in body
    assert "tran_currency" not in body


def test_the_link_uses_the_public_address_when_there_is_one() -> None:
    with SimulatorServer(replace(CONFIG, public_url="https://pay.example.com/")) as server:
        link = Merchant(server).request().json()["redirect_url"]
    assert link.startswith("https://pay.example.com/payment/wr/")


@pytest.mark.parametrize(
    ("currency", "sent", "answered"),
    [("SAR", "149.500", "149.50"), ("OMR", 1.5, "1.500"), ("JPY", 150, "150"), ("SAR", 7, "7.00")],
)
def test_amounts_are_answered_as_text_with_the_decimals_of_the_currency(
    merchant: Merchant, currency: str, sent: object, answered: str
) -> None:
    body = merchant.request(cart_currency=currency, cart_amount=sent).json()
    assert body["cart_amount"] == answered


def test_a_wrong_key_is_not_authenticated(merchant: Merchant) -> None:
    merchant.http.headers["Authorization"] = "Bearer " + KEY
    answer = merchant.request()
    assert answer.status_code == 401
    assert answer.json()["code"] == 1
    assert answer.json()["message"] == "Authentication failed. Check authentication header."


@pytest.mark.parametrize("profile", [90002, "x", None, True])
def test_another_profile_is_not_authenticated(merchant: Merchant, profile: object) -> None:
    answer = merchant.post("/payment/query", {"profile_id": profile, "cart_id": "a"})
    assert (answer.status_code, answer.json()["code"]) == (401, 1)


def test_the_profile_may_be_a_numeric_string(merchant: Merchant) -> None:
    assert merchant.request(profile_id="90001").status_code == 200


@pytest.mark.parametrize("currency", ["XXX", "sar", "EURO", 5])
def test_an_unknown_currency_is_refused(merchant: Merchant, currency: object) -> None:
    answer = merchant.request(cart_currency=currency)
    assert (answer.status_code, answer.json()["code"]) == (400, 206)
    assert answer.json()["trace"].startswith("PMNT")


def test_only_the_enabled_currencies_are_taken() -> None:
    with SimulatorServer(replace(CONFIG, currencies=frozenset({"AED"}))) as server:
        merchant = Merchant(server)
        assert merchant.request(cart_currency="AED").status_code == 200
        assert merchant.request(cart_currency="SAR").json()["code"] == 206


def test_the_same_request_within_two_minutes_is_a_duplicate(merchant: Merchant) -> None:
    merchant.page()
    again = merchant.request()
    assert (again.status_code, again.json()["code"]) == (409, 4)
    assert "tran_ref" not in again.json()
    merchant.page(cart_amount=149.51)
    merchant.page(cart_id="ORD-1001-a2")
    merchant.page("auth")


def test_without_a_window_nothing_is_a_duplicate() -> None:
    with SimulatorServer(replace(CONFIG, duplicate_window_seconds=0)) as server:
        merchant = Merchant(server)
        assert merchant.page() != merchant.page()


def test_too_many_queries_and_follow_ups_are_put_off() -> None:
    with SimulatorServer(replace(CONFIG, rate_limit_per_minute=2)) as server:
        merchant = Merchant(server)
        tran_ref = merchant.paid()
        merchant.query(tran_ref=tran_ref)
        merchant.follow("refund", tran_ref, 1, "r1")
        answer = merchant.request("refund", tran_ref=tran_ref, cart_amount=1, cart_id="r2")
        assert (answer.status_code, answer.json()["code"]) == (429, 5)
        assert 0 < int(answer.headers["Retry-After"]) <= 60
        assert merchant.request(cart_id="pages-are-not-counted").status_code == 200


def test_a_query_by_reference_tells_the_outcome(merchant: Merchant) -> None:
    tran_ref = merchant.page(shipping_details={"city": "Riyadh"}, customer_ref="C-1")
    unused = merchant.query(tran_ref=tran_ref)
    assert "payment_result" not in unused
    assert "redirect_url" not in unused
    merchant.control(tran_ref, "pay", GOOD_CARD)
    paid = merchant.query(tran_ref=tran_ref)
    assert status(paid)[0] == "A"
    assert paid["payment_info"]["payment_description"] == "4111 11## #### 1111"
    assert paid["shipping_details"] == {"city": "Riyadh"}
    assert (paid["tran_currency"], paid["tran_total"]) == ("SAR", "149.50")
    assert "original_tran_type" not in paid


def test_a_query_by_cart_lists_the_newest_twenty(merchant: Merchant) -> None:
    refs = [merchant.page(cart_amount=amount) for amount in range(1, 23)]
    listed = merchant.query(cart_id="ORD-1001-a1")
    assert [item["tran_ref"] for item in listed] == refs[:1:-1]
    assert listed[0]["serviceId"] == 0
    assert not listed[0].keys() & {"trace", "profileId", "merchantId", "paymentChannel"}
    assert merchant.query(cart_id="nobody-knows-it") == []


@pytest.mark.parametrize(
    ("fields", "code"),
    [({"tran_ref": "TST0000000000000"}, 113), ({}, 2), ({"tran_ref": "a", "cart_id": "b"}, 2)],
)
def test_a_query_needs_one_known_reference(
    merchant: Merchant, fields: dict[str, str], code: int
) -> None:
    answer = merchant.post("/payment/query", fields)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


def test_a_callback_is_signed_and_says_what_was_paid(
    notified: Merchant, receiver: Receiver
) -> None:
    details = {"name": "سارة", "email": "sara@example.com"}
    tran_ref = notified.paid(user_defined={"udf1": "x"}, customer_details=details)
    received = receiver.next()
    assert received.headers["Signature"] == sign_body(KEY, received.body)
    assert received.headers["User-Agent"] == "IPN/1.0"
    assert received.headers["Content-Type"] == "application/json"
    assert received.headers["Client-Key"] == CONFIG.client_key
    assert b"\n" not in received.body
    assert "سارة".encode() in received.body
    body = received.json
    assert list(body) == [
        *("tran_ref", "merchant_id", "profile_id", "cart_id", "cart_description", "cart_currency"),
        *("cart_amount", "tran_currency", "tran_total", "tran_type", "tran_class"),
        *("customer_details", "payment_result", "payment_info", "user_defined"),
        *("threeDSDetails", "ipn_trace", "paymentChannel"),
    ]
    assert body["tran_ref"] == tran_ref
    assert body["tran_class"] == "ECom"
    assert body["payment_result"]["cvv_result"] == " "
    assert body["threeDSDetails"]["threeDSVersion"] == "Test/Simulation"


def test_a_callback_is_repeated_until_it_is_answered_200(
    notified: Merchant, receiver: Receiver
) -> None:
    receiver.answers = [500, 204, 302]
    tran_ref = notified.paid()
    bodies = {receiver.next().body for _ in range(4)}
    assert len(bodies) == 1
    until(lambda: notified.tries(tran_ref) == [500, 204, 302, 200])


def test_a_callback_is_given_up_after_five_tries(notified: Merchant, receiver: Receiver) -> None:
    receiver.answers = [500] * 9
    tran_ref = notified.paid()
    until(lambda: notified.tries(tran_ref) == [500] * 5)
    other = notified.paid(cart_id="next", callback="http://127.0.0.1:1/nobody-listens")
    until(lambda: notified.tries(other) == [None] * 5)


def test_a_strict_simulator_delivers_as_little_as_paytabs_does(receiver: Receiver) -> None:
    config = replace(CONFIG, allow_plain_http_callbacks=False)
    with SimulatorServer(config) as server:
        merchant = Merchant(server, receiver.url)
        tran_ref = merchant.page(**{"return": "http://shop.example.com/back"})
        outcome = merchant.control(tran_ref, "pay", GOOD_CARD).json()
        assert merchant.tries(tran_ref) == [None]
        assert outcome["return"]["method"] == "GET"
        assert outcome["return"]["fields"] == {}
    assert receiver.inbox.empty()


def test_refunds_never_exceed_what_was_paid(merchant: Merchant) -> None:
    sale = merchant.paid()
    refund = merchant.follow("refund", sale, 100, "ORD-1001-r1")
    assert status(refund)[0] == "A"
    assert refund["tran_type"] == "Refund"
    assert refund["previous_tran_ref"] == sale
    assert (refund["serviceId"], refund["paymentChannel"]) == (1, "Transaction API")
    too_much = merchant.follow("refund", sale, 49.51, "ORD-1001-r2")
    assert status(too_much) == ("E", "903")
    assert status(merchant.follow("refund", sale, 49.5, "ORD-1001-r3"))[0] == "A"
    assert status(merchant.follow("refund", sale, 0.01, "ORD-1001-r4")) == ("E", "903")
    books = merchant.get("books", cart_id="ORD-1001-a1").json()
    assert books == {"charged": "149.50", "refunded": "149.50", "net": "0.00", "currency": "SAR"}


def test_an_auth_is_captured_in_parts_and_the_rest_released(merchant: Merchant) -> None:
    auth = merchant.paid("auth")
    capture = merchant.follow("capture", auth, 100, "c1")
    assert (capture["tran_type"], status(capture)[0]) == ("Capture", "A")
    assert status(merchant.follow("capture", auth, 50, "c2")) == ("E", "903")
    void = merchant.follow("void", auth, 49.5, "v1")
    assert (void["tran_type"], void["original_tran_type"]) == ("Release", "Void")
    assert status(merchant.follow("release", auth, 0.01, "l1")) == ("E", "903")
    assert status(merchant.follow("refund", auth, 1, "r1")) == ("E", "902")
    assert status(merchant.follow("refund", capture["tran_ref"], 100, "r2"))[0] == "A"
    assert merchant.get("books", cart_prefix="ORD-1001").json()["net"] == "0.00"


def test_a_void_of_the_whole_auth_ends_it(merchant: Merchant) -> None:
    auth = merchant.paid("auth")
    void = merchant.follow("void", auth, 149.5, "v1")
    assert (void["tran_type"], status(void)[0]) == ("Void", "A")
    assert status(merchant.query(tran_ref=auth))[0] == "V"
    assert status(merchant.follow("capture", auth, 1, "c1")) == ("E", "901")


def test_a_follow_up_needs_a_known_transaction_and_its_currency(merchant: Merchant) -> None:
    sale = merchant.paid()
    unknown = merchant.request("refund", tran_ref="TST0000000000000", cart_id="r")
    assert (unknown.status_code, unknown.json()["code"]) == (400, 113)
    other = merchant.request("refund", tran_ref=sale, cart_currency="AED", cart_id="r")
    assert (other.status_code, other.json()["code"]) == (400, 206)
    assert status(merchant.follow("capture", sale, 1, "c")) == ("E", "902")


def test_a_repeated_refund_is_a_duplicate(merchant: Merchant) -> None:
    sale = merchant.paid()
    merchant.follow("refund", sale, 10, "r1")
    again = merchant.request("refund", tran_ref=sale, cart_amount=10, cart_id="r1")
    assert again.status_code == 409


def test_a_restart_finds_yesterdays_payments(tmp_path: Path, receiver: Receiver) -> None:
    config = replace(CONFIG, data_path=tmp_path / "data" / "simulator.sqlite")
    with SimulatorServer(config) as server:
        merchant = Merchant(server, receiver.url)
        sale, open_page = merchant.paid(), merchant.page(cart_id="b")
        until(lambda: merchant.tries(sale) == [200])
        merchant.follow("refund", sale, 100, "r1")
        before = [merchant.query(tran_ref=ref) for ref in (sale, open_page)]
    with SimulatorServer(config) as server:
        merchant = Merchant(server)
        assert [merchant.query(tran_ref=ref) for ref in (sale, open_page)] == before
        assert merchant.tries(sale) == [200]
        assert status(merchant.follow("refund", sale, 50, "r2")) == ("E", "903")
        assert merchant.request(cart_id="b").status_code == 409
        assert merchant.control(open_page, "pay", GOOD_CARD).json()["status"] == "A"


def test_a_stopped_simulator_is_an_outage_that_ends(server: SimulatorServer) -> None:
    merchant = Merchant(server)
    tran_ref = merchant.page()
    server.stop()
    with pytest.raises(requests.ConnectionError):
        merchant.query(tran_ref=tran_ref)
    server.start()
    assert merchant.query(tran_ref=tran_ref)["tran_ref"] == tran_ref


def test_serve_forever_serves_until_it_is_stopped() -> None:
    server = SimulatorServer(CONFIG)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    answer = requests.get(server.url + "/healthz", timeout=WAIT_SECONDS)
    server.close()
    thread.join(WAIT_SECONDS)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert not thread.is_alive()


def test_a_taken_port_is_an_error(server: SimulatorServer) -> None:
    port = int(server.url.rsplit(":", 1)[1])
    with pytest.raises(OSError, match="in use"):
        SimulatorServer(CONFIG, port=port)


def test_many_requests_share_one_connection(server: SimulatorServer) -> None:
    with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        connection.shutdown(socket.SHUT_WR)
        answered = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answered.count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"Content-Length: 99999999", b"413"),
        (b"Content-Length: -1", b"400"),
        (b"Transfer-Encoding: chunked", b"411"),
    ],
)
def test_a_body_without_a_sane_length_is_refused(
    server: SimulatorServer, head: bytes, expected: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))) as connection:
        connection.sendall(b"POST /payment/query HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n")
        answered = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answered.split(b" ", 2)[1] == expected
    assert b"Connection: close" in answered


def test_other_methods_and_paths_are_refused_as_json(merchant: Merchant) -> None:
    url = merchant.server.url
    wrong = merchant.http.get(url + "/payment/request", timeout=WAIT_SECONDS)
    assert (wrong.status_code, wrong.json()["code"]) == (405, 2)
    assert "POST" in wrong.headers["Allow"]
    assert merchant.post("/payment/token", {}).status_code == 404


def test_concurrent_refunds_cannot_give_back_more_than_was_paid(server: SimulatorServer) -> None:
    sale = Merchant(server).paid()
    outcomes: queue.Queue[str] = queue.Queue()

    def refund(number: int) -> None:
        answer = Merchant(server).follow("refund", sale, 40, f"r{number}")
        outcomes.put(status(answer)[0])

    threads = [threading.Thread(target=refund, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert sorted(outcomes.queue) == ["A"] * 3 + ["E"] * 5
    assert Merchant(server).get("books").json()["net"] == "29.50"


def test_the_app_works_under_another_server_too() -> None:
    client = create_simulator(CONFIG).test_client()
    assert client.get("/healthz").json == {"status": "ok"}
