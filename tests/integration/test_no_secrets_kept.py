"""After everything that can happen to payments has happened, no secret is in the database."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import requests
from psycopg.sql import SQL, Identifier

from interface.paytabs import sign_form
from tests.e2e.house import CONFIRMATION_SECRET, DECLINED_CARD, SECRETS, House, house_on, until
from tests.integration.simulator_merchant import HELD_CARD, KEY
from tests.integration.test_web_webhooks import callback

VISA, MASTERCARD = "4111111111111111", "5555555555554444"
CVV = "8246"
CVV_ALONE = re.compile(rf"(?<![\w.-]){CVV}(?![\w.-])")
"""As a value of its own: four digits also stand in digests and ids."""
OLD_KEY = "SOLDKEY001-JKLMNPQRS2-TUVWXYZ345"
TOKEN = "2C4652BF67A3EA33C6B590FE658078BD"
CAVV = "BwABBJQ1AgAAAAAgJDUCAAAAAAA="


@pytest.fixture(scope="module")
def home(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server, paytabs_server_key=f"{KEY} {OLD_KEY}") as home:
        yield home


def everything_in(database_url: str) -> str:
    """Every column of every row of every table, as text; bytes both decoded and in hex."""
    with psycopg.connect(database_url) as connection:
        tables = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        ).fetchall()
        found: list[str] = []
        for (table,) in tables:
            rows = connection.execute(SQL("SELECT * FROM {}").format(Identifier(table)))
            found += [f"{table}:{_text(value)}" for row in rows for value in row]
    return "\n".join(found)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return f"{value.decode('utf-8', 'replace')} {value.hex()}"
    return json.dumps(value, default=str) if isinstance(value, dict | list) else str(value)


def live_through_everything(home: House) -> None:
    """Payments that are paid, declined, held, refunded, captured and cancelled on the real pages,
    with card data wherever the gateway could put it by mistake."""
    paid = home.api.created(callbackUrl=home.merchant.url, clientInfo={"name": "Sara Omar"})
    home.customer.pay(paid["transactionRef"], {"card": MASTERCARD, "cvv": CVV})
    home.api.saga_becomes(paid["paymentId"], "completed")
    home.api.refunded(paid["paymentId"], amount=50)
    captured = home.api.created(captureMethod="manual")
    home.customer.pay(captured["transactionRef"], {"card": VISA, "cvv": "123"})
    home.api.becomes(captured["paymentId"], "authorized")
    assert home.api.capture(captured["paymentId"]).status_code == 202
    home.api.becomes(captured["paymentId"], "completed")
    declined = home.api.created()
    home.customer.pay(declined["transactionRef"], {"card": VISA, "cvv": CVV})
    home.api.becomes(declined["paymentId"], "failed")
    rejected = home.api.created()
    home.customer.pay(rejected["transactionRef"], DECLINED_CARD)
    home.api.becomes(rejected["paymentId"], "failed")
    home.customer.pay(home.api.created()["transactionRef"], HELD_CARD)
    home.api.cancel(home.api.created()["paymentId"])
    confess_everything(home)
    until(lambda: home.api.payment(paid["paymentId"])["amountRefunded"] == 50)


def confess_everything(home: House) -> None:
    """Callbacks and a return form that hold what they never should, and requests with secrets in
    headers; signed and unsigned, known and unknown, readable and not."""
    payment = home.api.created()
    secrets = {
        "token": TOKEN,
        "card_number": VISA,
        "pan": int(VISA),
        "customer_ref": f"card {VISA}",
        "cart_description": "4111 1111 1111 1111",
        "user_defined": {"udf1": VISA, "udf2": "4111-1111-1111-1111", "cvv": CVV},
        "payment_info": {"payment_description": VISA, "cvv": CVV, "card_number": VISA},
        "threeDSDetails": {"cavv": CAVV, "enrolled": "Y"},
        f"field {VISA}": 1,
    }
    headers = {
        "Authorization": f"Bearer {SECRETS['admin']}",
        "Client-Key": KEY,
        "Cookie": f"key={KEY}",
        "User-Agent": f"IPN {VISA}",
    }
    stranger = {**payment, "paymentId": str(uuid4()), "transactionRef": "TST2620100000077"}
    for body in (
        callback(payment, **secrets),
        callback(stranger, **secrets),
        callback(payment, **secrets, tran_total="1,000"),
    ):
        assert home.notify(body, **headers).status_code == 200
        assert home.notify(body, "0" * 64, **headers).status_code == 401
    fields = {"cartId": f"{payment['paymentId']}-a1", "token": TOKEN, "respMessage": VISA}
    requests.post(
        f"{home.url}/v1/return/paytabs/{payment['paymentId']}",
        data=fields | {"signature": sign_form(KEY, fields)},
        timeout=10,
    )


def test_no_card_no_cvv_and_no_key_is_in_the_database(home: House) -> None:
    live_through_everything(home)
    home.api.becomes(home.api.data("/v1/payments", limit=100)[-1]["paymentId"], "completed")
    kept = everything_in(str(home.settings.database_url))
    assert "Payment.Completed" in kept
    assert "TST2620100000077" in kept
    spellings = [VISA, "4111 1111 1111 1111", "4111-1111-1111-1111", MASTERCARD]
    assert not CVV_ALONE.search(kept)
    secrets = [*spellings, KEY, OLD_KEY, TOKEN, CAVV, CONFIRMATION_SECRET, *SECRETS.values()]
    for secret in secrets:
        for written in (secret, secret.encode().hex()):
            place = kept.find(written)
            assert place < 0, f"{written} is kept: …{kept[max(place - 200, 0) : place + 60]}…"
