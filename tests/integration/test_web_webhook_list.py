"""Webhooks as operators see them: listed, shown, told again; over HTTP and on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.e2e.house import SECRETS, Api, House, house_on, until
from tests.integration.cli_kit import run, settings_env
from tests.integration.test_web_webhooks import callback, webhook_events

UNKNOWN = "/v1/webhooks/7c1c8f3e-6f0a-4f0f-9f64-3a3f5d3f0b11"


@pytest.fixture(scope="module")
def home(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server, reconcile_after_seconds=600) as home:
        yield home


@pytest.fixture
def payment(home: House) -> dict[str, Any]:
    home.customer.behave(callback="lost")
    return home.api.created()


@pytest.fixture
def env(home: House, tmp_path: Path) -> dict[str, str]:
    """The environment of commands that talk to the house."""
    return settings_env(tmp_path, url=home.url, api_key=SECRETS["admin"])


def notified(home: House, payment: dict[str, Any], **changes: Any) -> str:
    """The id of a callback that was stored, when the saga has taken note of it."""
    answer = home.notify(callback(payment, **changes))
    assert answer.status_code == 200, answer.text
    webhook_id = str(answer.json()["webhookId"])
    until(lambda: shown(home, webhook_id)["status"] != "received")
    return webhook_id


def stranger(home: House, **changes: Any) -> str:
    """The id of a callback whose payment nobody knows."""
    ref = f"TST{uuid4().int % 10**13:013}"
    return notified(home, {"transactionRef": ref, "paymentId": str(uuid4()), "description": "?"})


def shown(home: House, webhook_id: str) -> dict[str, Any]:
    answer = home.api.get(f"/v1/webhooks/{webhook_id}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def listed(home: House, webhook_id: str, **query: Any) -> list[dict[str, Any]]:
    """The list, as soon as the view has the webhook as it is."""
    version = shown(home, webhook_id)["version"]

    def look() -> bool:
        rows = {row["webhookId"]: row for row in home.api.data("/v1/webhooks", limit=100)}
        return webhook_id in rows and rows[webhook_id]["version"] == version

    until(look)
    return home.api.data("/v1/webhooks", **query)


def test_a_webhook_is_shown_with_what_came_and_what_became_of_it(
    home: House, payment: dict[str, Any]
) -> None:
    webhook_id = notified(home, payment)
    webhook = shown(home, webhook_id)
    assert webhook["status"] == "processed"
    assert webhook["outcome"] == "paid"
    assert webhook["paymentId"] == payment["paymentId"]
    assert webhook["transactionRef"] == payment["transactionRef"]
    assert (webhook["transactionKind"], webhook["transactionStatus"]) == ("sale", "authorised")
    assert webhook["provider"] == "paytabs"
    assert webhook["timesSeen"] == 1
    assert webhook["ipAddress"] == "127.0.0.1"
    assert webhook["correlationId"] == payment["correlationId"]
    assert webhook["payload"]["ipn_trace"] == "IPNS0001.000001"
    assert "customer_details" not in webhook["payload"]
    assert set(webhook["headers"]) == {"Content-Type", "User-Agent", "Content-Length"}
    assert [event["type"] for event in webhook["events"]] == [
        "webhook.received",
        "webhook.processed",
    ]


def test_the_list_tells_the_same_as_the_webhook(home: House, payment: dict[str, Any]) -> None:
    for webhook_id in (notified(home, payment), stranger(home)):
        webhook = shown(home, webhook_id)
        [row] = [r for r in listed(home, webhook_id) if r["webhookId"] == webhook_id]
        assert row == {name: webhook[name] for name in row}


def test_the_list_is_filtered(home: House, payment: dict[str, Any]) -> None:
    paid, lost = notified(home, payment), stranger(home)
    webhook = shown(home, paid)
    listed(home, lost)
    for query in (
        {"paymentId": payment["paymentId"]},
        {"transactionRef": payment["transactionRef"]},
        {"status": "processed", "receivedFrom": webhook["receivedAt"], "limit": 100},
        {"receivedFrom": webhook["receivedAt"], "receivedTo": webhook["receivedAt"]},
    ):
        found = [row["webhookId"] for row in listed(home, paid, **query)]
        assert paid in found, query
        assert lost not in found, query
    failed = home.api.data("/v1/webhooks", status="failed")
    assert lost in [row["webhookId"] for row in failed]
    assert {row["status"] for row in failed} == {"failed"}


def test_the_list_is_read_page_by_page(home: House, payment: dict[str, Any]) -> None:
    newest = [notified(home, payment, tran_ref=f"TST{n:013}") for n in range(31, 36)]
    listed(home, newest[-1])
    found: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(3):
        page = home.api.get("/v1/webhooks", paymentId=payment["paymentId"], limit=2, **cursor)
        found += [row["webhookId"] for row in page.json()["data"]]
        cursor = {"cursor": page.json()["nextCursor"]}
    assert found == newest[::-1]
    assert cursor == {"cursor": None}


@pytest.mark.parametrize(
    "query",
    [
        {"status": "lost"},
        {"paymentId": "x"},
        {"limit": 101},
        {"cursor": "x"},
        {"receivedFrom": "yesterday"},
        {"typo": "1"},
    ],
)
def test_a_wrong_filter_is_refused(home: House, query: dict[str, Any]) -> None:
    answer = home.api.get("/v1/webhooks", **query)
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] == "validation_error"


def replay(home: House, webhook_id: str, key: str | None = None, role: str = "admin") -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    path = f"/v1/webhooks/{webhook_id}/replay"
    return Api(home.url, SECRETS[role]).request("POST", path, headers=headers)


def test_a_replay_tells_the_saga_again_and_changes_nothing(
    home: House, payment: dict[str, Any]
) -> None:
    webhook_id = notified(home, payment)
    done = home.api.becomes(payment["paymentId"], "completed")
    for times in (1, 2):
        answer = replay(home, webhook_id)
        assert answer.status_code == 200, answer.text
        until(lambda times=times: len(webhook_events(home, webhook_id)) == 2 + 2 * times)
    webhook = shown(home, webhook_id)
    assert (webhook["status"], webhook["outcome"]) == ("processed", "paid")
    replayed = webhook["events"][2]
    assert replayed["type"] == "webhook.replayed"
    assert replayed["data"]["actor"] == "admin"
    assert home.api.payment(payment["paymentId"])["version"] == done["version"]
    assert home.customer.books(payment["paymentId"])["refunded"] == "0.00"


def test_a_replay_with_the_same_key_is_one_replay(home: House, payment: dict[str, Any]) -> None:
    webhook_id = notified(home, payment)
    first, second = replay(home, webhook_id, "k-1"), replay(home, webhook_id, "k-1")
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    types = [event.event_type for event in webhook_events(home, webhook_id)]
    assert types.count("webhook.replayed") == 1


def test_a_webhook_of_nobody_is_replayed_when_its_payment_is_known(
    home: House, payment: dict[str, Any]
) -> None:
    webhook_id = stranger(home)
    answer = replay(home, webhook_id)
    assert answer.status_code == 409
    assert answer.json()["code"] == "unknown_payment"
    assert shown(home, webhook_id)["status"] == "failed"


def test_a_webhook_that_came_too_early_finds_its_payment_by_itself(home: House) -> None:
    """Its cart is empty, and nobody knows its transaction before the payment is made."""
    home.customer.behave(callback="lost")
    probe = home.api.created()
    next_ref = f"{probe['transactionRef'][:8]}{int(probe['transactionRef'][8:]) + 1:08}"
    early = {"transactionRef": next_ref, "paymentId": str(uuid4()), "description": "?"}
    webhook_id = notified(home, early, cart_id="")
    assert shown(home, webhook_id)["reason"] == "unknown_payment"
    payment = home.api.created()
    assert payment["transactionRef"] == next_ref
    home.api.becomes(payment["paymentId"], "completed")
    until(lambda: shown(home, webhook_id)["status"] == "processed")
    assert shown(home, webhook_id)["paymentId"] == payment["paymentId"]


def test_what_cannot_be_read_cannot_be_replayed(home: House, payment: dict[str, Any]) -> None:
    webhook_id = notified(home, payment, tran_total="1,000.00")
    answer = replay(home, webhook_id)
    assert answer.status_code == 409
    assert answer.json()["code"] == "webhook_unreadable"


@pytest.mark.parametrize("role", ["read", "write"])
def test_only_an_admin_may_replay(home: House, payment: dict[str, Any], role: str) -> None:
    webhook_id = notified(home, payment)
    assert replay(home, webhook_id, role=role).status_code == 403
    assert len(webhook_events(home, webhook_id)) == 2


def test_an_unknown_webhook_is_not_found(home: House) -> None:
    for method, path in (("GET", UNKNOWN), ("POST", f"{UNKNOWN}/replay")):
        answer = home.api.request(method, path)
        assert answer.status_code == 404
        assert "no webhook" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/v1/webhooks", UNKNOWN])
def test_nobody_sees_webhooks_without_a_key(home: House, path: str) -> None:
    assert Api(home.url, None).get(path).status_code == 401


def test_the_webhooks_are_in_the_openapi_document(home: House) -> None:
    paths = home.api.get("/openapi.json").json()["paths"]
    assert {
        *("/v1/webhooks", "/v1/webhooks/{webhook_id}", "/v1/webhooks/{webhook_id}/replay"),
        "/v1/webhooks/paytabs",
    } <= set(paths)
    names = {parameter["name"] for parameter in paths["/v1/webhooks"]["get"]["parameters"]}
    assert {"status", "paymentId", "transactionRef", "receivedFrom", "limit", "cursor"} <= names


# The command line


def test_the_command_line_lists_shows_and_replays(
    home: House, payment: dict[str, Any], env: dict[str, str]
) -> None:
    webhook_id = notified(home, payment)
    listed(home, webhook_id)
    result = run("webhooks", "list", "--payment", payment["paymentId"], env=env)
    assert result.exit_code == 0, result.stderr
    assert webhook_id in result.stdout
    assert "processed" in result.stdout
    result = run("webhooks", "show", webhook_id, env=env)
    assert result.exit_code == 0, result.stderr
    assert "webhook.processed" in result.stdout
    assert payment["transactionRef"] in result.stdout
    result = run("webhooks", "replay", webhook_id, "--json", env=env)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["webhookId"] == webhook_id
    types = [event.event_type for event in webhook_events(home, webhook_id)]
    assert types.count("webhook.replayed") == 1


def test_the_command_line_lists_all_pages_as_json(
    home: House, payment: dict[str, Any], env: dict[str, str]
) -> None:
    for number in range(41, 44):
        last = notified(home, payment, tran_ref=f"TST{number:013}")
    listed(home, last)
    options = ("--payment", payment["paymentId"], "--limit", "1", "--json")
    one = json.loads(run("webhooks", "list", *options, env=env).stdout)
    assert len(one["data"]) == 1
    assert one["nextCursor"]
    everything = json.loads(run("webhooks", "list", *options, "--all", env=env).stdout)
    assert len(everything["data"]) == 3


def test_the_command_line_says_why_a_webhook_is_not_replayed(
    home: House, env: dict[str, str]
) -> None:
    result = run("webhooks", "replay", stranger(home), env=env)
    assert result.exit_code == 1
    assert "unknown_payment" in result.stderr


def test_a_wrong_status_on_the_command_line_is_wrong_usage(env: dict[str, str]) -> None:
    assert run("webhooks", "list", "--status", "lost", env=env).exit_code == 2
