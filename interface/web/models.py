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
from domain.event import PaymentEventType
from domain.payment_terms import PaymentStatus
from domain.saga_steps import SagaStatus
from domain.webhook import WebhookStatus
from interface.web.patterns import DECIMAL_TEXT

URL_LENGTH_MAX = 2048
RFC_3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}")
"""How a time begins; a bare number would be read as seconds since 1970."""
VERSION_MAX = 2**63 - 1
METADATA_PAIRS_MAX = 50
LIMIT = "At most so many."
OF_PAYMENT = "Only of this payment."
WITH_REF = "Only with this reference of the gateway."
CURSOR = "The `nextCursor` of the page before."


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


Amount = Annotated[Decimal, BeforeValidator(as_number)]
Currency = Annotated[
    str,
    StringConstraints(pattern="^[A-Z]{3}$"),
    Field(description="An ISO 4217 code with a minor unit, such as SAR."),
]
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

    street: ShortText | None = Field(None, description="Street and number.")
    city: ShortText | None = Field(None, description="City or town.")
    state: ShortText | None = Field(None, description="State, province or emirate.")
    country: Annotated[str, StringConstraints(pattern="^[A-Z]{2}$")] | None = Field(
        None, description="ISO 3166-1 alpha-2, such as SA."
    )
    zip: Annotated[str, StringConstraints(min_length=1, max_length=32)] | None = Field(
        None, description="Postal code."
    )


class ClientModel(Model):
    """Who pays."""

    name: ShortText | None = Field(None, description="As the customer writes it.")
    email: Annotated[EmailStr, StringConstraints(max_length=254)] | None = Field(
        None, description="An e-mail address."
    )
    phone: Annotated[str, StringConstraints(min_length=1, max_length=32)] | None = Field(
        None, description="A number in any form."
    )
    address: AddressModel | None = Field(None, description="Where bills go.")

    def to_domain(self) -> ClientInfo:
        """The same as the domain knows it."""
        address = Address(**self.address.model_dump()) if self.address else None
        return ClientInfo(self.name, self.email, self.phone, address)


class CreatePayment(Model):
    """A payment to be made. Amounts are in major units, as a number or a decimal string."""

    amount: Amount = Field(
        description="In major units, with no more decimals than the currency has."
    )
    currency: Currency
    description: Annotated[str, StringConstraints(min_length=1, max_length=128)] = Field(
        description="What is paid for; the customer sees it."
    )
    contract_id: ShortText | None = Field(None, description="What it belongs to; yours to choose.")
    client_info: ClientModel | None = Field(None, description="Who pays.")
    payment_method: Annotated[str, StringConstraints(pattern="^[a-z]{1,32}$")] = Field(
        "all", description="A method code of the gateway; `all` lets the customer choose."
    )
    capture_method: Literal["automatic", "manual"] = Field(
        "automatic", description="With `manual` money is only held until you capture it."
    )
    redirect_url: WebAddress | None = Field(None, description="Where the customer goes afterwards.")
    callback_url: WebAddress | None = Field(None, description="Where confirmations are sent.")
    metadata: Annotated[
        dict[
            Annotated[str, StringConstraints(min_length=1, max_length=40)],
            Annotated[str, StringConstraints(max_length=500)],
        ],
        Field(max_length=METADATA_PAIRS_MAX),
    ] = Field(
        default_factory=dict,
        description="Your own pairs: names of up to 40 characters, values of up to 500.",
    )


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

    limit: int = Field(20, ge=1, le=100, description=LIMIT)
    cursor: str | None = Field(None, max_length=255, description=CURSOR)


class PaymentPath(Model):
    """Which payment."""

    model_config = ConfigDict(alias_generator=None, extra="forbid", frozen=True)

    payment_id: UUID = Field(description="The id of the payment.")


class ReturnForm(Model):
    """What the gateway sends along with a customer who comes back (PayTabs, section 7.3); it may
    add to it. Nothing is believed of it."""

    model_config = ConfigDict(alias_generator=to_camel, extra="allow", frozen=True)

    cart_id: str = Field("", description="The id of the payment at the gateway.")
    tran_ref: str = Field("", description="The reference of the transaction.")
    resp_status: str = Field("", description="A one-letter status.")
    resp_code: str = Field("", description="A code of the gateway.")
    resp_message: str = Field("", description="The same in words.")
    acquirer_message: str = Field("", description="What the bank said.")
    acquirer_rrn: str = Field("", alias="acquirerRRN", description="The bank's reference.")
    customer_email: str = Field("", description="The e-mail address that was typed in.")
    token: str = Field("", description="Of a stored card; never used.")
    signature: str = Field("", description="When it is there it must be the gateway's.")


