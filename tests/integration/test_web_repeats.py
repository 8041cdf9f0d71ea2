"""The same Idempotency-Key again: whatever was asked for happens once (contract 3)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
import requests

from tests.e2e.house import ORDER, SECRETS, Api, Customer, House, house_on, until

Ask = Callable[[str, dict[str, Any]], requests.Response]
AT_ONCE = 8


@pytest.fixture(scope="module")
def home(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server, create_wait_ms=1000) as home:
        yield home


@pytest.fixture
def api(home: House) -> Api:
    return home.api


@pytest.fixture
def customer(home: House) -> Iterator[Customer]:
    """The customer of a gateway that is well again afterwards."""
    yield home.customer
    home.customer.behave_well()


@pytest.fixture
def ask(home: House) -> Ask:
    """Posts a body to a path under one key, which is new in each test."""
    key = uuid4().hex

    def post(path: str, body: dict[str, Any]) -> requests.Response:
        return home.api.request("POST", path, json=body, headers={"Idempotency-Key": key})

    return post


def opened(api: Api, **fields: Any) -> dict[str, Any]:
    """A payment whose page is there: on a busy machine `create` may be answered before it is."""
    return api.becomes(api.created(**fields)["paymentId"], "processing")


def paid(api: Api, customer: Customer, **fields: Any) -> str:
    payment = opened(api, **fields)
    customer.pay(payment["transactionRef"])
    status = "authorized" if fields.get("captureMethod") == "manual" else "completed"
    api.becomes(payment["paymentId"], status)
    api.saga_becomes(payment["paymentId"], "waiting" if status == "authorized" else "completed")
    return str(payment["paymentId"])


def assert_replayed(answer: requests.Response) -> None:
    assert answer.ok, answer.text
    assert answer.headers["Idempotent-Replayed"] == "true"


def assert_new(answer: requests.Response) -> None:
    assert answer.ok, answer.text
    assert "Idempotent-Replayed" not in answer.headers


def assert_misuse(answer: requests.Response) -> None:
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] == "idempotency_key_reused"
    assert "Idempotent-Replayed" not in answer.headers


def requests_recorded(home: House, log: str) -> int:
    return sum(event.event_type == "request.accepted" for event in home.events_of(log))


def test_a_refund_repeated_with_the_ids_in_capitals_is_one_refund(
    api: Api, customer: Customer, ask: Ask
) -> None:
    """Some libraries write the ids of RFC 9562 in capitals: the same ids."""
    payment_id = paid(api, customer)
    first = ask(f"/v1/payments/{payment_id}/refunds", {"amount": 10})
    again = ask(f"/v1/payments/{payment_id.upper()}/refunds", {"amount": 10})
    assert_new(first)
    assert_replayed(again)
    assert again.json()["refundId"] == first.json()["refundId"]
    until(lambda: [each["status"] for each in api.payment(payment_id)["refunds"]] == ["succeeded"])
    assert customer.books(payment_id)["net"] == "139.50"


def test_a_repeat_behind_another_proxy_is_a_repeat(home: House) -> None:
    """What a proxy puts in front of our paths (SCRIPT_NAME) may change at any time."""
    client = home.app.test_client()

    def create(prefix: str) -> Any:
        return client.post(
            "/v1/payments",
            json=ORDER,
            headers={"Authorization": f"Bearer {SECRETS['write']}", "Idempotency-Key": "moved"},
            environ_overrides={"SCRIPT_NAME": prefix},
        )

    assert create("").json["paymentId"] == create("/pay").json["paymentId"]


def test_a_repeated_cancellation_is_a_replay_and_another_one_a_misuse(api: Api, ask: Ask) -> None:
    payment_id = api.created()["paymentId"]
    first = ask(f"/v1/payments/{payment_id}/cancel", {"reason": "changed my mind"})
    again = ask(f"/v1/payments/{payment_id}/cancel", {"reason": "changed my mind"})
    other = ask(f"/v1/payments/{payment_id}/cancel", {"reason": "something else"})
    assert_new(first)
    assert_replayed(again)
    assert again.json()["paymentId"] == first.json()["paymentId"] == payment_id
    assert_misuse(other)
    assert api.payment(payment_id)["cancellationReason"] == "changed my mind"


def test_a_cancellation_that_changed_nothing_is_remembered_too(
    home: House, api: Api, ask: Ask
) -> None:
    payment_id = opened(api)["paymentId"]
    api.cancel(payment_id)
    before = len(api.events(payment_id))
    assert_new(ask(f"/v1/payments/{payment_id}/cancel", {"reason": "one"}))
    assert_replayed(ask(f"/v1/payments/{payment_id}/cancel", {"reason": "one"}))
    assert_misuse(ask(f"/v1/payments/{payment_id}/cancel", {"reason": "two"}))
    assert len(api.events(payment_id)) == before


def test_a_refused_command_is_not_remembered(api: Api, customer: Customer, ask: Ask) -> None:
    payment = opened(api, captureMethod="manual")
    path = f"/v1/payments/{payment['paymentId']}/capture"
    assert ask(path, {}).status_code == 409
    customer.pay(payment["transactionRef"])
    api.becomes(payment["paymentId"], "authorized")
    assert_new(ask(path, {}))


def test_a_capture_repeated_after_it_is_done_is_not_made_again(
    api: Api, customer: Customer, ask: Ask
) -> None:
    payment_id = paid(api, customer, captureMethod="manual")
    path = f"/v1/payments/{payment_id}/capture"
    assert_new(ask(path, {"amount": 10}))
    api.becomes(payment_id, "completed")
    again = ask(path, {"amount": "10.00"})
    assert_replayed(again)
    assert again.status_code == 202
    assert again.json()["status"] == "completed"
    assert_misuse(ask(path, {"amount": 11}))
    captures = [kind for kind, _, _ in customer.kinds(payment_id) if kind.lower() == "capture"]
    assert len(captures) == 1


def test_amounts_are_compared_by_value(api: Api, customer: Customer, ask: Ask) -> None:
    payment_id = paid(api, customer)
    path = f"/v1/payments/{payment_id}/refunds"
    first = ask(path, {"amount": 10})
    again = ask(path, {"amount": "10.00"})
    assert_replayed(again)
    assert again.json()["refundId"] == first.json()["refundId"]
    assert_misuse(ask(path, {"amount": "10.01"}))
    assert_misuse(ask(path, {}))


def test_no_body_is_the_same_as_an_empty_one(home: House, api: Api, ask: Ask) -> None:
    payment_id = api.created()["paymentId"]
    assert_new(ask(f"/v1/payments/{payment_id}/cancel", {}))
    headers = {"Idempotency-Key": uuid4().hex}
    assert_new(api.cancel(payment_id, headers=headers))
    assert_replayed(api.cancel(payment_id, headers=headers, json={}))


@pytest.mark.parametrize(
    ("action", "fields"), [("cancel", {}), ("capture", {"amount": 5}), ("refunds", {"amount": 5})]
)
def test_repeats_at_the_same_moment_happen_once(
    home: House, customer: Customer, action: str, fields: dict[str, Any]
) -> None:
    manual = {"captureMethod": "manual"} if action == "capture" else {}
    payment_id = (
        home.api.created()["paymentId"]
        if action == "cancel"
        else paid(home.api, customer, **manual)
    )
    headers = {"Idempotency-Key": uuid4().hex}
    path = f"/v1/payments/{payment_id}/{action}"
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(
            pool.map(
                lambda _: home.api.request("POST", path, json=fields, headers=headers),
                range(AT_ONCE),
            )
        )
    assert {answer.ok for answer in answers} == {True}, [a.text for a in answers]
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    asked = {"cancel": "cancelled", "capture": "capture_requested", "refunds": "refund_requested"}
    types = [event["type"] for event in home.api.events(payment_id)]
    assert types.count(f"payment.{asked[action]}") == 1
    if action == "refunds":
        assert len({answer.json()["refundId"] for answer in answers}) == 1
        until(lambda: customer.books(payment_id)["refunded"] == "5.00")


def test_different_bodies_at_the_same_moment_under_one_key_happen_once(
    home: House, customer: Customer
) -> None:
    payment_id = paid(home.api, customer)
    key = uuid4().hex
    with ThreadPoolExecutor(AT_ONCE) as pool:
        statuses = list(
            pool.map(
                lambda amount: home.api.refund(payment_id, key, amount=amount).status_code,
                range(1, AT_ONCE + 1),
            )
        )
    assert sorted(statuses) == [201] + [422] * (AT_ONCE - 1)
    assert len(home.api.payment(payment_id)["refunds"]) == 1


def test_a_repeat_while_the_gateway_hangs_waits_for_the_same_page(
    home: House, customer: Customer
) -> None:
    customer.behave(latency_ms=2000, paths=["/payment/request"])
    headers = {"Idempotency-Key": uuid4().hex}
    first = home.api.create(headers)
    assert first.json()["nextAction"] is None, "the gateway hangs for longer than we wait"
    again = home.api.create(headers)
    assert_replayed(again)
    payment_id = first.json()["paymentId"]
    assert again.json()["paymentId"] == payment_id
    home.api.becomes(payment_id, "processing")
    assert len(customer.transactions(payment_id)) == 1


def test_a_refund_repeated_while_the_gateway_hangs_is_one_refund(
    home: House, customer: Customer, ask: Ask
) -> None:
    payment_id = paid(home.api, customer)
    customer.behave(latency_ms=700, next=1)
    path = f"/v1/payments/{payment_id}/refunds"
    first = ask(path, {"amount": 5})
    again = ask(path, {"amount": 5})
    assert_replayed(again)
    assert again.json()["refundId"] == first.json()["refundId"]
    until(lambda: customer.books(payment_id)["refunded"] == "5.00")
    assert len(home.api.payment(payment_id)["refunds"]) == 1


@pytest.mark.parametrize("action", ["retry", "compensate"])
def test_a_repeated_word_of_an_operator_to_a_saga_is_recorded_once(
    home: House, api: Api, ask: Ask, action: str
) -> None:
    payment_id = api.created()["paymentId"]
    before = requests_recorded(home, "PaymentSagas")
    path = f"/v1/payments/{payment_id}/saga/{action}"
    assert_new(ask(path, {}))
    assert_replayed(ask(path, {}))
    assert requests_recorded(home, "PaymentSagas") == before + 1


def test_a_breaker_that_was_reset_is_not_opened_again_by_a_repeat(api: Api, ask: Ask) -> None:
    path = "/v1/circuit-breakers/paytabs"
    assert ask(f"{path}/force-open", {}).json()["state"] == "OPEN"
    assert api.request("POST", f"{path}/reset").json()["state"] == "CLOSED"
    again = ask(f"{path}/force-open", {})
    assert_replayed(again)
    assert again.json()["state"] == "CLOSED"


def test_each_api_key_repeats_its_own_requests_only(home: House, api: Api) -> None:
    payment_id = api.created()["paymentId"]
    headers = {"Idempotency-Key": uuid4().hex}
    assert_new(api.cancel(payment_id, headers=headers))
    assert_new(Api(home.url, SECRETS["write"]).cancel(payment_id, headers=headers))


def test_a_body_that_nobody_reads_is_refused_rather_than_ignored(api: Api) -> None:
    payment_id = api.created()["paymentId"]
    answer = api.request("POST", f"/v1/payments/{payment_id}/saga/retry", json={"force": True})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/force"


def changing_paths(home: House) -> list[str]:
    """Every path under /v1 that takes a POST with an API key."""
    with home.app.test_request_context():
        return [
            str(rule.rule)
            for rule in home.app.url_map.iter_rules()
            if "POST" in (rule.methods or ())
            and hasattr(home.app.view_functions[rule.endpoint], "needed_role")
        ]


def test_the_form_of_a_key_is_checked_wherever_something_is_changed(home: House, api: Api) -> None:
    paths = changing_paths(home)
    assert len(paths) >= 8
    for rule in paths:
        path = re.sub("<int:[^>]+>", "1", rule.replace("<path:name>", "paytabs"))
        path = "/".join(str(uuid4()) if part.startswith("<") else part for part in path.split("/"))
        answer = api.request("POST", path, headers={"Idempotency-Key": "x" * 256})
        assert answer.status_code == 400, path
        assert answer.json()["code"] == "invalid_idempotency_key"


def test_what_was_committed_before_a_crash_is_answered_as_a_replay(
    home: House, api: Api, customer: Customer, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment_id = paid(api, customer)
    path = f"/v1/payments/{payment_id}/refunds"

    def crash(*_: Any) -> Any:
        raise MemoryError("the answer is never written")

    with monkeypatch.context() as patch:
        patch.setattr("interface.web.payments.refund_document", crash)
        assert ask(path, {"amount": 5}).status_code == 500
    again = ask(path, {"amount": 5})
    assert_replayed(again)
    until(lambda: customer.books(payment_id)["refunded"] == "5.00")
    assert [refund["refundId"] for refund in api.payment(payment_id)["refunds"]] == [
        again.json()["refundId"]
    ]
