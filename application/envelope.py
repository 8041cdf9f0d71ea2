"""Events as the outside sees them: the envelope of contract section 6."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from functools import cache, singledispatch
from typing import Any, NamedTuple
from uuid import UUID

from application.vault import ERASED, Vault
from domain.client import Address, ClientInfo
from domain.contract import Contract, Payee, Terms
from domain.earnings import Earnings
from domain.event import PaySagaAggregate
from domain.gateway_report import GatewayReport
from domain.money import Money
from domain.payment import Payment
from domain.payment_saga import Call
from domain.payment_terms import Failure
from domain.performance_metric import PerformanceMetric
from domain.sealed import Sealed
from domain.webhook import Webhook

UTC_LENGTH = len("+00:00")

OWN_FIELDS = frozenset(
    {"originator_id", "originator_version", "originator_topic", "timestamp", "metadata"}
)

MEMBERS = (
    *("id", "type", "timestamp", "version", "priority", "status", "correlationId", "causationId"),
    *("aggregateId", "aggregateType", "aggregateVersion", "metadata", "data"),
)
"""The members of an envelope, in the order in which it is shown."""

Opener = Callable[[Sealed], Any]

SHOWN_BY_FIELD = (GatewayReport, Call, Failure, ClientInfo, Address, Payee, Terms)
"""Value objects that are shown as an object of their fields."""


def envelope(event: PaySagaAggregate.Event, vault: Vault, status: str) -> dict[str, Any]:
    """The public form of an event. `status` says what the followers have made of it so far:
    `PENDING`, `PROCESSING`, `PROCESSED` or `FAILED`. Erased personal data reads `erased`."""
    data = data_of(event, lambda sealed: shown(sealed, vault))
    return {**envelope_without_data(event), "status": status, "data": data}


def envelope_without_data(event: PaySagaAggregate.Event) -> dict[str, Any]:
    """The members of an envelope in their order, without a `status` and without `data`."""
    kind, metadata = kind_of(type(event)), event.metadata
    return {
        "id": str(event.event_id),
        "type": kind.event_type,
        "timestamp": timestamp(event.timestamp),
        "version": kind.version,
        "priority": kind.priority,
        "status": None,
        "correlationId": metadata.correlation_id,
        "causationId": metadata.causation_id,
        "aggregateId": str(event.originator_id),
        "aggregateType": kind.aggregate_type,
        "aggregateVersion": event.originator_version,
        "metadata": {
            "source": metadata.source,
            "userId": metadata.user_id,
            "sessionId": metadata.session_id,
            "ipAddress": metadata.ip_address,
            "userAgent": metadata.user_agent,
            "traceId": metadata.trace_id,
            "spanId": metadata.span_id,
        },
    }


class Kind(NamedTuple):
    """What an envelope says of all events of a class."""

    event_type: str
    version: str
    priority: str
    aggregate_type: str


@cache
def kind_of(cls: type[PaySagaAggregate.Event]) -> Kind:
    """What an envelope says of the events of a class; asked for with every event."""
    return Kind(
        cls.event_type.value,
        str(getattr(cls, "class_version", 1)),
        cls.priority.value,
        cls.__qualname__.split(".")[0],
    )


def shown(sealed: Sealed, vault: Vault) -> Any:
    """Personal data as the outside sees it: opened, or `erased`."""
    opened = vault.open(sealed)
    return ERASED if opened is None else opened


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds."""
    in_utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return in_utc.isoformat(timespec="microseconds")[:-UTC_LENGTH] + "Z"


@singledispatch
def data_of(event: PaySagaAggregate.Event, opener: Opener) -> dict[str, Any]:
    """The `data` of an envelope. Types that the contract spells out have their own rule; the
    others show their fields in camelCase."""
    return _fields(event, opener)


def _fields(event: PaySagaAggregate.Event, opener: Opener) -> dict[str, Any]:
    return {
        camel_case(name): public_value(value, opener)
        for name, value in vars(event).items()
        if name not in OWN_FIELDS
    }


@data_of.register
def _(event: Payment.Initiated, opener: Opener) -> dict[str, Any]:
    return {
        "paymentId": str(event.originator_id),
        "contractId": event.contract_id,
        **_amount(event.amount),
        "description": event.description,
        "clientInfo": public_value(event.client, opener),
        "paymentMethod": event.payment_method,
        "redirectUrl": event.redirect_url,
        "callbackUrl": event.callback_url,
        "captureMethod": event.capture_method,
        "metadata": event.merchant_metadata,
    }


@data_of.register
def _(event: Payment.Processing, opener: Opener) -> dict[str, Any]:
    return {
        "paymentId": str(event.originator_id),
        "transactionRef": event.transaction_ref,
        "gatewayProvider": event.gateway_provider,
        "processingStartTime": timestamp(event.timestamp),
        "estimatedCompletionTime": timestamp(event.page_expires_at),
    }


@data_of.register
def _(event: Payment.Authorized, opener: Opener) -> dict[str, Any]:
    return {
        "paymentId": str(event.originator_id),
        "transactionRef": event.report.transaction_ref,
        "gatewayResponse": public_value(event.report, opener),
        "authorizedAt": timestamp(event.timestamp),
    }


