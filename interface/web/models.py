"""The requests of the API, validated: unknown fields are refused so that a typo never passes."""

import re
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    EmailStr,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic.alias_generators import to_camel

from domain.client import Address, ClientInfo
from domain.confirmation import ConfirmationStatus
from domain.payment_terms import PaymentStatus
from domain.saga_steps import SagaStatus
from domain.webhook import WebhookStatus

URL_LENGTH_MAX = 2048
DECIMAL_TEXT = re.compile(r"-?[0-9]{1,255}(\.[0-9]{1,255})?")
RFC_3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}")
"""How a time begins; a bare number would be read as seconds since 1970."""
VERSION_MAX = 2**63 - 1
METADATA_PAIRS_MAX = 50


class Model(BaseModel):
    """A camelCase JSON object without unknown members."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, validate_by_alias=True
    )

    @classmethod
    @cache
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """As in pydantic, but made once: it is asked for with every query string."""
        return super().model_json_schema(*args, **kwargs)


def as_number(value: Any) -> Any:
    """A number that was sent as one or as a decimal string, unchanged."""
    is_decimal_text = isinstance(value, str) and DECIMAL_TEXT.fullmatch(value)
    is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    if not is_decimal_text and not is_number:
        raise ValueError("expected a number or a decimal string, in major units")
    return value


def _web_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("expected an absolute http or https address")
    if parts.port == 0:
        raise ValueError("expected a port from 1 to 65535")
    if parts.username or parts.password:
        raise ValueError("an address must not hold credentials")
    return value


Amount = Annotated[Decimal, BeforeValidator(as_number), Field(examples=["149.50"])]
WebAddress = Annotated[
    str,
    StringConstraints(max_length=URL_LENGTH_MAX, pattern=r"^[\x21-\x7e]+$"),
    AfterValidator(_web_address),
]


def _without_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("text must not contain NUL")
    return value


def _as_time(value: Any) -> Any:
    if not isinstance(value, str) or not RFC_3339.match(value):
        raise ValueError("expected a time with its zone, such as 2026-01-31T12:00:00Z")
    return value


Time = Annotated[AwareDatetime, BeforeValidator(_as_time)]
SearchText = Annotated[str, StringConstraints(max_length=255), AfterValidator(_without_nul)]
ShortText = Annotated[str, StringConstraints(min_length=1, max_length=255)]


class AddressModel(Model):
    """A postal address."""

    street: ShortText | None = None
    city: ShortText | None = None
    state: ShortText | None = None
    country: Annotated[str, StringConstraints(pattern="^[A-Z]{2}$")] | None = None
    zip: Annotated[str, StringConstraints(min_length=1, max_length=32)] | None = None


class ClientModel(Model):
    """Who pays."""

    name: ShortText | None = None
    email: Annotated[EmailStr, StringConstraints(max_length=254)] | None = None
    phone: Annotated[str, StringConstraints(min_length=1, max_length=32)] | None = None
    address: AddressModel | None = None

    def to_domain(self) -> ClientInfo:
        """The same as the domain knows it."""
        address = Address(**self.address.model_dump()) if self.address else None
        return ClientInfo(self.name, self.email, self.phone, address)


class CreatePayment(Model):
    """A payment to be made. Amounts are in major units, as a number or a decimal string."""

    amount: Amount
    currency: Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")] = Field(examples=["SAR"])
    description: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    contract_id: ShortText | None = None
    client_info: ClientModel | None = None
    payment_method: Annotated[str, StringConstraints(pattern="^[a-z]{1,32}$")] = "all"
    capture_method: Literal["automatic", "manual"] = "automatic"
    redirect_url: WebAddress | None = None
    callback_url: WebAddress | None = None
    metadata: Annotated[
        dict[
            Annotated[str, StringConstraints(min_length=1, max_length=40)],
            Annotated[str, StringConstraints(max_length=500)],
        ],
        Field(max_length=METADATA_PAIRS_MAX),
    ] = Field(default_factory=dict)


class OptionalBody(Model):
    """A body that need not be sent; sent, it must be JSON without unknown members."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        validate_by_alias=True,
        openapi_extra={"required": False},  # type: ignore[typeddict-unknown-key]
    )


class NoMembers(OptionalBody):
    """Nothing needs to be said."""


class CancelPayment(OptionalBody):
    """Why the payment is cancelled."""

    reason: ShortText = Field("requested_by_merchant", description="It is kept with the payment.")


class CapturePayment(OptionalBody):
    """How much of the authorized amount to take."""

    amount: Amount | None = Field(None, description="In major units; all of it when not given.")


