"""Events as the outside sees them (contract 6)."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from application.envelope import camel_case, envelope, timestamp
from application.vault import Vault
from domain.event import PaySagaAggregate
from system.persistence.memory import MemoryClientKeys
from system.testing import SeededIds, SystemUnderTest
from tests.simulation import scenarios
from tests.unit.test_transcoding import event_classes, examples

NO_VAULT = Vault(MemoryClientKeys(), SeededIds())

FIELDS = [
    "id",
    "type",
    "timestamp",
    "version",
    "priority",
    "status",
    "correlationId",
    "causationId",
    "aggregateId",
    "aggregateType",
    "aggregateVersion",
    "metadata",
    "data",
]
METADATA = ["source", "userId", "sessionId", "ipAddress", "userAgent", "traceId", "spanId"]
DATA = {
    "payment.initiated": "paymentId contractId amount currency description clientInfo "
    "paymentMethod redirectUrl callbackUrl",
    "payment.processing": "paymentId transactionRef gatewayProvider processingStartTime "
    "estimatedCompletionTime",
    "payment.completed": "paymentId transactionRef amount currency gatewayResponse completedAt "
    "processingDuration",
    "payment.failed": "paymentId transactionRef code message gatewayResponse failedAt",
    "payment.cancelled": "paymentId reason cancelledAt",
    "payment.refunded": "paymentId refundId transactionRef amount currency amountRefunded reason "
    "refundedAt",
    "webhook.received": "webhookId paymentId transactionRef provider payload signature timestamp "
    "ipAddress headers",
    "webhook.processed": "webhookId paymentId outcome",
    "webhook.failed": "webhookId reason",
    "security.event": "kind severity ipAddress detail",
    "circuit_breaker.opened": "serviceName state errorRate requestCount failureCount "
    "lastFailureTime nextRetryTime configuration",
}
EVERY_CLASS = pytest.mark.parametrize("cls", event_classes(), ids=lambda cls: cls.__qualname__)


@EVERY_CLASS
def test_every_event_has_the_envelope_of_the_contract(cls: type[PaySagaAggregate.Event]) -> None:
    shown = envelope(examples()[cls][0], NO_VAULT, "PROCESSED")
    assert list(shown) == FIELDS
    assert list(shown["metadata"]) == METADATA
    assert shown["version"] == "1"
    assert shown["aggregateType"] == cls.__qualname__.split(".")[0]


@EVERY_CLASS
def test_every_envelope_can_be_written_as_json(cls: type[PaySagaAggregate.Event]) -> None:
    def exact(value: Any) -> str:
        assert isinstance(value, Decimal), f"{value!r} would not be written exactly"
        return str(value)

    for event in examples()[cls]:
        json.dumps(envelope(event, NO_VAULT, "PENDING"), default=exact)


@pytest.mark.parametrize(("public_type", "names"), DATA.items())
def test_the_data_of_an_event_has_the_fields_of_the_contract(public_type: str, names: str) -> None:
    [cls] = [cls for cls in event_classes() if cls.event_type == public_type]
    shown = envelope(examples()[cls][0], NO_VAULT, "PROCESSED")
    assert set(names.split()) <= set(shown["data"])


def test_amounts_are_exact_in_an_envelope() -> None:
    with SystemUnderTest() as s:
        scenarios.paid(s)
        [shown] = [e for e in s.events() if e["type"] == "payment.completed"]
        assert shown["data"]["amount"] == Decimal("10.00")
        assert str(shown["data"]["amount"]) == "10.00"
        assert shown["data"]["gatewayResponse"]["amount"] == {
            "amount": Decimal("10.00"),
            "currency": "SAR",
        }


def test_the_client_is_shown_to_whoever_has_the_key_and_else_as_erased() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.new_payment(s)
        [event] = s.applications.payments.history(payment_id)
        assert envelope(event, s.vault, "PENDING")["data"]["clientInfo"]["name"] == "Sara Omar"
        assert envelope(event, NO_VAULT, "PENDING")["data"]["clientInfo"] == "erased"


def test_the_customers_data_in_a_notification_is_not_shown() -> None:
    with SystemUnderTest() as s:
        scenarios.paid(s)
        [shown] = [e for e in s.events() if e["type"] == "webhook.received"]
        assert "personal" not in shown["data"]


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 7, 20, 9, 15, 12, tzinfo=UTC), "2026-07-20T09:15:12.000000Z"),
        (
            datetime(2026, 7, 20, 9, 15, 12, 1, tzinfo=timezone(timedelta(hours=4))),
            "2026-07-20T05:15:12.000001Z",
        ),
    ],
)
def test_times_are_in_utc_with_microseconds(moment: datetime, text: str) -> None:
    assert timestamp(moment) == text


def test_names_are_in_camel_case() -> None:
    assert camel_case("processing_duration_ms") == "processingDurationMs"
    assert camel_case("amount") == "amount"