class WebhookPath(Model):
    """Which webhook."""

    model_config = ConfigDict(alias_generator=None, extra="forbid", frozen=True)

    webhook_id: UUID = Field(description="The id of the webhook.")


class WebhookQuery(PageQuery):
    """Which webhooks to list; without a filter all of them, newest first."""

    status: WebhookStatus | None = Field(None, description="Only with this status.")
    payment_id: UUID | None = Field(None, description=OF_PAYMENT)
    transaction_ref: SearchText | None = Field(None, description=WITH_REF)
    received_from: Time | None = Field(None, description="Only received then or later.")
    received_to: Time | None = Field(None, description="Only received then or before.")


class ConfirmationPath(Model):
    """Which confirmation."""

    model_config = ConfigDict(alias_generator=None, extra="forbid", frozen=True)

    confirmation_id: UUID = Field(description="The id of the confirmation.")


class ConfirmationListQuery(PageQuery):
    """Which confirmations to list; without a filter all, newest first."""

    payment_id: UUID | None = Field(None, description=OF_PAYMENT)
    status: ConfirmationStatus | None = Field(None, description="Only with this status.")


class RedeliverFailed(Model):
    """Since when: what failed then or later is told again."""

    since: Time = Field(description="A time (RFC 3339).")


class BreakerPath(Model):
    """Which circuit breaker."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=255)] = Field(
        description="The name of the breaker, such as `paytabs`."
    )


class ParkedPath(Model):
    """Which parked event."""

    model_config = ConfigDict(alias_generator=None, extra="forbid", frozen=True)

    parked_id: UUID = Field(description="The id of the parked event.")


class ProjectionPath(Model):
    """Which read model."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=255)] = Field(
        description="The name of the read model, such as `PaymentsView`."
    )


class EventPath(Model):
    """Which event."""

    model_config = ConfigDict(alias_generator=None, extra="forbid", frozen=True)

    event_id: UUID = Field(description="The id of the event.")


class StreamQuery(Model):
    """Which events, and behind which position."""

    after: int | None = Field(None, ge=0, le=VERSION_MAX, description="A position.")
    type: PaymentEventType | None = Field(
        None, description="A public type, such as payment.completed."
    )
    aggregate_id: UUID | None = Field(
        None, description="Only of this payment, saga, or whatever else has events."
    )
    correlation_id: SearchText | None = Field(
        None, description="Only what followed from this request."
    )


class FeedQuery(StreamQuery):
    """Which page of events."""

    after: int = Field(0, ge=0, le=VERSION_MAX, description="Only what is behind this position.")
    limit: int = Field(20, ge=1, le=100, description=LIMIT)


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

    status: PaymentStatus | None = Field(None, description="Only with this status.")
    contract_id: SearchText | None = Field(None, description="Only of this contract.")
    currency: Currency | None = Field(None, description="Only in this currency.")
    transaction_ref: SearchText | None = Field(None, description=WITH_REF)
    created_from: Time | None = Field(None, description="Only created then or later.")
    created_to: Time | None = Field(None, description="Only created then or before.")
    q: Annotated[SearchText, StringConstraints(min_length=1)] | None = Field(
        None, description="Text in the description or in the client's name or e-mail."
    )
    total: bool = Field(False, description="Also count them all, which takes its time.")


class SagaQuery(PageQuery):
    """Which sagas to list; those of the newest payments first."""

    status: SagaStatus | None = Field(None, description="Only with this status.")


class OldestFirstQuery(Model):
    """Which page of a list that shows what is oldest first."""

    limit: int = Field(20, ge=1, le=100, description=LIMIT)
    cursor: Annotated[str, StringConstraints(pattern="^[0-9]{1,18}$")] | None = Field(
        None, description=CURSOR
    )


class ParkedQuery(OldestFirstQuery):
    """Which page of the parked events."""


class HistoryQuery(OldestFirstQuery):
    """Which page of a payment's events."""

    limit: int = Field(100, ge=1, le=100, description=LIMIT)


class NoQuery(Model):
    """There is nothing to choose."""
