"""Confirmations over HTTP: listed, shown, told again; each host behind a breaker of its own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.e2e.house import SECRETS, Api, House, free_port, house_on, until
from tests.integration.cli_kit import run
from tests.integration.simulator_merchant import listening

PATH = "/v1/confirmations"


@pytest.fixture(scope="module")
def home(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server, breaker_reset_timeout_ms=600_000) as home:
        yield home


@pytest.fixture
def api(home: House) -> Api:
    return home.api


def cancelled(api: Api, callback_url: str) -> str:
    """A payment whose merchant has one thing to be told."""
    answer = api.create({"Prefer": "respond-async"}, callbackUrl=callback_url)
    payment_id = str(answer.json()["paymentId"])
    assert api.cancel(payment_id).status_code == 200
    return payment_id


def confirmation(api: Api, payment_id: str, **expected: Any) -> dict[str, Any]:
    """The payment's one confirmation, as soon as it is as expected."""

    def look() -> dict[str, Any] | None:
        for found in api.data(PATH, paymentId=payment_id):
            if all(found[name] == value for name, value in expected.items()):
                return found
        return None

    return dict(until(look))


def test_a_confirmation_is_listed_with_what_came_of_it(api: Api, home: House) -> None:
    payment_id = cancelled(api, home.merchant.url)
    found = confirmation(api, payment_id, status="delivered")
    [event] = [e for e in api.events(payment_id) if e["type"] == "payment.cancelled"]
    assert found["eventId"] == event["id"]
    assert found["eventType"] == "payment.cancelled"
    assert found["url"] == home.merchant.url
    assert (found["attempts"], found["nextAttemptAt"]) == (1, None)
    assert found["lastAttempt"]["statusCode"] == 200
    assert found["lastAttempt"]["error"] is None


def test_a_confirmation_is_shown_with_all_its_attempts(api: Api, home: House) -> None:
    with listening() as receiver:
        receiver.answers.append(500)
        payment_id = cancelled(api, receiver.url)
        failed = confirmation(api, payment_id, attempts=1)
        assert (failed["status"], failed["lastAttempt"]["error"]) == ("pending", "HTTP 500")
        confirmation(api, payment_id, status="delivered")
    shown = api.get(f"{PATH}/{failed['confirmationId']}")
    assert shown.status_code == 200
    history = shown.json()["history"]
    assert [(each["attempt"], each["statusCode"]) for each in history] == [(1, 500), (2, 200)]
    row = confirmation(api, payment_id)
    assert {name: shown.json()[name] for name in row} == row


def test_the_list_is_filtered_and_paged(api: Api, home: House) -> None:
    ids = {cancelled(api, home.merchant.url) for _ in range(3)}
    for payment_id in ids:
        confirmation(api, payment_id, status="delivered")
    first = api.get(PATH, status="delivered", limit=2).json()
    rest = api.get(PATH, status="delivered", limit=100, cursor=first["nextCursor"]).json()
    listed = [*first["data"], *rest["data"]]
    assert len(first["data"]) == 2
    assert ids <= {each["paymentId"] for each in listed}
    assert {each["status"] for each in listed} == {"delivered"}
    moments = [each["createdAt"] for each in listed]
    assert moments == sorted(moments, reverse=True)
    assert len({each["confirmationId"] for each in listed}) == len(listed)
    assert api.data(PATH, paymentId=str(uuid4())) == []


@pytest.mark.parametrize(
    "query",
    [{"status": "lost"}, {"paymentId": "x"}, {"limit": 0}, {"cursor": "x"}, {"unknown": "1"}],
)
def test_a_filter_that_cannot_be_is_refused(api: Api, query: dict[str, Any]) -> None:
    assert api.get(PATH, **query).status_code == 422


def test_a_confirmation_can_be_delivered_again(api: Api, home: House) -> None:
    with listening() as receiver:
        payment_id = cancelled(api, receiver.url)
        found = confirmation(api, payment_id, status="delivered")
        first = receiver.next()
        answer = api.request("POST", f"{PATH}/{found['confirmationId']}/redeliver")
        assert answer.status_code == 202
        assert answer.json()["confirmationId"] == found["confirmationId"]
        second = receiver.next()
        assert second.body == first.body
        assert second.headers["webhook-id"] == first.headers["webhook-id"]
        assert confirmation(api, payment_id, attempts=2)["status"] == "delivered"


def test_the_same_key_delivers_again_once(api: Api, home: House) -> None:
    with listening() as receiver:
        payment_id = cancelled(api, receiver.url)
        path = f"{PATH}/{confirmation(api, payment_id, status='delivered')['confirmationId']}"
        key = {"Idempotency-Key": str(uuid4())}
        first = api.request("POST", f"{path}/redeliver", headers=key)
        confirmation(api, payment_id, attempts=2, status="delivered")
        second = api.request("POST", f"{path}/redeliver", headers=key)
        assert (first.status_code, second.status_code) == (202, 202)
        assert "Idempotent-Replayed" not in first.headers
        assert second.headers["Idempotent-Replayed"] == "true"
        assert len(api.get(path).json()["history"]) == 2