@data_of.register
def _(event: Payment.Completed, opener: Opener) -> dict[str, Any]:
    return {
        "paymentId": str(event.originator_id),
        "transactionRef": event.report.transaction_ref,
        **_amount(event.amount),
        "gatewayResponse": public_value(event.report, opener),
        "completedAt": timestamp(event.timestamp),
        "processingDuration": event.processing_duration_ms,
    }


@data_of.register
def _(event: Payment.Failed, opener: Opener) -> dict[str, Any]:
    return {
        "paymentId": str(event.originator_id),
        "transactionRef": event.report.transaction_ref if event.report else None,
        "code": event.failure.code,
        "message": event.failure.message,
        "gatewayResponse": public_value(event.report, opener),
        "failedAt": timestamp(event.timestamp),
    }


@data_of.register
def _(event: Payment.Cancelled, opener: Opener) -> dict[str, Any]:
    return {
        "paymentId": str(event.originator_id),
        "reason": event.reason,
        "cancelledAt": timestamp(event.timestamp),
    }


@data_of.register
def _(event: Payment.Refunded, opener: Opener) -> dict[str, Any]:
    return {
        "paymentId": str(event.originator_id),
        "refundId": str(event.refund_id),
        "transactionRef": event.transaction_ref,
        **_amount(event.amount),
        "amountRefunded": event.amount_refunded.amount,
        "reason": event.reason,
        "refundedAt": timestamp(event.timestamp),
    }


@data_of.register
def _(event: Webhook.Received, opener: Opener) -> dict[str, Any]:
    return {
        "webhookId": str(event.originator_id),
        "paymentId": str(event.payment_id) if event.payment_id else None,
        "transactionRef": event.report.transaction_ref if event.report else None,
        "provider": event.provider,
        "payload": event.payload,
        "signature": event.signature,
        "timestamp": timestamp(event.timestamp),
        "ipAddress": event.ip_address,
        "headers": event.headers,
    }


@data_of.register(Webhook.Repeated)
@data_of.register(Webhook.Matched)
@data_of.register(Webhook.Replayed)
def _(event: PaySagaAggregate.Event, opener: Opener) -> dict[str, Any]:
    return {"webhookId": str(event.originator_id), **_fields(event, opener)}


@data_of.register
def _(event: Webhook.Processed, opener: Opener) -> dict[str, Any]:
    return {
        "webhookId": str(event.originator_id),
        "paymentId": str(event.payment_id),
        "outcome": event.outcome,
    }


@data_of.register
def _(event: Webhook.Failed, opener: Opener) -> dict[str, Any]:
    return {"webhookId": str(event.originator_id), "reason": event.reason}


@data_of.register
def _(event: Contract.PaymentDue, opener: Opener) -> dict[str, Any]:
    return {
        "contractId": event.contract_id,
        "instalment": event.instalment,
        **_amount(event.amount),
        "dueOn": event.due_on.isoformat(),
        "paymentId": str(event.payment_id),
    }


@data_of.register
def _(event: Earnings.Calculated | Earnings.Reversed, opener: Opener) -> dict[str, Any]:
    return {
        "contractId": event.contract_id,
        "paymentId": str(event.payment_id),
        "payeeId": event.payee_id,
        "gross": event.gross.amount,
        "platformFee": event.platform_fee.amount,
        "net": event.net.amount,
        "currency": event.gross.currency.code,
    }


@data_of.register
def _(event: PerformanceMetric.Recorded, opener: Opener) -> dict[str, Any]:
    return {
        "name": event.name,
        "value": event.value,
        "unit": event.unit,
        "labels": event.labels,
        "window": event.window_ms,
    }


def _amount(money: Money) -> dict[str, Any]:
    return {"amount": money.amount, "currency": money.currency.code}


KNOWN_TO_JSON = frozenset({str, int, bool, float, Decimal, type(None)})
"""Types whose values are shown as they are. Most are one of these: they are asked for first."""

SIMPLE: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (Money, _amount),
    (datetime, timestamp),
    (date, date.isoformat),
    (StrEnum, lambda member: member.value),
    (UUID, str),
)
"""How values are shown that hold no others."""


@cache
def simple_for(cls: type) -> Callable[[Any], Any] | None:
    """How values of a class are shown that hold no others; None for those that may."""
    return next((simple for kind, simple in SIMPLE if issubclass(cls, kind)), None)


def public_value(value: Any, opener: Opener) -> Any:
    """A value of an event as JSON knows it; amounts stay `Decimal`, to be written exactly."""
    cls: type = type(value)
    if cls in KNOWN_TO_JSON:
        return value
    simple = simple_for(cls)
    if simple is not None:
        return simple(value)
    if isinstance(value, Sealed):
        return opener(value)
    if isinstance(value, SHOWN_BY_FIELD):
        return {camel_case(name): public_value(item, opener) for name, item in vars(value).items()}
    if isinstance(value, dict):
        return {key: public_value(item, opener) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [public_value(item, opener) for item in value]
    return value


def public_record(record: Any) -> dict[str, Any]:
    """A dataclass as JSON knows it, its fields in camelCase."""
    return {camel_case(name): public_value(value, str) for name, value in vars(record).items()}


@cache
def camel_case(name: str) -> str:
    """`gateway_call` as `gatewayCall`."""
    return re.sub(r"_(.)", lambda match: match.group(1).upper(), name)
