"""Builds domain objects for unit tests, with a time and a cause of their own."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from domain.event import EventContext, Metadata, acting
from domain.gateway_report import GatewayReport, TransactionKind, TransactionStatus
from domain.money import Money, money
from domain.payment import Payment

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
PAYMENT_ID = UUID("a1a1a1a1-0000-4000-8000-000000000001")
CALLBACK_URL = "https://merchant.example.com/told"
SAR_10 = money("10.00", "SAR")
PAGE_REF = "TST0000000000001"


@contextmanager
def at(moment: datetime = NOW, correlation_id: str = "c-1") -> Iterator[None]:
    """Events triggered inside happen at `moment`."""
    with acting(EventContext(Metadata(correlation_id, source="test"), moment)):
        yield


def initiated(amount: Money = SAR_10, **changes: Any) -> Payment:
    """A payment that was just asked for."""
    request: dict[str, Any] = {
        "amount": amount,
        "description": "Tea",
        "contract_id": None,
        "client": None,
        "payment_method": "all",
        "capture_method": "automatic",
        "redirect_url": None,
        "callback_url": CALLBACK_URL,
        "merchant_metadata": {},
        "request_fingerprint": None,
        **changes,
    }
    with at():
        return Payment.initiate(PAYMENT_ID, **request)


def report(**changes: Any) -> GatewayReport:
    """The gateway says that the page of `PAYMENT_ID` was paid."""
    said: dict[str, Any] = {
        "transaction_ref": PAGE_REF,
        "kind": TransactionKind.SALE,
        "status": TransactionStatus.AUTHORISED,
        "cart_id": f"{PAYMENT_ID}-a1",
        "amount": SAR_10,
        "code": "G12345",
        "message": "Authorised",
        **changes,
    }
    return GatewayReport(**said)


def processing(amount: Money = SAR_10) -> Payment:
    """A payment whose page waits for the customer."""
    payment = initiated(amount)
    with at():
        url = "https://gateway.example/p"
        payment.process(PAGE_REF, "paytabs", url, NOW + timedelta(minutes=20))
    return payment


def completed(amount: Money = SAR_10) -> Payment:
    """A payment whose money we have."""
    payment = processing(amount)
    with at():
        payment.complete(amount, report(amount=amount), NOW)
    return payment
