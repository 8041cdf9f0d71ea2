"""Two hundred clients create, repeat, cancel and refund the same payments at once, and afterwards
the books balance."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from interface.client import ApiError, Client
from tests.e2e.house import SECRETS, House, house_on, until

CLIENTS = 200
PAYMENTS = 10
EXPECTED = {"invalid_transition", "refund_exceeds_captured", "conflict"}
"""What a client may be told when another was quicker."""


@pytest.fixture
def home(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server) as home:
        yield home


def act(home: House, number: int, run: str) -> str | None:
    """One client: creates or meets a payment, then cancels it or gives some of it back; the code
    of its refusal, if it was refused."""
    key = f"{run}-{number % PAYMENTS}"
    with Client(home.url, SECRETS["write"]) as client:
        try:
            payment = client.create_payment("149.50", "SAR", key, idempotency_key=key)
            if number % PAYMENTS < PAYMENTS // 2:
                client.cancel_payment(payment.payment_id, "changed", idempotency_key=f"{key}-c")
            elif payment.transaction_ref and number < PAYMENTS:
                home.customer.pay(payment.transaction_ref)
            else:
                client.refund_payment(payment.payment_id, "1", idempotency_key=f"{key}-{number}")
        except ApiError as refusal:
            return refusal.code
    return None


@pytest.mark.slow
def test_two_hundred_clients_leave_books_that_balance(home: House) -> None:
    run = uuid4().hex
    with ThreadPoolExecutor(CLIENTS) as pool:
        codes = set(pool.map(lambda number: act(home, number, run), range(CLIENTS)))
    assert codes <= EXPECTED | {None}
    with Client(home.url, SECRETS["read"]) as client:
        until(lambda: len(list(client.payments(q=run))) == PAYMENTS)
        for payment in client.payments(q=run):
            check(home, client, payment.payment_id)


def check(home: House, client: Client, payment_id: str) -> None:
    """The gateway's books and ours say the same, and every refund was made once."""

    def is_settled() -> bool:
        refunds = client.payment(payment_id).refunds
        return all(refund.status != "pending" for refund in refunds)

    until(is_settled)
    payment, books = client.payment(payment_id), home.customer.books(payment_id)
    until(lambda: client.saga(payment_id).status in {"completed", "compensated"})
    refunded = sum((refund.amount for refund in payment.refunds), start=Decimal(0))
    assert payment.amount_refunded == refunded
    assert Decimal(books["net"]) == payment.amount_captured - payment.amount_refunded
    types = [event.type.value for event in client.events(payment_id)]
    assert types.count("payment.initiated") == 1
    assert types.count("payment.cancelled") <= 1
