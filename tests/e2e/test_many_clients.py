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
CANCELLED = 5
"""So many of the payments are cancelled while they are paid; the others are refunded."""
EXPECTED = {"invalid_transition", "refund_exceeds_captured", "conflict"}
"""What a client may be told when another was quicker."""


@pytest.fixture
def home(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server) as home:
        yield home


def act(home: House, number: int, run: str) -> str | None:
    """One client: creates or meets a payment, then pays it, cancels it, or gives some of it back
    once it is paid; the code of its refusal, if it was refused."""
    key = f"{run}-{number % PAYMENTS}"
    with Client(home.url, SECRETS["write"]) as client:
        id = client.create_payment("149.50", "SAR", key, idempotency_key=key).payment_id
        try:
            if number < PAYMENTS:
                home.customer.pay(until(lambda: client.payment(id).transaction_ref))
            elif number % PAYMENTS < CANCELLED:
                client.cancel_payment(id, "changed", idempotency_key=f"{key}-c")
            else:
                until(lambda: client.payment(id).status == "completed")
                for _ in range(2):
                    client.refund_payment(id, "1", idempotency_key=f"{key}-{number}")
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
        refunded = [check(home, client, found.payment_id) for found in client.payments(q=run)]
    asked = CLIENTS // PAYMENTS - 1
    assert refunded.count(Decimal(asked)) == PAYMENTS - CANCELLED
    assert refunded.count(Decimal(0)) == CANCELLED


def check(home: House, client: Client, payment_id: str) -> Decimal:
    """The gateway's books and ours say the same, and everything happened once; what was given
    back."""

    def is_settled() -> bool:
        refunds = client.payment(payment_id).refunds
        is_over = client.saga(payment_id).status in {"completed", "compensated"}
        return is_over and all(refund.status == "succeeded" for refund in refunds)

    until(is_settled)
    payment, books = client.payment(payment_id), home.customer.books(payment_id)
    refunded = sum((refund.amount for refund in payment.refunds), start=Decimal(0))
    assert payment.amount_refunded == refunded
    assert Decimal(books["net"]) == payment.amount_captured - payment.amount_refunded
    types = [event.type.value for event in client.events(payment_id)]
    assert types.count("payment.initiated") == 1
    assert types.count("payment.cancelled") + types.count("payment.completed") == 1
    assert types.count("payment.refunded") == len(payment.refunds)
    return payment.amount_refunded
