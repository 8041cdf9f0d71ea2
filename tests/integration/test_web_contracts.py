"""Contracts over HTTP, with a worker and the simulator."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import requests

from tests.e2e.house import Api, Customer, House, house_on, until


@pytest.fixture(scope="module")
def home(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server) as home:
        yield home


@pytest.fixture
def api(home: House) -> Api:
    return home.api


@pytest.fixture
def customer(home: House) -> Customer:
    return home.customer


def day(offset: int) -> str:
    """A day so many days from today (UTC)."""
    return (datetime.now(UTC).date() + timedelta(days=offset)).isoformat()


def request_for(**changes: Any) -> dict[str, Any]:
    """A contract with one instalment due and one to come."""
    return {
        "description": "Rent",
        "currency": "SAR",
        "clientInfo": {"name": "Ada Example", "email": "ada@example.com"},
        "payee": {"id": f"payee-{uuid4()}", "name": "Landlord"},
        "platformFeePercent": "2.5",
        "instalments": [
            {"dueOn": day(0), "amount": "100.01"},
            {"dueOn": day(30), "amount": 50},
        ],
    } | changes


def agree(api: Api, key: str | None = None, **changes: Any) -> requests.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return api.request("POST", "/v1/contracts", json=request_for(**changes), headers=headers)


def agreed(api: Api, **changes: Any) -> dict[str, Any]:
    answer = agree(api, **changes)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def shown(api: Api, contract_id: str) -> dict[str, Any]:
    return dict(api.get(f"/v1/contracts/{contract_id}").json())


def first_page(api: Api, contract_id: str) -> dict[str, Any]:
    """The first instalment as soon as it shows the address of its hosted page."""

    def look() -> dict[str, Any] | None:
        instalment = shown(api, contract_id)["instalments"][0]
        return instalment if instalment["nextAction"] else None

    return dict(until(look))


def test_an_instalment_that_is_due_shows_its_payment_and_its_page(api: Api) -> None:
    contract = agreed(api)
    assert contract["status"] == "active"
    instalment = first_page(api, contract["contractId"])
    assert instalment["status"] == "due"
    payment = api.payment(instalment["paymentId"])
    assert payment["contractId"] == contract["contractId"]
    assert payment["nextAction"] == instalment["nextAction"]
    assert payment["clientInfo"]["name"] == "Ada Example"
    second = shown(api, contract["contractId"])["instalments"][1]
    assert (second["status"], second["paymentId"], second["overdue"]) == ("scheduled", None, False)


def test_earnings_are_shown_per_payment_and_in_all(api: Api, customer: Customer) -> None:
    contract = agreed(api)
    payment_id = first_page(api, contract["contractId"])["paymentId"]
    customer.pay(api.payment(payment_id)["transactionRef"])
    api.becomes(payment_id, "completed")
    path = f"/v1/contracts/{contract['contractId']}/earnings"
    brought = {"currency": "SAR", "gross": 100.01, "platformFee": 2.50, "net": 97.51}
    earnings = until(lambda: api.get(path).json()["payments"])
    assert earnings == [{"paymentId": payment_id, **brought}]
    assert api.get(path).json()["totals"] == [brought]
    [mine] = api.data("/v1/earnings", payeeId=contract["payee"]["id"])
    assert mine == {"payeeId": contract["payee"]["id"], "payments": 1, **brought}
    api.refunded(payment_id)
    nothing = {"currency": "SAR", "gross": 0, "platformFee": 0, "net": 0}
    until(lambda: api.get(path).json()["totals"] == [nothing])


def test_what_a_payee_earns_is_added_up_per_currency(api: Api, customer: Customer) -> None:
    payee = {"id": f"payee-{uuid4()}", "name": "Landlord"}
    for currency, amount in (("SAR", 100), ("SAR", "0.01"), ("KWD", "10.005")):
        contract = agreed(
            api,
            payee=payee,
            currency=currency,
            platformFeePercent=10,
            instalments=[{"dueOn": day(0), "amount": amount}],
        )
        payment_id = first_page(api, contract["contractId"])["paymentId"]
        customer.pay(api.payment(payment_id)["transactionRef"])
        api.becomes(payment_id, "completed")
        if amount == 100:
            api.refunded(payment_id, amount=25)
    wanted = [
        {"currency": "KWD", "gross": 10.005, "platformFee": 1.001, "net": 9.004, "payments": 1},
        {"currency": "SAR", "gross": 75.01, "platformFee": 7.5, "net": 67.51, "payments": 2},
    ]

    def look() -> bool:
        found = api.data("/v1/earnings", payeeId=payee["id"])
        told = [{name: row[name] for name in wanted[0]} for row in found]
        return sorted(told, key=lambda row: str(row["currency"])) == wanted

    until(look)


def test_an_instalment_of_an_earlier_day_that_is_not_paid_is_overdue(api: Api) -> None:
    contract = agreed(api, instalments=[{"dueOn": day(-1), "amount": 10}])
    instalment = first_page(api, contract["contractId"])
    assert (instalment["status"], instalment["overdue"]) == ("due", True)
    api.cancel(instalment["paymentId"])
    until(lambda: shown(api, contract["contractId"])["instalments"][0]["status"] == "unpaid")
    assert shown(api, contract["contractId"])["instalments"][0]["overdue"] is True


def test_an_instalment_is_overdue_before_a_worker_has_seen_it(api: Api) -> None:
    [instalment] = agreed(api, instalments=[{"dueOn": "2020-02-29", "amount": 10}])["instalments"]
    assert (instalment["status"], instalment["overdue"]) == ("scheduled", True)


def test_a_repeated_request_is_the_same_contract(api: Api) -> None:
    key, body = str(uuid4()), request_for()
    answers = [
        api.request("POST", "/v1/contracts", json=body, headers={"Idempotency-Key": key})
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json()["contractId"] == answers[1].json()["contractId"]
    assert answers[1].headers["Idempotent-Replayed"] == "true"
    misuse = agree(api, key, description="Another")
    assert (misuse.status_code, misuse.json()["code"]) == (422, "idempotency_key_reused")


def test_repeats_at_the_same_moment_make_one_contract(api: Api) -> None:
    key, body = str(uuid4()), request_for()
    headers = {"Idempotency-Key": key}
    with ThreadPoolExecutor(8) as pool:
        asked = [
            pool.submit(api.request, "POST", "/v1/contracts", json=body, headers=headers)
            for _ in range(8)
        ]
    answers = [each.result() for each in asked]
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["contractId"] for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    payee = body["payee"]["id"]
    until(lambda: api.data("/v1/contracts", payeeId=payee))
    assert len(api.data("/v1/contracts", payeeId=payee)) == 1


def test_a_contract_id_is_given_once(api: Api) -> None:
    mine = f"rent-{uuid4()}"
    assert agreed(api, contractId=mine)["contractId"] == mine
    again = agree(api, contractId=mine)
    assert (again.status_code, again.json()["code"]) == (409, "contract_exists")


def test_cancelling_calls_off_the_open_payment(api: Api) -> None:
    contract = agreed(api)
    payment_id = first_page(api, contract["contractId"])["paymentId"]
    path = f"/v1/contracts/{contract['contractId']}/cancel"
    for _ in range(2):
        answer = api.request("POST", path, json={"reason": "moved out"})
        assert answer.status_code == 200
        assert answer.json()["cancellationReason"] == "moved out"
    payment = api.becomes(payment_id, "cancelled")
    assert payment["cancellationReason"] == "contract_cancelled"
    statuses = [each["status"] for each in shown(api, contract["contractId"])["instalments"]]
    assert statuses == ["cancelled", "cancelled"]


def test_a_failed_instalment_is_asked_for_again(api: Api) -> None:
    contract = agreed(api)
    path = f"/v1/contracts/{contract['contractId']}"
    first = first_page(api, contract["contractId"])
    early = api.request("POST", f"{path}/instalments/2/payments")
    assert (early.status_code, early.json()["code"]) == (409, "invalid_transition")
    api.cancel(first["paymentId"])
    until(lambda: shown(api, contract["contractId"])["instalments"][0]["status"] == "unpaid")
    again = api.request("POST", f"{path}/instalments/1/payments")
    assert again.status_code == 202, again.text
    assert first_page(api, contract["contractId"])["paymentId"] != first["paymentId"]


def test_contracts_are_listed_newest_first_page_by_page(api: Api) -> None:
    payee = {"id": f"payee-{uuid4()}", "name": "Landlord"}
    made = [agreed(api, payee=payee)["contractId"] for _ in range(3)]
    until(lambda: len(api.data("/v1/contracts", payeeId=payee["id"])) == len(made))
    first = api.get("/v1/contracts", payeeId=payee["id"], limit=2).json()
    rest = api.get("/v1/contracts", payeeId=payee["id"], limit=2, cursor=first["nextCursor"]).json()
    assert [each["contractId"] for each in first["data"] + rest["data"]] == made[::-1]
    assert rest["nextCursor"] is None


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"instalments": []}, "/instalments"),
        ({"instalments": [{"dueOn": "soon", "amount": "1.00"}]}, "/instalments/0/dueOn"),
        ({"instalments": [{"dueOn": 0, "amount": "1.00"}]}, "/instalments/0/dueOn"),
        ({"instalments": [{"dueOn": "86400", "amount": "1.00"}]}, "/instalments/0/dueOn"),
        (
            {"instalments": [{"dueOn": "2027-01-01T00:00:00+05:00", "amount": "1.00"}]},
            "/instalments/0/dueOn",
        ),
        ({"instalments": [{"dueOn": "2027-02-29", "amount": "1.00"}]}, "/instalments/0/dueOn"),
        ({"platformFeePercent": 101}, "/platformFeePercent"),
        ({"platformFeePercent": "2.55555"}, "/platformFeePercent"),
        ({"contractId": "a/b"}, "/contractId"),
        ({"payee": {"id": "p"}}, "/payee/name"),
        ({"instalments": [{"dueOn": "2026-01-01", "amount": "1.001"}]}, "/instalments/0/amount"),
        ({"currency": "XXX"}, "/currency"),
        ({"surprise": 1}, "/surprise"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(
    api: Api, changes: dict[str, Any], pointer: str
) -> None:
    answer = agree(api, **changes)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer


def test_each_instalment_that_cannot_be_paid_is_named(api: Api) -> None:
    amounts = ("100", "0", "-1", "1.001", "9999999999.995", "10000000000")
    terms = [{"dueOn": day(30), "amount": amount} for amount in amounts]
    answer = agree(api, instalments=terms)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "invalid_amount")
    wrong = {error["pointer"]: error["detail"] for error in problem["errors"]}
    assert list(wrong) == [f"/instalments/{number}/amount" for number in range(1, len(amounts))]
    assert "SAR has 2 decimals" in wrong["/instalments/3/amount"]
    assert "at most 9999999999.99" in wrong["/instalments/5/amount"]
    assert problem["detail"].startswith("/instalments/1/amount: the amount must be above 0")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("POST", "/cancel"),
        ("POST", "/instalments/1/payments"),
        ("GET", "/earnings"),
    ],
)
def test_an_unknown_contract_is_not_found(api: Api, method: str, path: str) -> None:
    answer = api.request(method, f"/v1/contracts/nobody{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_an_unknown_instalment_is_not_found(api: Api) -> None:
    contract = agreed(api)
    path = f"/v1/contracts/{contract['contractId']}/instalments/9/payments"
    answer = api.request("POST", path)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_instalment")