def test_what_failed_since_a_time_is_told_again(api: Api, home: House) -> None:
    since = datetime.now(UTC)
    with listening() as receiver:
        receiver.answers.extend([410, 410])
        gone = [cancelled(api, receiver.url) for _ in range(2)]
        for payment_id in gone:
            confirmation(api, payment_id, status="exhausted")
        later = (since + timedelta(hours=1)).isoformat()
        asked = [
            api.request("POST", f"{PATH}/redeliver", json={"since": moment}).json()
            for moment in (later, since.isoformat())
        ]
        assert asked == [
            {"redelivered": 0, "hasMore": False},
            {"redelivered": 2, "hasMore": False},
        ]
        for payment_id in gone:
            assert confirmation(api, payment_id, status="delivered")["attempts"] == 2


@pytest.mark.parametrize("body", [{}, {"since": "yesterday"}, {"since": "2026-01-01T00:00:00"}])
def test_a_time_that_is_none_is_refused(api: Api, body: dict[str, str]) -> None:
    assert api.request("POST", f"{PATH}/redeliver", json=body).status_code == 422


def test_roles_are_kept_apart(home: House) -> None:
    unknown = f"{PATH}/{uuid4()}/redeliver"
    read, write = Api(home.url, SECRETS["read"]), Api(home.url, SECRETS["write"])
    assert read.get(PATH).status_code == 200
    assert read.request("POST", unknown).status_code == 403
    assert write.request("POST", unknown).status_code == 404
    since = {"since": datetime.now(UTC).isoformat()}
    assert write.request("POST", f"{PATH}/redeliver", json=since).status_code == 403
    assert Api(home.url, None).get(PATH).status_code == 401


def test_a_confirmation_that_is_unknown_is_not_found(api: Api) -> None:
    answer = api.get(f"{PATH}/{uuid4()}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "confirmation" in answer.json()["detail"]


def test_what_was_given_up_is_seen_in_readyz_and_is_no_reason_to_be_unready(
    api: Api, home: House
) -> None:
    with listening() as receiver:
        receiver.answers.append(410)
        confirmation(api, cancelled(api, receiver.url), status="exhausted")
    [check] = [c for c in api.get("/readyz").json()["checks"] if c["name"] == "confirmations"]
    assert check["ok"]
    assert int(check["detail"].split(" exhausted")[0]) >= 1


def test_a_dead_host_has_a_breaker_that_opens_is_recorded_and_costs_no_attempt(
    api: Api, home: House
) -> None:
    port = free_port()
    name = f"callback:127.0.0.1:{port}"
    payments = [cancelled(api, f"http://127.0.0.1:{port}/callback") for _ in range(30)]

    def shown() -> dict[str, Any]:
        answer = api.get(f"/v1/circuit-breakers/{name}")
        return dict(answer.json()) if answer.ok else {"state": None}

    until(lambda: shown()["state"] == "OPEN")
    assert shown()["configuration"]["name"] == name
    until(lambda: name in [breaker["name"] for breaker in api.data("/v1/circuit-breakers")])
    checks = {check["name"]: check for check in api.get("/readyz").json()["checks"]}
    assert checks[f"breaker:{name}"] == {"name": f"breaker:{name}", "ok": True, "detail": "OPEN"}
    assert api.payment(payments[0])["status"] == "cancelled"
    healthy = cancelled(api, home.merchant.url)
    confirmation(api, healthy, status="delivered")
    pending = [confirmation(api, payment_id) for payment_id in payments]
    assert {each["status"] for each in pending} == {"pending"}
    assert any(each["attempts"] == 0 for each in pending)


# By the command line


def test_the_command_line_lists_and_redelivers(api: Api, home: House) -> None:
    env = {"PAYSAGA_URL": home.url, "PAYSAGA_API_KEY": SECRETS["admin"]}
    since = datetime.now(UTC).isoformat()
    with listening() as receiver:
        receiver.answers.append(410)
        payment_id = cancelled(api, receiver.url)
        found = confirmation(api, payment_id, status="exhausted")
        listed = run("confirmations", "list", "--payment", payment_id, env=env)
        assert listed.exit_code == 0
        assert found["confirmationId"] in listed.output
        assert "exhausted" in listed.output
        again = run("confirmations", "redeliver", "--since", since, "--json", env=env)
        assert (again.exit_code, again.output.strip()) == (0, '{"redelivered":1}')
        confirmation(api, payment_id, status="delivered")
        once_more = run("confirmations", "redeliver", found["confirmationId"], env=env)
        assert once_more.exit_code == 0
        assert payment_id in once_more.output
        confirmation(api, payment_id, status="delivered", attempts=3)


@pytest.mark.parametrize(
    "arguments", [(), ("7c1c8f3e-6f0a-4f0f-9f64-3a3f5d3f0b11", "--since", "2026-01-01T00:00:00Z")]
)
def test_redeliver_wants_an_id_or_a_time(home: House, arguments: tuple[str, ...]) -> None:
    env = {"PAYSAGA_URL": home.url, "PAYSAGA_API_KEY": SECRETS["admin"]}
    assert run("confirmations", "redeliver", *arguments, env=env).exit_code == 2
