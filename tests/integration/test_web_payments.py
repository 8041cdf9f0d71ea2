"""Payments over HTTP with a worker and the simulator: made, shown, listed, cancelled, explained."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
import requests

from tests.e2e.house import DECLINED_CARD, Api, House, house_on, until

CLIENT = {
    "name": "سارة علي",
    "email": "sara@example.com",
    "phone": "+966500000000",
    "address": {
        "street": "1 Palm Street",
        "city": "Riyadh",
        "state": "01",
        "country": "SA",
        "zip": "11564",
    },
}


@pytest.fixture(scope="module")
def home(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server) as home:
        yield home


@pytest.fixture
def api(home: House) -> Api:
    return home.api


def test_a_payment_shows_everything_that_was_asked_for(api: Api, home: House) -> None:
    asked = {
        "amount": "149.50",
        "contractId": "C-1",
        "clientInfo": CLIENT,
        "redirectUrl": "https://shop.example.com/done?a=1",
        "callbackUrl": home.merchant.url,
        "metadata": {"order": "1001", "note": ""},
    }
    answer = api.create(**asked)
    payment = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/v1/payments/{payment['paymentId']}"
    assert answer.headers["Content-Type"] == "application/json"
    assert {name: payment[name] for name in asked if name != "amount"} == {
        name: value for name, value in asked.items() if name != "amount"
    }
    assert payment["status"] == "processing"
    assert payment["paymentMethod"] == "all"
    assert payment["captureMethod"] == "automatic"
    assert payment["gatewayProvider"] == "paytabs"
    assert payment["nextAction"]["type"] == "redirect"
    assert payment["nextAction"]["url"].startswith(home.simulator.url)
    assert payment["failure"] is None
    assert payment["cancellationReason"] is None
    assert payment["refunds"] == []
    assert payment["saga"]["status"] == "waiting"
    assert payment["version"] == 2
    assert payment["createdAt"].endswith("Z")
    assert set(payment) == {
        *("paymentId", "status", "amount", "currency", "description", "contractId", "clientInfo"),
        *("paymentMethod", "captureMethod", "redirectUrl", "callbackUrl", "metadata"),
        *("amountCaptured", "amountRefunded", "transactionRef", "gatewayProvider", "nextAction"),
        *("failure", "cancellationReason", "refunds", "saga", "version", "createdAt"),
        *("updatedAt", "correlationId"),
    }
    assert api.payment(payment["paymentId"]) == payment


def test_the_page_lives_as_long_as_the_settings_say(api: Api) -> None:
    payment = api.created()
    expires = datetime.fromisoformat(payment["nextAction"]["expiresAt"])
    opened = datetime.fromisoformat(payment["updatedAt"])
    assert timedelta(minutes=19) < expires - opened <= timedelta(minutes=20)


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        ("0.01", "SAR", "0.01"),
        ("149.5", "SAR", "149.50"),
        ("9999999999.99", "SAR", "9999999999.99"),
        ("1.005", "KWD", "1.005"),
        ("0.001", "BHD", "0.001"),
        ("100", "JPY", "100"),
        ("9999999999", "JPY", "9999999999"),
    ],
)
def test_amounts_are_answered_exactly_as_numbers(
    api: Api, amount: str, currency: str, text: str
) -> None:
    for written in (f'"{amount}"', amount):
        answer = api.request(
            "POST",
            "/v1/payments",
            data=f'{{"amount":{written},"currency":"{currency}","description":"Tea"}}',
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code == 201
        assert f'"amount":{text},' in answer.text
        shown = api.get(f"/v1/payments/{answer.json()['paymentId']}/events").text
        assert f'"amount":{text},' in shown


def test_respond_async_does_not_wait_for_the_page(api: Api) -> None:
    answer = api.create({"Prefer": "handling=lenient, Respond-Async"})
    assert answer.status_code == 202
    assert answer.headers["Preference-Applied"] == "respond-async"
    payment_id = answer.json()["paymentId"]
    assert api.becomes(payment_id, "processing")["nextAction"] is not None


def test_the_saga_can_be_seen_from_the_first_moment_on(api: Api) -> None:
    payment_id = api.create({"Prefer": "respond-async"}).json()["paymentId"]
    saga = api.get(f"/v1/payments/{payment_id}/saga").json()
    assert saga["paymentId"] == payment_id
    assert [step["name"] for step in saga["steps"]] == [
        "create_record",
        "open_at_gateway",
        "await_customer",
        "settle",
        "confirm",
    ]


def test_a_paid_payment_is_completed_and_told(api: Api, home: House) -> None:
    payment = api.created(callbackUrl=home.merchant.url)
    home.customer.pay(payment["transactionRef"])
    done = api.becomes(payment["paymentId"], "completed")
    assert done["amountCaptured"] == 149.5
    assert done["nextAction"] is None
    told = home.merchant.next().json
    assert told["type"] == "payment.completed"
    assert told["aggregateId"] == payment["paymentId"]
    saga = api.saga_becomes(payment["paymentId"], "completed")
    assert {step["status"] for step in saga["steps"]} == {"succeeded"}
    assert saga["deadlines"] == []


def test_a_declined_card_fails_the_payment_and_undoes_in_reverse(api: Api, home: House) -> None:
    payment = api.created(callbackUrl=home.merchant.url)
    home.customer.pay(payment["transactionRef"], DECLINED_CARD)
    failed = api.becomes(payment["paymentId"], "failed")
    assert failed["failure"]["code"] == "card_declined"
    assert failed["failure"]["gatewayCode"] == "310"
    assert home.merchant.next().json["type"] == "payment.failed"
    saga = api.saga_becomes(payment["paymentId"], "compensated")
    ended = {step["name"]: step["endedAt"] for step in saga["steps"]}
    assert ended["open_at_gateway"] <= ended["create_record"]
    assert saga["steps"][2]["error"] == "3DSecure authentication rejected"


def test_cancelling_before_paying_closes_the_payment_once(api: Api) -> None:
    payment_id = api.created()["paymentId"]
    first = api.cancel(payment_id, json={"reason": "out of stock"})
    again = api.cancel(payment_id, json={"reason": "another"})
    assert first.status_code == again.status_code == 200
    assert first.json()["status"] == "cancelled"
    assert again.json()["cancellationReason"] == "out of stock"
    assert again.json()["version"] == first.json()["version"]


def test_a_cancellation_needs_no_body(api: Api) -> None:
    payment_id = api.created()["paymentId"]
    answer = api.cancel(payment_id)
    assert answer.json()["cancellationReason"] == "requested_by_merchant"


def test_a_completed_payment_cannot_be_cancelled(api: Api, home: House) -> None:
    payment = api.created()
    home.customer.pay(payment["transactionRef"])
    api.becomes(payment["paymentId"], "completed")
    refusal = api.cancel(payment["paymentId"])
    assert refusal.status_code == 409
    problem = refusal.json()
    assert problem["code"] == "invalid_transition"
    assert problem["currentStatus"] == "completed"
    assert problem["allowedStatuses"] == ["authorized", "initiated", "processing"]


def test_money_that_comes_after_a_cancellation_goes_back(api: Api, home: House) -> None:
    payment = api.created()
    api.cancel(payment["paymentId"])
    home.customer.pay(payment["transactionRef"])
    until(lambda: home.customer.books(payment["paymentId"])["refunded"] == "149.50")
    assert home.customer.books(payment["paymentId"])["net"] == "0.00"
    api.saga_becomes(payment["paymentId"], "compensated")


def test_a_past_state_is_rebuilt_by_version_and_by_time(api: Api, home: House) -> None:
    payment = api.created()
    payment_id = payment["paymentId"]
    home.customer.pay(payment["transactionRef"])
    done = api.becomes(payment_id, "completed")
    assert api.payment(payment_id, version=1)["status"] == "initiated"
    assert api.payment(payment_id, version=1)["saga"]["status"] == "running"
    assert api.payment(payment_id, version=2)["status"] == "processing"
    assert api.payment(payment_id, version=3)["version"] == 3
    assert api.payment(payment_id, asOf=payment["createdAt"])["status"] == "initiated"
    assert api.payment(payment_id, asOf=payment["updatedAt"])["status"] == "processing"
    assert api.payment(payment_id, asOf=done["updatedAt"])["status"] == "completed"
    assert api.payment(payment_id, asOf="2100-01-01T00:00:00+03:00")["status"] == "completed"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"version": 9}, 404),
        ({"version": 2**62}, 404),
        ({"asOf": "2000-01-01T00:00:00Z"}, 404),
        ({"version": 0}, 422),
        ({"version": -1}, 422),
        ({"version": 2**64}, 422),
        ({"version": "x"}, 422),
        ({"asOf": "yesterday"}, 422),
        ({"asOf": "2026-01-01T00:00:00"}, 422),
        ({"version": 1, "asOf": "2100-01-01T00:00:00Z"}, 422),
        ({"verison": 1}, 422),
    ],
)
def test_a_past_that_never_was_is_refused(api: Api, query: dict[str, Any], status: int) -> None:
    payment_id = api.created()["paymentId"]
    answer = api.get(f"/v1/payments/{payment_id}", **query)
    assert answer.status_code == status
    assert answer.json()["status"] == status


def test_a_time_before_a_payment_says_since_when_there_is_one(api: Api) -> None:
    payment = api.created()
    answer = api.get(f"/v1/payments/{payment['paymentId']}", asOf="2000-01-01T00:00:00Z")
    assert answer.json()["detail"] == f"the payment was not created until {payment['createdAt']}"


def test_the_events_of_a_payment_come_page_by_page(api: Api) -> None:
    payment_id = api.created()["paymentId"]
    api.cancel(payment_id)
    path = f"/v1/payments/{payment_id}/events"
    first = api.get(path, limit=2).json()
    second = api.get(path, limit=2, cursor=first["nextCursor"]).json()
    assert [len(first["data"]), len(second["data"])] == [2, 1]
    assert second["nextCursor"] is None
    pages = [event["id"] for event in first["data"] + second["data"]]
    assert pages == [event["id"] for event in api.events(payment_id)]
    assert api.get(path, limit=101).status_code == 422
    assert api.get(path, cursor="-1").status_code == 422
    assert api.data(path, cursor=10**17) == []


def test_the_events_of_a_payment_come_in_envelopes_oldest_first(api: Api, home: House) -> None:
    payment = api.created(clientInfo=CLIENT)
    home.customer.pay(payment["transactionRef"])
    api.saga_becomes(payment["paymentId"], "completed")
    until(lambda: {e["status"] for e in api.events(payment["paymentId"])} == {"PROCESSED"})
    answer = api.get(f"/v1/payments/{payment['paymentId']}/events").json()
    assert answer["nextCursor"] is None
    events = answer["data"]
    assert [event["type"] for event in events] == [
        "payment.initiated",
        "payment.processing",
        "payment.completed",
    ]
    assert [event["aggregateVersion"] for event in events] == [1, 2, 3]
    assert events[0]["data"]["clientInfo"] == CLIENT
    assert events[0]["causationId"] is None
    assert events[1]["causationId"] is not None
    assert len({event["id"] for event in events}) == 3
    assert events[0]["timestamp"] < events[1]["timestamp"] < events[2]["timestamp"]
    assert set(events[0]) == {
        *("id", "type", "timestamp", "version", "priority", "status", "correlationId"),
        *("causationId", "aggregateId", "aggregateType", "aggregateVersion", "metadata", "data"),
    }
    completed = events[2]["data"]
    assert completed["amount"] == 149.5
    assert completed["transactionRef"] == payment["transactionRef"]
    assert isinstance(completed["processingDuration"], int)


def test_each_filter_finds_what_it_names_and_nothing_else(api: Api, home: House) -> None:
    word = uuid4().hex
    mine = api.created(
        description=f"Tea {word}", currency="KWD", amount="1.005", contractId=word, metadata={}
    )
    other = api.created(description=f"Coffee {word.upper()}", clientInfo={"name": f"Anna {word}"})
    home.customer.pay(other["transactionRef"])
    api.becomes(other["paymentId"], "completed")

    def found(**query: Any) -> list[str]:
        return [payment["paymentId"] for payment in api.data("/v1/payments", **query)]

    both = [other["paymentId"], mine["paymentId"]]
    until(lambda: found(q=word) == both and found(q=word, status="completed") == both[:1])
    assert found(q=word.upper()) == both
    assert found(q=f"anna {word}") == both[:1]
    assert found(contractId=word) == both[1:]
    assert found(transactionRef=mine["transactionRef"]) == both[1:]
    assert found(q=word, currency="KWD") == both[1:]
    assert found(q=word, status="processing") == both[1:]
    assert found(q=word, createdFrom=other["createdAt"]) == both[:1]
    assert found(q=word, createdTo=mine["createdAt"]) == both[1:]
    assert found(q=word, createdFrom=mine["createdAt"], createdTo=other["createdAt"]) == both
    assert found(q="%") == []
    assert found(contractId="'; DROP TABLE view_payments; --") == []
    until(lambda: api.data("/v1/payments", contractId=word)[0]["saga"]["status"] == "waiting")
    until(lambda: api.data("/v1/payments", contractId=word)[0]["status"] == "processing")
    listed = api.data("/v1/payments", contractId=word)[0]
    assert listed | {"saga": None} == api.payment(mine["paymentId"]) | {"saga": None}


def test_pages_of_a_list_stay_as_they_are_while_new_payments_come(api: Api) -> None:
    word = uuid4().hex
    made = [api.created(description=f"{word} {n}")["paymentId"] for n in range(5)]
    until(lambda: len(api.data("/v1/payments", q=word)) == 5)
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(3):
        query = {"cursor": cursor} if cursor else {}
        page = api.get("/v1/payments", q=word, limit=2, **query).json()
        seen += [payment["paymentId"] for payment in page["data"]]
        cursor = page["nextCursor"]
        api.created(description=f"{word} later")
    assert seen == made[::-1]
    assert cursor is None


def test_all_that_the_filters_leave_are_counted_when_that_is_asked_for(
    api: Api, home: House
) -> None:
    word = uuid4().hex
    made = [api.created(description=f"{word} {n}", currency="KWD") for n in range(3)]
    made.append(api.created(description=f"{word} mine", contractId=word))
    home.customer.pay(made[0]["transactionRef"])
    until(lambda: len(api.data("/v1/payments", q=word)) == 4)
    until(lambda: len(api.data("/v1/payments", q=word, status="completed")) == 1)

    def total(**filters: str) -> int:
        page = api.get("/v1/payments", total="true", limit=1, **filters).json()
        assert len(page["data"]) == min(1, page["total"])
        return int(page["total"])

    assert total(q=word) == 4
    assert total(q=word, currency="KWD") == 3
    assert total(q=word, status="completed") == 1
    assert total(contractId=word) == 1
    assert total(transactionRef=made[1]["transactionRef"]) == 1
    assert total(q=word, createdFrom=made[2]["createdAt"]) == 2
    assert total(q=word, createdTo=made[1]["createdAt"]) == 2
    assert total(q=f"no {word}") == 0
    page = api.get("/v1/payments", q=word, total="true", limit=3).json()
    rest = api.get("/v1/payments", q=word, total="true", cursor=page["nextCursor"]).json()
    assert (len(rest["data"]), rest["total"]) == (1, 4), "the cursor does not count"
    assert "total" not in api.get("/v1/payments", q=word).json()
    assert "total" not in api.get("/v1/payments", q=word, total="false").json()
    assert api.get("/v1/payments", total="much").status_code == 422


def test_a_page_of_exactly_all_payments_has_no_next_one(api: Api) -> None:
    word = uuid4().hex
    for _ in range(2):
        api.created(contractId=word)
    until(lambda: len(api.data("/v1/payments", contractId=word)) == 2)
    assert api.get("/v1/payments", contractId=word, limit=2).json()["nextCursor"] is None


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 101},
        {"limit": "many"},
        {"limit": "1e1"},
        {"status": "paid"},
        {"cursor": "zz"},
        {"cursor": "AAAA"},
        {"cursor": "MjAyNi0wMS0wMXxh"},
        {"createdFrom": "2026-13-01T00:00:00Z"},
        {"createdTo": "2026-01-01"},
        {"createdFrom": "1767225600"},
        {"createdTo": "-5.136621105647808e-258"},
        {"q": ""},
        {"q": "a\0b"},
        {"contractId": "\0"},
        {"transactionRef": "\0"},
        {"currency": "\0"},
        {"colour": "red"},
    ],
)
def test_a_wrong_filter_is_named(api: Api, query: dict[str, Any]) -> None:
    answer = api.get("/v1/payments", **query)
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert problem["code"] == "validation_error"
    assert problem["errors"][0]["pointer"] == f"/{next(iter(query))}"


def test_the_description_of_the_api_names_every_payment_call(home: House) -> None:
    answer = requests.get(f"{home.url}/openapi.json", timeout=10)
    described = answer.json()
    assert described["openapi"].startswith("3.1")
    assert set(described["paths"]) >= {
        "/v1/payments",
        "/v1/payments/{payment_id}",
        "/v1/payments/{payment_id}/cancel",
        "/v1/payments/{payment_id}/events",
        "/v1/payments/{payment_id}/capture",
        "/v1/payments/{payment_id}/refunds",
        "/v1/payments/{payment_id}/saga",
        "/v1/payments/{payment_id}/saga/retry",
        "/v1/payments/{payment_id}/saga/compensate",
        "/v1/circuit-breakers",
        "/v1/circuit-breakers/{name}",
        "/v1/circuit-breakers/{name}/force-open",
        "/v1/circuit-breakers/{name}/reset",
    }
    assert described["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"


def test_the_reference_page_names_every_call_and_loads_nothing_from_elsewhere(
    home: House,
) -> None:
    answer = requests.get(f"{home.url}/docs", timeout=10)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    described = requests.get(f"{home.url}/openapi.json", timeout=10).json()
    for path in described["paths"]:
        assert path in answer.text
    assert not re.search(r"(src|href)=.?https?:", answer.text)


def test_a_house_with_a_worker_is_ready(home: House) -> None:
    assert requests.get(f"{home.url}/healthz", timeout=10).json() == {"status": "ok"}
    ready = until(lambda: requests.get(f"{home.url}/readyz", timeout=10).ok)
    assert ready
    checks = requests.get(f"{home.url}/readyz", timeout=10).json()["checks"]
    assert {"database", "follower:PaymentSagas", "follower:Agenda"} <= {c["name"] for c in checks}


def test_amounts_too_long_for_floats_survive_the_whole_way(api: Api, home: House) -> None:
    answer = api.create(amount="8888888888.88", callbackUrl=home.merchant.url)
    payment = json.loads(answer.text, parse_float=Decimal)
    home.customer.pay(payment["transactionRef"])
    api.becomes(payment["paymentId"], "completed")
    told = json.loads(home.merchant.next().body, parse_float=Decimal)
    assert told["data"]["amount"] == Decimal("8888888888.88")

    def listed() -> str:
        return api.get("/v1/payments", transactionRef=payment["transactionRef"]).text

    until(lambda: payment["paymentId"] in listed())
    assert '"amount":8888888888.88,' in listed()
