"""The answers about webhooks, described (see `interface.web.answers`)."""

from typing import Annotated, Any

from pydantic import AwareDatetime, Field

from domain.gateway_report import TransactionKind, TransactionStatus
from domain.webhook import WebhookStatus
from interface.web.answers import Answer, EventAnswer, Id, Page


class NotificationTaken(Answer):
    """A notification that was stored, now or when it came before."""

    webhook_id: Id


class WebhookRow(Answer):
    """A webhook in a list."""

    webhook_id: Id
    provider: str
    status: WebhookStatus
    payment_id: Annotated[Id | None, Field(description="null: no payment fits it so far.")]
    transaction_ref: str | None
    transaction_kind: TransactionKind | None
    transaction_status: TransactionStatus | None
    outcome: Annotated[str | None, Field(description="What the saga made of it.")]
    reason: Annotated[str | None, Field(description="Why it has failed.")]
    times_seen: Annotated[int, Field(ge=1)]
    ip_address: str | None
    version: Annotated[int, Field(ge=1)]
    received_at: AwareDatetime
    updated_at: AwareDatetime
    correlation_id: str


class WebhookAnswer(WebhookRow):
    """A webhook with what came, without secrets and the customer's own data, and its events."""

    payload: dict[str, Any]
    signature: str
    headers: dict[str, str]
    events: list[EventAnswer]


class WebhookList(Page[WebhookRow]):
    """Webhooks, newest first."""
