"""Notifications of PayTabs and the customer's way back, as the gateway and browsers send them."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit
from uuid import UUID, uuid4

import pytest
import requests

from domain.payment_saga import PaymentSaga
from domain.saga_decider import HURRIES_MAX
from interface.paytabs import sign_form
from interface.web.way_back import LOOKS_MAX
from tests.e2e.house import GOOD_CARD, Api, House, house_on, unread, until
from tests.integration.simulator_merchant import KEY

WAIT_SECONDS = 10


@pytest.fixture(scope="module")
def home(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server, reconcile_after_seconds=600) as home:
        yield home


@pytest.fixture
def api(home: House) -> Api:
    return home.api


@pytest.fixture
def payment(home: House) -> dict[str, Any]:
    """A payment whose customer has not paid, and of whose paying the gateway tells nobody."""
    home.customer.behave(callback="lost")
    return home.api.created(description="Tea <b>&</b> cake", clientInfo={"name": "Ali"})


def callback(payment: dict[str, Any], **changes: Any) -> bytes:
    """A callback body for the payment, as PayTabs writes it (section 7.1 of docs/paytabs.md)."""
    content: dict[str, Any] = {
        "tran_ref": payment["transactionRef"],
        "merchant_id": 7001,
        "profile_id": 90001,
        "cart_id": f"{payment['paymentId']}-a1",
        "cart_description": payment["description"],
        "cart_currency": "SAR",
        "cart_amount": "149.50",
        "tran_currency": "SAR",
        "tran_total": "149.50",
        "tran_type": "Sale",
        "tran_class": "ECom",
        "customer_details": {"name": "Ali", "email": "ali@example.com", "ip": "203.0.113.7"},
        "payment_result": {
            "response_status": "A",
            "response_code": "G12345",
            "response_message": "Authorised",
            "transaction_time": "2026-01-01T10:00:00Z",
        },
        "payment_info": {"payment_method": "Visa", "payment_description": "4111 11## #### 1111"},
        "ipn_trace": "IPNS0001.000001",
    }
    return json.dumps(content | changes).encode()


def webhook_events(home: House, webhook_id: str) -> list[Any]:
    return [e for e in home.events_of("Webhooks") if str(e.originator_id) == webhook_id]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"A"',
        b"{",
        b"\xff",
        b'{"tran_ref":"T","x":NaN}',
        b'{"a":' * 5000,
        b"[" * 50_000,
        b"tran_ref=TST1&signature=x",
    ],
)
def test_signed_rubbish_is_refused_and_not_recorded(home: House, body: bytes) -> None:
    before = home.recorded()
    answer = home.notify(body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == "invalid_payload"
    assert home.recorded() == before


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{}", "tran_ref is missing"),
        (b'{"a":1}', "tran_ref is missing"),
        (b'{"tran_ref":"T","tran_ref":"U"}', "an object has the same key twice"),
        (b'{"tran_ref":"T","x":' + b"[" * 9 + b"]" * 9 + b"}", "nested deeper than 8 levels"),
    ],
)
def test_a_signed_object_that_cannot_be_read_is_stored_and_has_failed(
    home: House, body: bytes, reason: str
) -> None:
    answer = home.notify(body)
    assert answer.status_code == 200, answer.text
    received, failed = webhook_events(home, answer.json()["webhookId"])
    assert (received.payment_id, received.report) == (None, None)
    assert failed.event_type == "webhook.failed"
    assert failed.reason == f"unreadable: {reason}"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tran_total": "1,000.00"}, "tran_total: an amount is not a decimal number"),
        ({"tran_currency": "ZZZ"}, "tran_total: an amount has an unknown currency"),
        ({"payment_info": "Visa"}, "payment_info is not a JSON object"),
        ({"tran_ref": None}, "tran_ref is missing"),
        ({"tran_total": "1,000.00", "cart_id": ""}, "tran_total: an amount is not a decimal"),
    ],
)
def test_an_unreadable_callback_is_found_with_its_payment(
    home: House, payment: dict[str, Any], changes: dict[str, Any], reason: str
) -> None:
    if changes.get("cart_id") == "":
        listed_by_reference(home, payment)
    answer = home.notify(callback(payment, **changes))
    assert answer.status_code == 200
    received, failed = webhook_events(home, answer.json()["webhookId"])
    assert str(received.payment_id) == payment["paymentId"]
    assert received.metadata.correlation_id == payment["correlationId"]
    assert received.payload["ipn_trace"] == "IPNS0001.000001"
    assert reason in failed.reason
    home.notify(callback(payment))
    home.api.becomes(payment["paymentId"], "completed")
    assert len(webhook_events(home, answer.json()["webhookId"])) == 2


def listed_by_reference(home: House, payment: dict[str, Any]) -> None:
    until(lambda: home.api.data("/v1/payments", transactionRef=payment["transactionRef"]))


def test_a_callback_without_a_cart_is_known_by_its_transaction(
    home: House, payment: dict[str, Any]
) -> None:
    listed_by_reference(home, payment)
    home.notify(callback(payment, cart_id=""))
    done = home.api.becomes(payment["paymentId"], "completed")
    assert done["correlationId"] == payment["correlationId"]


def test_a_callback_without_a_cart_is_known_by_the_transaction_before_it(
    home: House, payment: dict[str, Any]
) -> None:
    listed_by_reference(home, payment)
    settled = f"TST{uuid4().int % 10**13:013}"
    home.notify(
        callback(payment, cart_id="", tran_ref=settled, previous_tran_ref=payment["transactionRef"])
    )
    home.api.becomes(payment["paymentId"], "completed")


def test_a_callback_without_our_cart_is_known_by_any_earlier_transaction_of_its_payment(
    home: House,
) -> None:
    payment = home.api.created(captureMethod="manual")
    authorization = payment["transactionRef"]
    home.customer.behave(callback="normal")
    home.customer.pay(authorization, GOOD_CARD)
    home.api.becomes(payment["paymentId"], "authorized")
    home.api.capture(payment["paymentId"])
    captured = home.api.becomes(payment["paymentId"], "completed")
    assert captured["transactionRef"] != authorization
    until(lambda: not unread(home.settings.conninfo))
    released = callback(
        payment,
        cart_id="by hand",
        tran_ref=f"TST{uuid4().int % 10**13:013}",
        tran_type="Release",
        previous_tran_ref=authorization,
    )
    webhook_id = home.notify(released).json()["webhookId"]
    assert webhook_events(home, webhook_id)[0].payment_id == UUID(payment["paymentId"])


def test_the_token_of_a_card_is_stored_nowhere(home: House, payment: dict[str, Any]) -> None:
    token = "2C4652BF67A3EA33C6B590FE658078BD"
    answer = home.notify(callback(payment, token=token, customer_ref="ali@example.com"))
    received = webhook_events(home, answer.json()["webhookId"])[0]
    assert not received.payload.keys() & {"token", "customer_ref", "customer_details"}
    opened = home.app.extensions["paysaga"].applications.webhooks.vault.open(received.personal)
    assert opened.keys() == {"customer_ref", "customer_details"}


def test_the_content_type_of_a_callback_does_not_matter(
    home: House, payment: dict[str, Any]
) -> None:
    body = callback(payment)
    answer = home.notify(body, **{"Content-Type": "text/plain"})
    assert answer.status_code == 200
    home.api.becomes(payment["paymentId"], "completed")


def test_a_signed_callback_completes_the_payment(home: House, payment: dict[str, Any]) -> None:
    answer = home.notify(callback(payment))
    assert answer.status_code == 200
    done = home.api.becomes(payment["paymentId"], "completed")
    assert done["correlationId"] == payment["correlationId"]
    webhook_id = answer.json()["webhookId"]
    until(lambda: len(webhook_events(home, webhook_id)) == 2)
    received, processed = webhook_events(home, webhook_id)
    assert processed.event_type == "webhook.processed"
    assert processed.outcome == "paid"
    assert received.metadata.correlation_id == payment["correlationId"]
    assert "customer_details" not in received.payload
    assert "Signature" not in received.headers
    assert received.ip_address == "127.0.0.1"


def test_the_same_callback_again_has_no_second_effect(home: House, payment: dict[str, Any]) -> None:
    body = callback(payment)
    answers = [home.notify(body) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert len({answer.json()["webhookId"] for answer in answers}) == 1
    home.api.saga_becomes(payment["paymentId"], "completed")
    types = [event["type"] for event in home.api.events(payment["paymentId"])]
    assert types == ["payment.initiated", "payment.processing", "payment.completed"]
    until(lambda: len(webhook_events(home, answers[0].json()["webhookId"])) == 4)
    repeated = [e.event_type for e in webhook_events(home, answers[0].json()["webhookId"])]
    assert sorted(repeated) == [
        "webhook.processed",
        "webhook.received",
        "webhook.repeated",
        "webhook.repeated",
    ]


def test_repetitions_that_come_all_at_once_are_all_answered_200(
    home: House, payment: dict[str, Any]
) -> None:
    body = callback(payment)
    with ThreadPoolExecutor(20) as gateway:
        answers = list(gateway.map(home.notify, [body] * 40))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["webhookId"] for answer in answers}) == 1
    home.api.saga_becomes(payment["paymentId"], "completed")


def test_a_reworded_callback_about_the_same_money_has_no_second_effect(
    home: House, payment: dict[str, Any]
) -> None:
    home.notify(callback(payment))
    home.api.becomes(payment["paymentId"], "completed")
    home.notify(callback(payment, ipn_trace="IPNS0001.000002"))
    late_refusal = {"response_status": "D", "response_code": "300", "response_message": "No"}
    answer = home.notify(callback(payment, payment_result=late_refusal))
    until(lambda: len(webhook_events(home, answer.json()["webhookId"])) == 2)
    assert home.api.payment(payment["paymentId"])["status"] == "completed"
    assert home.api.payment(payment["paymentId"])["version"] == 3
    assert home.customer.books(payment["paymentId"])["refunded"] == "0.00"


def test_a_callback_for_nobody_we_know_is_stored_and_has_failed(home: House) -> None:
    stranger = {
        "paymentId": str(uuid4()),
        "transactionRef": "TST9999999999999",
        "description": "?",
    }
    for cart_id in (f"{stranger['paymentId']}-a1", "ORDER-1", ""):
        answer = home.notify(callback(stranger, cart_id=cart_id))
        assert answer.status_code == 200
        events = webhook_events(home, answer.json()["webhookId"])
        assert [e.event_type for e in events] == ["webhook.received", "webhook.failed"]
        assert events[1].reason == "unknown_payment"


def test_a_wrong_amount_is_not_believed_and_the_query_decides(
    home: House, payment: dict[str, Any]
) -> None:
    home.customer.pay(payment["transactionRef"])
    home.notify(callback(payment, tran_total="1.00", cart_amount="1.00"))
    done = home.api.becomes(payment["paymentId"], "completed")
    assert done["amountCaptured"] == 149.5

    def doubts() -> list[Any]:
        doubted = [e for e in home.incidents() if e.kind == "gateway_report_doubted"]
        return [e for e in doubted if e.detail["paymentId"] == payment["paymentId"]]

    assert "1.00" in until(doubts)[0].detail["reason"]
    asked = [
        e.operation
        for e in home.events_of("Gateway")
        if e.event_type == "gateway.requested" and str(e.payment_id) == payment["paymentId"]
    ]
    assert asked == ["open_page", "query_transaction"]


@pytest.mark.parametrize(
    "changes",
    [
        {"tran_total": "1.00"},
        {"tran_total": "149.51"},
        {"tran_currency": "AED"},
        {"tran_type": "Auth"},
        {"tran_type": "Gift"},
        {"cart_id": "{}-a9"},
        {"payment_result": {"response_status": "Z", "response_code": "1"}},
    ],
)
def test_a_lie_about_an_unpaid_payment_leaves_it_waiting(
    home: House, payment: dict[str, Any], changes: dict[str, Any]
) -> None:
    if "cart_id" in changes:
        changes = {"cart_id": changes["cart_id"].format(payment["paymentId"])}
    answer = home.notify(callback(payment, **changes))
    assert answer.status_code == 200
    events = until(
        lambda: (
            found if len(found := webhook_events(home, answer.json()["webhookId"])) == 2 else None
        )
    )
    assert events[1].outcome == "doubted"
    assert home.api.payment(payment["paymentId"])["status"] == "processing"
    until(lambda: any(e.detail.get("paymentId") == payment["paymentId"] for e in home.incidents()))


def test_text_that_no_database_holds_does_not_stop_the_followers(
    home: House, payment: dict[str, Any]
) -> None:
    refusal = {"response_status": "D", "response_code": "3\0", "response_message": "No\0 \ud800!"}
    answer = home.notify(callback(payment, payment_result=refusal))
    assert answer.status_code == 200
    failed = home.api.becomes(payment["paymentId"], "failed")
    assert failed["failure"]["message"] == "No\ufffd \ufffd!"
    after = home.api.created()
    until(lambda: home.api.data("/v1/payments", transactionRef=after["transactionRef"]))
    listed = home.api.data("/v1/payments", transactionRef=payment["transactionRef"])
    assert listed[0]["status"] == "failed"


# The way back


@pytest.fixture
def way_back(home: House) -> str:
    return f"{home.url}/v1/return/paytabs/"


def back(address: str, **more: Any) -> requests.Response:
    more.setdefault("data", {})
    return requests.post(address, allow_redirects=False, timeout=WAIT_SECONDS, **more)


def form_of(payment: dict[str, Any], key: str = KEY) -> dict[str, str]:
    fields = {
        "tranRef": payment["transactionRef"],
        "respStatus": "A",
        "respCode": "G12345",
        "respMessage": "Authorised",
        "cartId": f"{payment['paymentId']}-a1",
        "token": "",
        "customerEmail": "ali@example.com",
    }
    return fields | {"signature": sign_form(key, fields)}


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("is_signed", [True, False])
def test_the_browser_goes_on_to_the_shop(
    home: House, api: Api, way_back: str, method: str, is_signed: bool
) -> None:
    payment = api.created(redirectUrl="https://shop.example.com/done?order=7&x=a%20b&flag#top")
    form = form_of(payment) if is_signed else {}
    answer = requests.request(
        method,
        way_back + payment["paymentId"],
        **{"params" if method == "GET" else "data": form},  # type: ignore[arg-type]
        allow_redirects=False,
        timeout=WAIT_SECONDS,
    )
    assert answer.status_code == 303
    address = urlsplit(answer.headers["Location"])
    assert address.netloc == "shop.example.com"
    assert address.fragment == "top"
    assert address.query.startswith("order=7&x=a%20b&flag&")
    assert dict(parse_qsl(address.query)) == {
        "order": "7",
        "x": "a b",
        "paymentId": payment["paymentId"],
        "status": "processing",
    }


def test_the_way_back_settles_nothing(home: House, api: Api, way_back: str) -> None:
    payment = api.created()
    before = home.recorded()
    answer = back(way_back + payment["paymentId"], data=form_of(payment))
    assert answer.status_code == 200
    assert "being confirmed" in answer.text
    assert "Set-Cookie" not in answer.headers
    after = home.recorded()
    assert {name for name in after if after[name] != before[name]} == {"PaymentSagas"}
    assert api.payment(payment["paymentId"])["status"] == "processing"
    assert api.payment(payment["paymentId"])["version"] == payment["version"]


def next_question(home: House, payment: dict[str, Any]) -> datetime:
    saga = home.api.get(f"/v1/payments/{payment['paymentId']}/saga").json()
    due = {deadline["name"]: deadline["dueAt"] for deadline in saga["deadlines"]}
    return datetime.fromisoformat(due["reconcile"])


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_who_comes_back_before_the_callback_makes_the_saga_ask_early(
    home: House, payment: dict[str, Any], way_back: str, method: str
) -> None:
    opened_at = datetime.fromisoformat(payment["updatedAt"])
    assert next_question(home, payment) - opened_at > timedelta(seconds=500)
    address = way_back + payment["paymentId"]
    assert requests.request(method, address, timeout=WAIT_SECONDS).status_code == 200
    assert next_question(home, payment) - opened_at < timedelta(seconds=60)
    home.customer.pay(payment["transactionRef"])
    home.api.becomes(payment["paymentId"], "completed")


def test_the_page_looks_again_by_itself_for_a_while(
    home: House, payment: dict[str, Any], way_back: str
) -> None:
    address = way_back + payment["paymentId"]
    shown = back(address, data=form_of(payment)).text
    looks = 0
    while found := re.search(r'http-equiv="refresh" content="3;url=([^"]+)"', shown):
        shown = requests.get(home.url + found[1], timeout=WAIT_SECONDS).text
        looks += 1
    assert looks == LOOKS_MAX
    assert "longer than usual" in shown
    assert "<dd>processing</dd>" in shown
    home.notify(callback(payment))
    home.api.becomes(payment["paymentId"], "completed")
    assert "refresh" not in back(address).text


@pytest.mark.parametrize("look", ["-1", "x", "\u0663", "9" * 5000, "1e3", ""])
def test_an_odd_count_of_looks_is_the_last_look(
    home: House, payment: dict[str, Any], way_back: str, look: str
) -> None:
    answer = requests.get(
        way_back + payment["paymentId"], params={"look": look}, timeout=WAIT_SECONDS
    )
    assert answer.status_code == 200
    assert "refresh" not in answer.text


def test_a_stranger_at_the_way_back_makes_us_ask_so_often_only(
    home: House, payment: dict[str, Any], way_back: str
) -> None:
    saga_id = PaymentSaga.create_id(UUID(payment["paymentId"]))
    for _ in range(30):
        assert back(way_back + payment["paymentId"]).status_code == 200
    hurried = [
        event
        for event in home.events_of("PaymentSagas")
        if event.originator_id == saga_id and event.event_type == "saga.hurried"
    ]
    assert 1 <= len(hurried) <= HURRIES_MAX


def test_a_callback_is_stored_with_one_append(
    home: House, payment: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = home.context.applications.webhooks.recorder
    appended: list[int] = []
    insert = recorder.insert_events

    def counted(events: Any, **more: Any) -> Any:
        if threading.current_thread().name.startswith("Thread-") and "tracking" not in more:
            appended.append(len(events))
        return insert(events, **more)

    monkeypatch.setattr(recorder, "insert_events", counted)
    assert home.notify(callback(payment)).status_code == 200
    assert appended == [1]
    stranger = callback(payment, cart_id=f"{uuid4()}-a1", tran_ref="TST0000000000009")
    assert home.notify(stranger).status_code == 200
    assert appended == [1, 2]


def test_a_tampered_form_is_refused(api: Api, way_back: str) -> None:
    payment = api.created(redirectUrl="https://shop.example.com/")
    for form in (
        form_of(payment) | {"respStatus": "D"},
        form_of(payment, key="another-key"),
        form_of(payment) | {"signature": form_of(payment)["signature"].upper()},
        form_of(payment) | {"more": "x"},
    ):
        answer = back(way_back + payment["paymentId"], data=form)
        assert answer.status_code == 401
        assert answer.json()["code"] == "invalid_signature"


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        ("paid", "went through"),
        ("declined", "did not go through"),
        ("cancelled", "was cancelled"),
        (None, "being confirmed"),
    ],
)
def test_the_plain_page_says_how_it_ended(
    home: House, payment: dict[str, Any], way_back: str, ending: str | None, words: str
) -> None:
    if ending == "cancelled":
        home.api.cancel(payment["paymentId"])
    elif ending == "paid":
        home.notify(callback(payment))
        home.api.becomes(payment["paymentId"], "completed")
    elif ending == "declined":
        refusal = {"response_status": "D", "response_code": "300", "response_message": "No"}
        home.notify(callback(payment, payment_result=refusal))
        home.api.becomes(payment["paymentId"], "failed")
    answer = back(way_back + payment["paymentId"])
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    assert words in answer.text
    assert "Tea &lt;b&gt;&amp;&lt;/b&gt; cake" in answer.text
    assert "<b>" not in answer.text
    assert "149.50 SAR" in answer.text
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_shop_hears_how_it_ended(home: House, way_back: str) -> None:
    payment = home.api.created(redirectUrl="https://shop.example.com/done")
    home.api.cancel(payment["paymentId"])
    address = back(way_back + payment["paymentId"]).headers["Location"]
    assert parse_qs(urlsplit(address).query)["status"] == ["cancelled"]


@pytest.mark.parametrize("payment_id", ["7c1c8f3e-6f0a-4f0f-9f64-3a3f5d3f0b11", "abc", "%00"])
def test_a_way_back_to_nowhere_is_not_found(way_back: str, payment_id: str) -> None:
    answer = back(way_back + payment_id)
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
