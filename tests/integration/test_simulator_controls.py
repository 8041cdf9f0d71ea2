"""Pulls every lever of the simulator over real HTTP and watches what comes of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import requests

from interface.simulator import SimulatorServer
from interface.simulator.signing import sign_body
from tests.integration.simulator_merchant import (
    CONFIG,
    GOOD_CARD,
    HELD_CARD,
    KEY,
    PENDING_CARD,
    WAIT_SECONDS,
    Merchant,
    Receiver,
    listening,
    status,
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


def test_a_held_sale_is_an_auth_until_the_merchant_releases_it(
    notified: Merchant, receiver: Receiver
) -> None:
    tran_ref = notified.page()
    notified.control(tran_ref, "pay", HELD_CARD)
    assert receiver.next().json["payment_result"]["response_status"] == "H"
    held = notified.query(tran_ref=tran_ref)
    assert (held["tran_type"], held["original_tran_type"]) == ("Auth", "Sale")
    assert status(notified.follow("void", tran_ref, 149.5, "v1")) == ("E", "120")
    assert receiver.next().json["payment_result"]["response_code"] == "120"
    assert notified.control(tran_ref, "release", {"amount": 200}).status_code == 409
    released = notified.control(tran_ref, "release", {"amount": "100.00"}).json()
    told = receiver.next().json
    assert (told["tran_type"], told["previous_tran_ref"]) == ("Capture", tran_ref)
    assert (told["tran_ref"], told["tran_total"]) == (released["tran_ref"], "100.00")
    assert notified.control(tran_ref, "release").status_code == 409


def test_a_pending_payment_is_settled_by_a_new_sale(notified: Merchant, receiver: Receiver) -> None:
    tran_ref = notified.page()
    pending = notified.control(tran_ref, "pay", PENDING_CARD).json()
    assert (pending["tran_type"], pending["status"]) == ("Payment Request", "P")
    assert "threeDSDetails" not in receiver.next().json
    assert notified.query(tran_ref=tran_ref)["original_tran_type"] == "Sale"
    settled = notified.control(tran_ref, "settle").json()
    told = receiver.next().json
    assert (told["tran_type"], told["previous_tran_ref"]) == ("Sale", tran_ref)
    assert settled["code"] == pending["code"]
    assert notified.control(tran_ref, "settle").status_code == 409
    assert notified.get("books").json()["charged"] == "149.50"


def test_a_pending_payment_may_fail_or_expire_and_says_so(
    notified: Merchant, receiver: Receiver
) -> None:
    for cart, action, body, expected in (
        ("a", "settle", {"outcome": "decline"}, "D"),
        ("b", "expire", None, "X"),
    ):
        tran_ref = notified.page(cart_id=cart)
        notified.control(tran_ref, "pay", PENDING_CARD)
        receiver.next()
        assert notified.control(tran_ref, action, body).json()["status"] == expected
        told = receiver.next().json
        assert (told["tran_ref"], told["payment_result"]["response_status"]) == (tran_ref, expected)


def test_a_cancelled_page_says_no_payment(notified: Merchant, receiver: Receiver) -> None:
    tran_ref = notified.page()
    cancelled = notified.control(tran_ref, "cancel").json()
    assert (cancelled["status"], cancelled["code"]) == ("C", "321")
    info = receiver.next().json["payment_info"]
    assert info == {"card_scheme": "", "payment_description": "No Payment"}
    assert notified.control(tran_ref, "pay", GOOD_CARD).status_code == 409


def test_an_unused_page_expires_silently_unless_told_otherwise(
    notified: Merchant, receiver: Receiver
) -> None:
    silent, loud = notified.page(), notified.page(cart_id="b")
    assert notified.control(silent, "expire").json()["code"] == "355"
    assert notified.control(loud, "expire", {"notify": True}).json()["status"] == "X"
    assert receiver.next().json["tran_ref"] == loud
    assert notified.tries(silent) == []
    assert notified.control(silent, "expire").status_code == 409


def test_a_customer_lost_in_3ds_is_declined_and_never_returns(
    notified: Merchant, receiver: Receiver
) -> None:
    tran_ref = notified.page()
    assert notified.control(tran_ref, "abandon").json()["code"] == "345"
    assert receiver.next().json["payment_result"]["response_status"] == "D"


def test_a_refund_made_in_the_dashboard_is_told(notified: Merchant, receiver: Receiver) -> None:
    tran_ref = notified.paid()
    receiver.next()
    refund = notified.control(tran_ref, "refund", {"amount": "40"}).json()
    assert (refund["tran_type"], refund["cart_amount"]) == ("Refund", "40.00")
    told = receiver.next().json
    assert (told["paymentChannel"], told["previous_tran_ref"]) == ("Dashboard", tran_ref)
    assert notified.control(tran_ref, "refund", {"amount": 110}).status_code == 409
    assert notified.control(tran_ref, "refund").json()["cart_amount"] == "109.50"
    assert notified.control(tran_ref, "refund").status_code == 409


def test_refunds_can_be_made_to_wait_or_fail(notified: Merchant, receiver: Receiver) -> None:
    sale = notified.paid()
    receiver.next()
    notified.behave(refund="pending", next=1)
    waiting = notified.follow("refund", sale, 100, "r1")
    assert status(waiting) == ("P", "600")
    assert status(notified.follow("refund", sale, 50, "r2")) == ("E", "903")
    assert notified.control(waiting["tran_ref"], "settle").json()["status"] == "A"
    notified.behave(refund="decline")
    assert status(notified.follow("refund", sale, 1, "r3")) == ("D", "342")
    told = [receiver.next().json["payment_result"]["response_status"] for _ in range(4)]
    assert sorted(told) == ["A", "D", "E", "P"]


def test_a_lost_callback_is_never_sent(notified: Merchant, receiver: Receiver) -> None:
    notified.behave(callback="lost", next=1)
    lost, sent = notified.paid(), notified.paid(cart_id="b")
    assert receiver.next().json["tran_ref"] == sent
    assert notified.tries(lost) == []
    assert notified.get("behaviour").json() == {}


def test_a_duplicate_callback_comes_twice_the_same(notified: Merchant, receiver: Receiver) -> None:
    notified.behave(callback="duplicate")
    notified.paid()
    assert receiver.next().body == receiver.next().body


def test_a_delayed_callback_lets_later_ones_pass(notified: Merchant, receiver: Receiver) -> None:
    notified.behave(callback="delayed", callback_delay_ms=3_600_000, next=1)
    delayed, sent = notified.paid(), notified.paid(cart_id="b")
    assert receiver.next().json["tran_ref"] == sent
    assert notified.tries(delayed) == []
    notified.behave(callback="delayed", callback_delay_ms=1)
    short = notified.paid(cart_id="c")
    assert receiver.next().json["tran_ref"] == short


def test_a_callback_may_come_before_the_answer(notified: Merchant, receiver: Receiver) -> None:
    notified.behave(callback="before_answer")
    sale = notified.paid()
    assert receiver.inbox.qsize() == 1
    notified.follow("refund", sale, 1, "r1")
    assert receiver.inbox.qsize() == 2


def test_a_callback_may_name_a_wrong_amount(notified: Merchant, receiver: Receiver) -> None:
    notified.behave(callback="wrong_amount")
    notified.paid()
    received = receiver.next()
    assert received.json["tran_total"] == "150.50"
    assert received.headers["Signature"] == sign_body(KEY, received.body)


def test_a_callback_may_be_signed_wrongly(notified: Merchant, receiver: Receiver) -> None:
    notified.behave(callback="wrong_signature")
    notified.paid()
    received = receiver.next()
    assert len(received.headers["Signature"]) == 64
    assert received.headers["Signature"] != sign_body(KEY, received.body)


def test_a_connection_dropped_before_does_nothing(merchant: Merchant) -> None:
    merchant.behave(drop_before=True, next=1)
    with pytest.raises(requests.ConnectionError):
        merchant.request()
    assert merchant.get("transactions").json() == {"data": []}
    merchant.page()


def test_a_connection_dropped_after_has_done_it(notified: Merchant, receiver: Receiver) -> None:
    sale = notified.paid()
    receiver.next()
    notified.behave(drop_after=True, next=1)
    with pytest.raises(requests.ConnectionError):
        notified.request("refund", tran_ref=sale, cart_amount=10, cart_id="r1")
    assert receiver.next().json["tran_type"] == "Refund"
    assert [item["tran_type"] for item in notified.query(cart_id="r1")] == ["Refund"]


def test_a_status_is_answered_without_doing_it(merchant: Merchant) -> None:
    merchant.behave(status=503, next=2)
    assert merchant.request().status_code == 503
    assert merchant.get("behaviour").json() == {"status": 503, "next": 1}
    assert merchant.request().json()["code"] == 400
    merchant.behave(status=429)
    assert merchant.request().headers["Retry-After"] == "1"
    merchant.behave(status=204)
    assert merchant.request().content == b""
    merchant.behave(status=502, malformed=True)
    assert merchant.request().headers["Content-Type"].startswith("text/html")
    assert merchant.get("transactions").json() == {"data": []}


def test_a_malformed_answer_hides_what_was_done(merchant: Merchant) -> None:
    merchant.behave(malformed=True, next=1)
    answer = merchant.request()
    assert answer.status_code == 200
    assert answer.text.startswith("<!doctype html>")
    assert len(merchant.get("transactions").json()["data"]) == 1
    merchant.behave(status=500, perform=True, next=1)
    assert merchant.request(cart_id="b").status_code == 500
    assert len(merchant.get("transactions").json()["data"]) == 2


def test_faults_keep_to_their_paths(merchant: Merchant) -> None:
    merchant.behave(status=500, paths=["/payment/query"])
    tran_ref = merchant.page()
    assert merchant.post("/payment/query", {"tran_ref": tran_ref}).status_code == 500
    url = merchant.server.url + "/_simulator/behaviour"
    assert merchant.http.delete(url, timeout=WAIT_SECONDS).json() == {}
    assert merchant.query(tran_ref=tran_ref)["tran_ref"] == tran_ref


def test_a_slow_gateway_outlasts_an_impatient_client(merchant: Merchant) -> None:
    merchant.behave(latency_ms=2000, next=1)
    with pytest.raises(requests.ReadTimeout):
        merchant.http.post(merchant.server.url + "/payment/query", json={}, timeout=0.1)


@pytest.mark.parametrize(
    "wishes",
    [
        {"latency": 5},
        {"latency_ms": -1},
        {"latency_ms": 1.5},
        {"status": True},
        {"status": 99},
        {"malformed": "yes"},
        {"next": 0},
        {"paths": []},
        {"paths": ["/healthz"]},
        {"callback": "never"},
        {"callback_delay_ms": "1"},
        {"refund": "maybe"},
    ],
)
def test_an_unknown_wish_is_refused(merchant: Merchant, wishes: dict[str, object]) -> None:
    answer = merchant.behave(**wishes)
    assert answer.status_code == 400
    assert next(iter(wishes)) in answer.json()["error"]


def test_controls_refuse_what_they_do_not_know(merchant: Merchant) -> None:
    tran_ref = merchant.page()
    for action, body, expected in (
        ("pay", {"card": "4111111111111112", "cvv": "123"}, 400),
        ("pay", {"card": "4111111111111111"}, 400),
        ("pay", GOOD_CARD | {"pin": "1"}, 400),
        ("explode", None, 400),
        ("expire", {"notify": "yes"}, 400),
        ("settle", {"outcome": "maybe"}, 400),
        ("settle", None, 409),
        ("release", None, 409),
        ("refund", {"amount": "abc"}, 400),
        ("refund", {"amount": 1}, 409),
        ("cancel", [], 400),
    ):
        answer = merchant.control(tran_ref, action, body)
        assert answer.status_code == expected, (action, body, answer.text)
        assert answer.json()["error"]
    assert merchant.control("TST0000000000000", "cancel").status_code == 404
    assert merchant.get("transactions/TST0000000000000").status_code == 404
    assert merchant.get("nothing").status_code == 404


def test_transactions_are_listed_newest_first(merchant: Merchant) -> None:
    first, second = merchant.page(), merchant.paid(cart_id="b")
    listed = merchant.get("transactions").json()["data"]
    assert [item["tran_ref"] for item in listed] == [second, first]
    assert [item["status"] for item in listed] == ["A", None]
    assert listed[1].keys() == {
        *("tran_ref", "previous_tran_ref", "tran_type", "cart_id", "cart_amount"),
        *("cart_currency", "status", "code", "message", "created_at", "page_url", "callbacks"),
    }
    only = merchant.get("transactions", cart_id="b").json()["data"]
    assert [item["tran_ref"] for item in only] == [second]


def test_books_of_several_currencies_ask_which(merchant: Merchant) -> None:
    merchant.paid()
    merchant.paid(cart_currency="OMR", cart_amount=1.5)
    assert merchant.get("books").status_code == 400
    assert merchant.get("books", currency="OMR").json()["net"] == "1.500"
    assert merchant.get("books", cart_id="nothing").json()["net"] == "0.00"


def test_without_controls_there_is_nothing_to_control() -> None:
    with SimulatorServer(replace(CONFIG, controls_enabled=False)) as server:
        merchant = Merchant(server)
        assert merchant.get("transactions").status_code == 404
        assert merchant.behave(status=500).status_code == 404
        assert merchant.control(merchant.page(), "pay", GOOD_CARD).status_code == 404