class RefundPayment(OptionalBody):
    """How much to give back, and why."""

    amount: Amount | None = Field(None, description="In major units; without it all that is left.")
    reason: ShortText | None = Field(None, description="It is kept with the refund.")


class PageQuery(Model):
    """Which page of a list."""

    limit: int = Field(20, ge=1, le=100)
    cursor: str | None = Field(None, max_length=255)


class PaymentPath(Model):
    """Which payment."""

    model_config = ConfigDict(alias_generator=None, extra="forbid", frozen=True)

    payment_id: UUID


class ReturnForm(Model):
    """What the gateway sends along with a customer who comes back (PayTabs, section 7.3); it may
    add to it. Nothing is believed of it."""

    model_config = ConfigDict(alias_generator=to_camel, extra="allow", frozen=True)

    cart_id: str = ""
    tran_ref: str = ""
    resp_status: str = ""
    resp_code: str = ""
    resp_message: str = ""
    acquirer_message: str = ""
    acquirer_rrn: str = Field("", alias="acquirerRRN")
    customer_email: str = ""
    token: str = ""
    signature: str = Field("", description="When it is there it must be the gateway's.")


class WebhookPath(Model):
    """Which webhook."""

    model_config = ConfigDict(alias_generator=None, extra="forbid", frozen=True)

    webhook_id: UUID


class WebhookQuery(PageQuery):
    """Which webhooks to list; without a filter all of them, newest first."""

    status: WebhookStatus | None = None
    payment_id: UUID | None = None
    transaction_ref: SearchText | None = None
    received_from: Time | None = None
    received_to: Time | None = None


class ConfirmationPath(Model):
    """Which confirmation."""

    model_config = ConfigDict(alias_generator=None, extra="forbid", frozen=True)

    confirmation_id: UUID


class ConfirmationListQuery(PageQuery):
    """Which confirmations to list; without a filter all, newest first."""

    payment_id: UUID | None = None
    status: ConfirmationStatus | None = None


class RedeliverFailed(Model):
    """Since when (RFC 3339): what failed then or later is told again."""

    since: Time


class BreakerPath(Model):
    """Which circuit breaker."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=255)]


class ParkedPath(Model):
    """Which parked event."""

    model_config = ConfigDict(alias_generator=None, extra="forbid", frozen=True)

    parked_id: UUID


class ProjectionPath(Model):
    """Which read model."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=255)]


class EventPath(Model):
    """Which event."""

    model_config = ConfigDict(alias_generator=None, extra="forbid", frozen=True)

    event_id: UUID


class StreamQuery(Model):
    """Which events, and behind which position."""

    after: int | None = Field(None, ge=0, le=VERSION_MAX, description="A position.")
    type: SearchText | None = Field(None, description="A public type, such as payment.completed.")
    aggregate_id: UUID | None = None
    correlation_id: SearchText | None = None


class FeedQuery(StreamQuery):
    """Which page of events."""

    after: int = Field(0, ge=0, le=VERSION_MAX, description="Only what is behind this position.")
    limit: int = Field(20, ge=1, le=100)


class VerifyQuery(Model):
    """What the journal must hold."""

    expect: str | None = Field(None, max_length=100, description="A head that was kept.")


class PastQuery(Model):
    """Which state of the payment: the newest, or one of the past."""

    version: int | None = Field(
        None, ge=1, le=VERSION_MAX, description="As it was at this version."
    )
    as_of: Time | None = Field(None, description="As it was at this time (RFC 3339).")

    @model_validator(mode="after")
    def _only_one(self) -> Self:
        if self.version is not None and self.as_of is not None:
            raise ValueError("give either version or asOf")
        return self


class ListQuery(PageQuery):
    """What to list; without a filter everything, newest first."""

    status: PaymentStatus | None = None
    contract_id: SearchText | None = None
    currency: SearchText | None = None
    transaction_ref: SearchText | None = None
    created_from: Time | None = None
    created_to: Time | None = None
    q: Annotated[SearchText, StringConstraints(min_length=1)] | None = Field(
        None, description="Text in the description or in the client's name or e-mail."
    )
    total: bool = Field(False, description="Also count them all, which takes its time.")


class SagaQuery(PageQuery):
    """Which sagas to list; those of the newest payments first."""

    status: SagaStatus | None = None


class ParkedQuery(Model):
    """Which page of the parked events, oldest first."""

    limit: int = Field(20, ge=1, le=100)
    cursor: Annotated[str, StringConstraints(pattern="^[0-9]{1,18}$")] | None = None


class NoQuery(Model):
    """There is nothing to choose."""
