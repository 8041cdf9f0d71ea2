"""Captures, refunds and operators over HTTP, with a worker and the simulator."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
import requests

from tests.e2e.house import SECRETS, Api, Customer, House, house_on, until

NOBODY = "7c1c8f3e-6f0a-4f0f-9f64-3a3f5d3f0b11"


@pytest.fixture(scope="module")
def home(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server) as home:
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
def paid(api: Api, customer: Customer) -> str:
    """A completed payment of 149.50 SAR."""
    payment = api.created()
    customer.pay(payment["transactionRef"])
    return str(api.becomes(payment["paymentId"], "completed")["paymentId"])


@pytest.fixture
def authorized(api: Api, customer: Customer) -> str:
    """A payment of 149.50 SAR that the customer authorized and that waits to be captured."""
    payment = api.created(captureMethod="manual")
    customer.pay(payment["transactionRef"])
    payment_id = str(api.becomes(payment["paymentId"], "authorized")["paymentId"])
    api.saga_becomes(payment_id, "waiting")
    return payment_id


def problem_of(answer: requests.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == code, problem
    return dict(problem)


def refunds_become(api: Api, payment_id: str, *statuses: str) -> list[dict[str, Any]]:
    """The refunds of a payment when they have these statuses."""

    def look() -> list[dict[str, Any]] | None:
        refunds = list(api.payment(payment_id)["refunds"])
        return refunds if [refund["status"] for refund in refunds] == list(statuses) else None

    return list(until(look))


def listed(api: Api, payment_id: str) -> dict[str, Any] | None:
    """The payment as the list shows it."""
    rows = api.data("/v1/payments", limit=100)
    return next((row for row in rows if row["paymentId"] == payment_id), None)


def steps_of(api: Api, payment_id: str) -> dict[str, str]:
    saga = api.get(f"/v1/payments/{payment_id}/saga").json()
    return {step["name"]: step["status"] for step in saga["steps"]}


# Refunds


def test_a_payment_is_refunded_in_full_when_no_amount_is_given(
    api: Api, customer: Customer, paid: str
) -> None:
    refund = api.refunded(paid, reason="broken")
    assert refund["status"] == "pending"
    assert refund["amount"] == 149.5
    assert refund["reason"] == "broken"
    assert refund["transactionRef"] is None
    assert set(refund) == {
        *("refundId", "amount", "status", "reason", "transactionRef", "createdAt"),
    }
    payment = api.becomes(paid, "refunded")
    [shown] = payment["refunds"]
    assert shown == {**refund, "status": "succeeded", "transactionRef": shown["transactionRef"]}
    assert payment["amountCaptured"] == payment["amountRefunded"] == 149.5
    [made] = [t for t in customer.transactions(paid) if t["tran_type"] == "Refund"]
    assert made["tran_ref"] == shown["transactionRef"]
    assert customer.books(paid)["net"] == "0.00"


def test_a_partial_refund_leaves_the_payment_completed(
    api: Api, customer: Customer, paid: str
) -> None:
    api.refunded(paid, amount="49.50")
    refunds_become(api, paid, "succeeded")
    payment = api.payment(paid)
    assert payment["status"] == "completed"
    assert payment["amountRefunded"] == 49.5
    assert customer.books(paid)["net"] == "100.00"


def test_several_refunds_add_up_to_all_of_it(api: Api, customer: Customer, paid: str) -> None:
    for amount in ("49.50", "60.00", "40.00"):
        api.refunded(paid, amount=amount)
    payment = api.becomes(paid, "refunded")
    assert [refund["amount"] for refund in payment["refunds"]] == [49.5, 60.0, 40.0]
    assert customer.books(paid)["net"] == "0.00"


def test_the_rest_is_refunded_when_no_amount_is_given(
    api: Api, customer: Customer, paid: str
) -> None:
    api.refunded(paid, amount="49.50")
    assert api.refunded(paid)["amount"] == 100.0
    api.becomes(paid, "refunded")
    assert customer.books(paid)["net"] == "0.00"


def test_equal_refunds_with_different_keys_are_two_refunds(
    api: Api, customer: Customer, paid: str
) -> None:
    ids = {api.refunded(paid, amount=10, key=uuid4().hex)["refundId"] for _ in range(2)}
    assert len(ids) == 2
    refunds_become(api, paid, "succeeded", "succeeded")
    assert customer.books(paid)["refunded"] == "20.00"


def test_a_repeated_refund_is_made_once(api: Api, customer: Customer, paid: str) -> None:
    key = uuid4().hex
    first = api.refund(paid, key, amount="10.00", reason="broken")
    refunds_become(api, paid, "succeeded")
    again = api.refund(paid, key, amount=10, reason="broken")
    assert "Idempotent-Replayed" not in first.headers
    assert again.status_code == 201
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json()["refundId"] == first.json()["refundId"]
    assert again.json()["status"] == "succeeded"
    assert customer.books(paid)["refunded"] == "10.00"


def test_a_full_refund_can_be_repeated_when_nothing_is_left(api: Api, paid: str) -> None:
    key = uuid4().hex
    first = api.refund(paid, key).json()
    api.becomes(paid, "refunded")
    again = api.refund(paid, key)
    assert again.status_code == 201
    assert again.json()["refundId"] == first["refundId"]


@pytest.mark.parametrize("other", [{"amount": 11}, {"amount": 10, "reason": "broken"}, {}])
def test_a_key_of_another_refund_is_refused(api: Api, paid: str, other: dict[str, Any]) -> None:
    key = uuid4().hex
    api.refunded(paid, key=key, amount=10)
    problem_of(api.refund(paid, key, **other), 422, "idempotency_key_reused")
    assert len(api.payment(paid)["refunds"]) == 1


def test_one_key_may_be_used_for_refunds_of_two_payments(api: Api, customer: Customer) -> None:
    key, payments = uuid4().hex, []
    for _ in range(2):
        payment = api.created()
        customer.pay(payment["transactionRef"])
        payments.append(api.becomes(payment["paymentId"], "completed")["paymentId"])
    ids = {api.refunded(payment_id, key=key, amount=1)["refundId"] for payment_id in payments}
    assert len(ids) == 2


def test_more_than_was_captured_is_not_refunded(api: Api, paid: str) -> None:
    problem = problem_of(api.refund(paid, amount="149.51"), 422, "refund_exceeds_captured")
    assert [error["pointer"] for error in problem["errors"]] == ["/amount"]
    assert "149.50" in problem["detail"]
    api.refunded(paid, amount=100)
    problem = problem_of(api.refund(paid, amount="49.51"), 422, "refund_exceeds_captured")
    assert "49.50" in problem["detail"]


def test_when_all_of_it_is_on_its_way_back_nothing_more_is_refunded(
    api: Api, customer: Customer, paid: str
) -> None:
    customer.behave(refund="pending")
    api.refunded(paid)
    problem_of(api.refund(paid), 422, "refund_exceeds_captured")
    assert len(api.payment(paid)["refunds"]) == 1


def test_refunds_at_the_same_moment_never_exceed_what_was_captured(
    api: Api, home: House, customer: Customer, paid: str
) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: home.api.refund(paid, amount=60), range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] * 2 + [422] * 6
    refunds_become(api, paid, "succeeded", "succeeded")
    assert customer.books(paid)["net"] == "29.50"


@pytest.mark.parametrize("amount", [0, -1, "0.00", "-0.01", "0.001", "10.005", "1e2"])
@pytest.mark.parametrize("call", ["capture", "refund"])
def test_an_amount_that_nobody_can_pay_is_refused(
    api: Api, paid: str, call: str, amount: Any
) -> None:
    answer = getattr(api, call)(paid, amount=amount)
    code = "validation_error" if amount == "1e2" else "invalid_amount"
    problem = problem_of(answer, 422, code)
    assert problem["errors"][0]["pointer"] == "/amount"
    assert api.payment(paid)["refunds"] == []


@pytest.mark.parametrize("body", [{"sum": 1}, {"amount": "much"}, {"amount": True}, {"reason": ""}])
def test_a_wrong_refund_is_refused(api: Api, paid: str, body: dict[str, Any]) -> None:
    problem = problem_of(api.refund(paid, **body), 422, "validation_error")
    assert problem["errors"][0]["pointer"] == f"/{next(iter(body))}"


def test_only_a_completed_payment_is_refunded(api: Api, authorized: str) -> None:
    waiting, cancelled = api.created()["paymentId"], api.created()["paymentId"]
    api.cancel(cancelled)
    for payment_id in (waiting, cancelled, authorized):
        problem = problem_of(api.refund(payment_id, amount=1), 409, "invalid_transition")
        assert problem["currentStatus"] == api.payment(payment_id)["status"]
        assert problem["allowedStatuses"] == ["completed"]
        assert api.payment(payment_id)["refunds"] == []


def test_a_refund_that_the_gateway_refuses_has_failed_and_can_be_asked_for_again(
    api: Api, customer: Customer, paid: str
) -> None:
    customer.behave(refund="decline", next=1)
    api.refunded(paid)
    refunds_become(api, paid, "failed")
    assert api.payment(paid)["status"] == "completed"
    assert api.payment(paid)["amountRefunded"] == 0
    api.refunded(paid)
    assert [r["status"] for r in api.becomes(paid, "refunded")["refunds"]] == [
        "failed",
        "succeeded",
    ]
    assert customer.books(paid)["net"] == "0.00"


def test_a_refund_whose_answer_is_lost_is_made_once(
    api: Api, customer: Customer, paid: str
) -> None:
    customer.behave(drop_after=True, next=1, paths=["/payment/request"], callback="lost")
    api.refunded(paid, amount=10)
    refunds_become(api, paid, "succeeded")
    assert customer.books(paid)["refunded"] == "10.00"


def test_a_pending_refund_succeeds_when_the_gateways_callback_says_so(
    api: Api, customer: Customer, paid: str
) -> None:
    customer.behave(refund="pending")
    api.refunded(paid)
    [refund] = until(lambda: [t for t in customer.transactions(paid) if t["status"] == "P"])
    assert api.payment(paid)["status"] == "completed"
    customer.act(refund["tran_ref"], "settle", {"outcome": "succeed"})
    assert api.becomes(paid, "refunded")["refunds"][0]["transactionRef"] == refund["tran_ref"]
    [told] = [t for t in customer.transactions(paid) if t["tran_ref"] == refund["tran_ref"]]
    assert 200 in [callback["status"] for callback in told["callbacks"]]


def test_a_refund_made_in_the_gateways_dashboard_is_taken_note_of(
    api: Api, home: House, customer: Customer
) -> None:
    payment = api.created(callbackUrl=home.merchant.url)
    payment_id = payment["paymentId"]
    customer.pay(payment["transactionRef"])
    assert home.merchant.next().json["type"] == "payment.completed"
    customer.act(payment["transactionRef"], "refund", {"amount": "49.50"})
    told = home.merchant.next().json
    assert told["type"] == "payment.refunded"
    assert told["data"]["paymentId"] == payment_id
    shown = api.payment(payment_id)
    assert (shown["status"], shown["amountRefunded"]) == ("completed", 49.5)
    [refund] = shown["refunds"]
    assert refund["status"] == "succeeded"
    problem_of(api.refund(payment_id, amount=101), 422, "refund_exceeds_captured")


def test_the_merchant_is_told_of_each_refund(api: Api, home: House, customer: Customer) -> None:
    payment = api.created(callbackUrl=home.merchant.url)
    payment_id = payment["paymentId"]
    customer.pay(payment["transactionRef"])
    assert home.merchant.next().json["type"] == "payment.completed"
    for amount, total in (("49.50", "49.5"), ("100.00", "149.5")):
        refund = api.refunded(payment_id, amount=amount, reason="broken")
        told = json.loads(home.merchant.next().body, parse_float=Decimal)
        assert told["type"] == "payment.refunded"
        assert told["data"]["refundId"] == refund["refundId"]
        assert told["data"]["amount"] == Decimal(amount)
        assert told["data"]["amountRefunded"] == Decimal(total)
        assert told["data"]["currency"] == "SAR"
        assert told["data"]["reason"] == "broken"
        assert told["data"]["refundedAt"].endswith("Z")


def test_the_list_shows_refunds_as_the_payment_does(api: Api, paid: str) -> None:
    api.refunded(paid, amount=10, reason="broken")
    refunds_become(api, paid, "succeeded")
    api.refunded(paid, amount=20)
    refunds_become(api, paid, "succeeded", "succeeded")

    def look() -> bool:
        row, payment = listed(api, paid), api.payment(paid)
        return row is not None and row == payment

    until(look)
    types = [event["type"] for event in api.events(paid)]
    assert types.count("payment.refund_requested") == types.count("payment.refunded") == 2


def test_a_dashboard_refund_is_in_the_list_too(api: Api, customer: Customer, paid: str) -> None:
    customer.act(api.payment(paid)["transactionRef"], "refund")
    api.becomes(paid, "refunded")
    until(lambda: listed(api, paid) == api.payment(paid))


# Captures


def test_a_manual_payment_is_authorized_and_its_saga_waits_with_a_step_of_its_own(
    api: Api, customer: Customer, authorized: str
) -> None:
    payment = api.payment(authorized)
    assert payment["captureMethod"] == "manual"
    assert (payment["amountCaptured"], payment["nextAction"]) == (0, None)
    assert steps_of(api, authorized) == {
        "create_record": "succeeded",
        "open_at_gateway": "succeeded",
        "await_customer": "succeeded",
        "settle": "succeeded",
        "capture": "running",
        "confirm": "pending",
    }
    saga = api.get(f"/v1/payments/{authorized}/saga").json()
    assert [deadline["name"] for deadline in saga["deadlines"]] == ["authorization"]
    assert customer.books(authorized)["charged"] == "0.00"


def test_an_automatic_payment_has_no_step_for_its_capture(api: Api, paid: str) -> None:
    assert "capture" not in steps_of(api, paid)


def test_all_of_the_authorized_money_is_captured_when_no_amount_is_given(
    api: Api, customer: Customer, authorized: str
) -> None:
    answer = api.capture(authorized)
    assert answer.status_code == 202
    assert answer.json()["paymentId"] == authorized
    payment = api.becomes(authorized, "completed")
    assert payment["amountCaptured"] == 149.5
    assert api.saga_becomes(authorized, "completed")
    assert steps_of(api, authorized)["capture"] == "succeeded"
    assert customer.kinds(authorized) == [("Auth", "A", "149.50"), ("Capture", "A", "149.50")]


def test_the_rest_of_a_partial_capture_is_let_go_at_the_gateway(
    api: Api, customer: Customer, authorized: str
) -> None:
    assert api.capture(authorized, amount="49.50").status_code == 202
    payment = api.becomes(authorized, "completed")
    assert (payment["amount"], payment["amountCaptured"]) == (149.5, 49.5)
    until(lambda: len(customer.transactions(authorized)) == 3)
    kinds = customer.kinds(authorized)
    assert kinds[:2] == [("Auth", "A", "149.50"), ("Capture", "A", "49.50")]
    assert kinds[2][0] in {"Void", "Release"}
    assert kinds[2][1:] == ("A", "100.00")
    assert customer.books(authorized)["net"] == "49.50"


def test_only_what_was_captured_can_be_refunded(
    api: Api, customer: Customer, authorized: str
) -> None:
    api.capture(authorized, amount="49.50")
    api.becomes(authorized, "completed")
    problem_of(api.refund(authorized, amount=50), 422, "refund_exceeds_captured")
    assert api.refunded(authorized)["amount"] == 49.5
    api.becomes(authorized, "refunded")
    assert customer.books(authorized)["net"] == "0.00"


def test_more_than_was_authorized_is_not_captured(api: Api, authorized: str) -> None:
    problem = problem_of(
        api.capture(authorized, amount="149.51"), 422, "capture_exceeds_authorized"
    )
    assert "149.50" in problem["detail"]
    assert api.payment(authorized)["status"] == "authorized"


def test_a_capture_asked_for_twice_is_made_once(
    api: Api, customer: Customer, authorized: str
) -> None:
    assert {api.capture(authorized).status_code for _ in range(2)} == {202}
    api.becomes(authorized, "completed")
    assert api.capture(authorized).status_code == 202
    assert [kind for kind, _, _ in customer.kinds(authorized)] == ["Auth", "Capture"]


def test_another_capture_is_refused_while_one_is_under_way(
    api: Api, customer: Customer, authorized: str
) -> None:
    customer.behave(latency_ms=700, paths=["/payment/request"], next=1)
    api.capture(authorized, amount=100)
    problem_of(api.capture(authorized, amount=50), 409, "capture_pending")
    assert api.becomes(authorized, "completed")["amountCaptured"] == 100.0


def test_a_second_capture_of_another_amount_comes_too_late(api: Api, authorized: str) -> None:
    api.capture(authorized, amount=100)
    api.becomes(authorized, "completed")
    problem = problem_of(api.capture(authorized, amount=49), 409, "invalid_transition")
    assert problem["currentStatus"] == "completed"
    assert problem["allowedStatuses"] == ["authorized"]


def test_a_payment_that_captures_itself_is_not_captured(api: Api, paid: str) -> None:
    problem = problem_of(api.capture(paid), 409, "invalid_transition")
    assert problem["currentStatus"] == "completed"
    waiting = api.created()["paymentId"]
    problem = problem_of(api.capture(waiting), 409, "invalid_transition")
    assert problem["currentStatus"] == "processing"


def test_a_capture_whose_answer_is_lost_is_made_once(
    api: Api, customer: Customer, authorized: str
) -> None:
    customer.behave(drop_after=True, next=1, paths=["/payment/request"], callback="lost")
    api.capture(authorized)
    assert api.becomes(authorized, "completed")["amountCaptured"] == 149.5
    assert customer.books(authorized)["charged"] == "149.50"


def test_cancelling_an_authorized_payment_lets_the_money_go_at_the_gateway(
    api: Api, customer: Customer, authorized: str
) -> None:
    assert api.cancel(authorized).json()["status"] == "cancelled"
    api.saga_becomes(authorized, "compensated")
    assert customer.kinds(authorized) == [("Auth", "V", "149.50"), ("Void", "A", "149.50")]
    problem = problem_of(api.capture(authorized), 409, "invalid_transition")
    assert problem["currentStatus"] == "cancelled"


def test_the_merchant_is_told_of_the_authorization_and_of_the_capture(
    api: Api, home: House, customer: Customer
) -> None:
    payment = api.created(captureMethod="manual", callbackUrl=home.merchant.url)
    customer.pay(payment["transactionRef"])
    told = home.merchant.next().json
    assert (told["type"], told["data"]["paymentId"]) == (
        "payment.authorized",
        payment["paymentId"],
    )
    api.capture(payment["paymentId"], amount=100)
    told = home.merchant.next().json
    assert (told["type"], told["data"]["amount"]) == ("payment.completed", 100.0)


# Operators


@pytest.fixture
def parked(api: Api, customer: Customer) -> str:
    """A cancelled payment that was paid late, and whose money the gateway will not give back."""
    customer.behave(refund="decline")
    payment = api.created()
    api.cancel(payment["paymentId"])
    customer.pay(payment["transactionRef"])
    api.saga_becomes(payment["paymentId"], "parked")
    customer.behave_well()
    return str(payment["paymentId"])


def test_a_parked_saga_says_why(api: Api, parked: str) -> None:
    saga = api.get(f"/v1/payments/{parked}/saga").json()
    assert "149.50 SAR" in saga["parked"]
    assert api.payment(parked)["saga"]["status"] == "parked"


@pytest.mark.parametrize("action", ["retry", "compensate"])
def test_an_operator_lets_a_parked_saga_go_on(
    api: Api, home: House, customer: Customer, parked: str, action: str
) -> None:
    answer = api.operate(parked, action)
    assert answer.status_code == 200
    assert answer.json()["parked"] is None
    assert api.saga_becomes(parked, "compensated")
    assert customer.books(parked)["net"] == "0.00"
    [resumed] = [
        event
        for event in home.events_of("PaymentSagas")
        if event.event_type == "saga.resumed" and str(event.payment_id) == parked
    ]
    assert resumed.actor == "admin"


@pytest.mark.parametrize("action", ["retry", "compensate"])
def test_a_saga_that_is_not_parked_stays_as_it_is(api: Api, paid: str, action: str) -> None:
    before = api.saga_becomes(paid, "completed")
    answer = api.operate(paid, action)
    assert (answer.status_code, answer.json()) == (200, before)


@pytest.mark.parametrize("action", ["retry", "compensate"])
@pytest.mark.parametrize("role", ["read", "write"])
def test_only_an_admin_may_operate_a_saga(home: House, parked: str, role: str, action: str) -> None:
    problem_of(Api(home.url, SECRETS[role]).operate(parked, action), 403, "forbidden")
    assert home.api.get(f"/v1/payments/{parked}/saga").json()["status"] == "parked"


@pytest.mark.parametrize("act", [lambda api: api.refund(NOBODY), lambda api: api.capture(NOBODY)])
def test_a_reader_moves_no_money(home: House, act: Callable[[Api], requests.Response]) -> None:
    problem_of(act(Api(home.url, SECRETS["read"])), 403, "forbidden")
