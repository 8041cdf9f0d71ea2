"""Keys and secrets are changed while the service runs, as docs/runbook.md says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from interface.paytabs import sign_body
from tests.e2e.house import CONFIRMATION_SECRET, Api, House, house_on
from tests.integration.simulator_merchant import KEY

KEYS = "shop:write:the-old-secret,shop:write:the-new-secret"
NEXT_SECRET = "whsec_bmV4dCBzZWNyZXQgb2YgdGhlIHRlc3Rz"
NEXT_SERVER_KEY = "SNEXT-SERVER-KEY"


@pytest.fixture(scope="module")
def home(postgres_server: Any) -> Iterator[House]:
    rotating = {
        "api_keys": KEYS,
        "confirmation_secret": f"{NEXT_SECRET} {CONFIRMATION_SECRET}",
        "paytabs_server_key": f"{KEY} {NEXT_SERVER_KEY}",
    }
    with house_on(postgres_server, **rotating) as home:
        yield home


def test_both_secrets_of_an_api_key_work_and_are_one_name_to_idempotency_keys(
    home: House,
) -> None:
    key = {"Idempotency-Key": "order-1"}
    old, new = Api(home.url, "the-old-secret"), Api(home.url, "the-new-secret")
    payment = old.created(key)
    again = new.create(key)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json()["paymentId"] == payment["paymentId"]


def test_a_message_is_signed_with_both_confirmation_secrets(home: House) -> None:
    api = Api(home.url, "the-new-secret")
    payment = api.created(callbackUrl=home.merchant.url)
    home.customer.pay(api.becomes(payment["paymentId"], "processing")["transactionRef"])
    api.becomes(payment["paymentId"], "completed")
    message = home.merchant.next()
    headers = {name.lower(): value for name, value in message.headers.items()}
    assert len(headers["webhook-signature"].split()) == 2
    for secret in (NEXT_SECRET, CONFIRMATION_SECRET):
        Webhook(secret).verify(message.body, headers)


def test_callbacks_under_either_server_key_are_taken(home: House) -> None:
    api = Api(home.url, "the-new-secret")
    body = b'{"tran_ref": "TST1", "cart_id": "none", "profile_id": 90001}'
    for server_key in (KEY, NEXT_SERVER_KEY):
        assert home.notify(body, sign_body(server_key, body)).status_code == 200
    assert home.notify(body, sign_body("another", body)).status_code == 401
    assert api.create().ok
