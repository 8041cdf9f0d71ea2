"""The answers of the API, described: what OpenAPI says of them, and what tests compare them with.

The documents themselves are made in `interface.web.documents`, straight from aggregates and rows.
"""

from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

from application.circuit_breaker import CircuitState
from domain.event import PaymentEventType, Priority
from domain.payment_terms import PaymentStatus, RefundStatus
from domain.saga_steps import Deadline, SagaStatus, Step, StepStatus

Item = TypeVar("Item")

Exact = Annotated[
    Decimal,
    PlainSerializer(float, return_type=float),
    Field(description="In major units, with exactly the decimals of the currency."),
]
"""A JSON number; no float is involved in writing it."""
Id = Annotated[str, Field(json_schema_extra={"format": "uuid"})]
NextCursor = Annotated[str | None, Field(description="For the next page; null on the last.")]


class Answer(BaseModel):
    """A camelCase JSON object with all of its members, and no others."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")


class Redirect(Answer):
    """Where the customer pays."""

    type: Literal["redirect"]
    url: str
    expires_at: AwareDatetime


class FailureAnswer(Answer):
    """Why a payment failed."""

    code: str
    message: str
    gateway_code: str | None


class AddressAnswer(Answer):
    """A postal address."""

    street: str | None
    city: str | None
    state: str | None
    country: str | None
    zip: str | None


class ClientAnswer(Answer):
    """Who pays."""

    name: str | None
    email: str | None
    phone: str | None
    address: AddressAnswer | None


class RefundAnswer(Answer):
    """Money given back, or to be given back."""

    refund_id: Id
    amount: Exact
    status: RefundStatus
    reason: str | None
    transaction_ref: str | None
    created_at: AwareDatetime


class SagaSummary(Answer):
    """Where the payment's saga stands."""

    saga_id: Id
    status: SagaStatus


class PaymentAnswer(Answer):
    """A payment as it stands."""

    payment_id: Id
    status: PaymentStatus
    amount: Exact
    currency: str
    description: str
    contract_id: str | None
    client_info: ClientAnswer | None
    payment_method: str
    capture_method: Literal["automatic", "manual"]
    redirect_url: str | None
    callback_url: str | None
    metadata: dict[str, str]
    amount_captured: Exact
    amount_refunded: Exact
    transaction_ref: str | None
    gateway_provider: str | None
    next_action: Redirect | None
    failure: FailureAnswer | None
    cancellation_reason: str | None
    refunds: list[RefundAnswer]
    saga: SagaSummary
    version: Annotated[int, Field(ge=1)]
    created_at: AwareDatetime
    updated_at: AwareDatetime
    correlation_id: str


class StepAnswer(Answer):
    """One step of a saga, and what undoes it."""

    name: Step
    status: StepStatus
    started_at: AwareDatetime | None
    ended_at: AwareDatetime | None
    attempts: Annotated[int, Field(ge=0)]
    error: str | None
    compensation: str | None


class DeadlineAnswer(Answer):
    """When the saga looks at the payment again of its own accord."""

    name: Deadline
    due_at: AwareDatetime


class SagaAnswer(Answer):
    """The saga of a payment."""

    saga_id: Id
    payment_id: Id
    status: SagaStatus
    parked: Annotated[str | None, Field(description="Why only a person can go on.")]
    steps: list[StepAnswer]
    deadlines: list[DeadlineAnswer]
    version: Annotated[int, Field(ge=0, description="0: the saga has not begun yet.")]


class SagaRow(Answer):
    """A saga in a list."""

    saga_id: Id
    payment_id: Id
    status: SagaStatus
    parked: str | None
    advice: str | None
    created_at: AwareDatetime
    updated_at: AwareDatetime


class EventMetadata(Answer):
    """Who and what caused an event."""

    source: str | None
    user_id: str | None
    session_id: str | None
    ip_address: str | None
    user_agent: str | None
    trace_id: str | None
    span_id: str | None


class EventAnswer(Answer):
    """An event in its envelope; `data` depends on `type`."""

    id: Id
    type: PaymentEventType
    timestamp: AwareDatetime
    version: str
    priority: Priority
    status: Literal["PENDING", "PROCESSING", "PROCESSED", "FAILED"]
    correlation_id: str
    causation_id: str | None
    aggregate_id: Id
    aggregate_type: str
    aggregate_version: Annotated[int, Field(ge=1)]
    metadata: EventMetadata
    data: dict[str, Any]


class BreakerAnswer(Answer):
    """A circuit breaker; times in ms, rates in percent."""

    name: str
    state: CircuitState
    metrics: dict[str, Any]
    configuration: dict[str, Any]
    next_retry_time: AwareDatetime | None
    last_failure_time: AwareDatetime | None


class PositionAnswer(Answer):
    """One follower on one log."""

    follower: str
    leader: str
    position: Annotated[int, Field(ge=0)]
    head: Annotated[int, Field(ge=0)]
    lag_events: Annotated[int, Field(ge=0)]
    lag_seconds: Annotated[float, Field(ge=0)]
    last_active_at: AwareDatetime | None
    process: str | None
    parked_events: Annotated[int, Field(ge=0)]
    state: Literal["running", "stale", "never_run"]


class RebuildAnswer(Answer):
    """How far a rebuild has come; neither running nor interrupted: there is none."""

    projection: str
    is_running: bool
    is_interrupted: bool
    position: Annotated[int, Field(ge=0, description="So many events are taken in.")]
    total: Annotated[int, Field(ge=0, description="So many there are to take in.")]


class ParkedEventAnswer(Answer):
    """An event set aside for one follower."""

    parked_id: Id
    follower: str
    leader: str
    position: int
    payment_id: Id
    topic: str
    error: str | None
    attempts: Annotated[int, Field(ge=0)]
    is_released: bool
    place: int


class ParkedEventTold(Answer):
    """What a follower was told about a parked event."""

    parked_id: Id
    outcome: Literal["released", "skipped"]


class Page(Answer, Generic[Item]):
    """A page of a list."""

    data: list[Item]
    next_cursor: NextCursor


class PaymentList(Page[PaymentAnswer]):
    """Payments, newest first."""

    total: Annotated[int, Field(ge=0, description="How many in all; with `total=true`.")] = 0


class EventList(Page[EventAnswer]):
    """Events, oldest first."""


class SagaList(Page[SagaRow]):
    """Sagas, those of the newest payments first."""


class BreakerList(Page[BreakerAnswer]):
    """Circuit breakers by name."""


class PositionList(Page[PositionAnswer]):
    """Followers and the logs they follow."""


class ParkedEventList(Page[ParkedEventAnswer]):
    """Parked events, oldest first."""


class FieldProblem(Answer):
    """What is wrong with one field: `pointer` names it (RFC 6901)."""

    pointer: str
    detail: str


class ProblemAnswer(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(alias_generator=to_camel)

    type: str
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    instance: str
    code: Annotated[str, Field(description="Stable, in snake_case; see the table of problems.")]
    correlation_id: str | None
    errors: list[FieldProblem] | None = None
    current_status: str | None = None
    allowed_statuses: list[str] | None = None
