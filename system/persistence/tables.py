"""The tables beside the event logs, declared once for both stores."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from system.persistence.text_search import SEARCHED


@dataclass(frozen=True)
class Table:
    """A table of rows found by `key`. Column types are PostgreSQL's; `indexes` are column lists
    or expressions, in the text that follows `ON table`."""

    name: str
    key: tuple[str, ...]
    columns: Mapping[str, str]
    indexes: tuple[str, ...] = ()
    channel: str | None = field(default=None)
    """Told (NOTIFY) when rows of this table were written, but not when some were deleted."""
    waits_for_disk: bool = False
    """True for rows that must not be lost in a crash even though they could be made again."""


AGENDA = Table(
    name="agenda",
    key=("work_id",),
    columns={
        "work_id": "uuid",
        "kind": "text NOT NULL",
        "aggregate_id": "uuid NOT NULL",
        "payment_id": "uuid NOT NULL",
        "detail": "text",
        "due_at": "timestamptz NOT NULL",
        "attempts": "integer NOT NULL DEFAULT 0",
        "claimed_by": "text",
        "claimed_until": "timestamptz",
        "correlation_id": "text NOT NULL",
        "causation_id": "text",
        "trace_id": "text",
        "span_id": "text",
    },
    indexes=("(due_at)", "(claimed_until) WHERE claimed_until IS NOT NULL"),
    channel="agenda",
)

PAYMENTS_VIEW = Table(
    name="view_payments",
    key=("payment_id",),
    columns={
        "payment_id": "uuid",
        "status": "text NOT NULL",
        "amount": "numeric NOT NULL",
        "currency": "text NOT NULL",
        "description": "text NOT NULL",
        "contract_id": "text",
        "client_id": "uuid",
        "client_info": "jsonb",
        "payment_method": "text NOT NULL",
        "capture_method": "text NOT NULL",
        "redirect_url": "text",
        "callback_url": "text",
        "merchant_metadata": "jsonb NOT NULL",
        "amount_captured": "numeric NOT NULL",
        "amount_refunded": "numeric NOT NULL",
        "transaction_ref": "text",
        "gateway_provider": "text",
        "page_url": "text",
        "page_expires_at": "timestamptz",
        "failure": "jsonb",
        "cancellation_reason": "text",
        "version": "integer NOT NULL",
        "created_at": "timestamptz NOT NULL",
        "updated_at": "timestamptz NOT NULL",
        "correlation_id": "text NOT NULL",
    },
    indexes=(
        "(created_at DESC, payment_id DESC)",
        "(status, created_at DESC, payment_id DESC)",
        "(contract_id, created_at DESC, payment_id DESC) WHERE contract_id IS NOT NULL",
        "(currency, created_at DESC, payment_id DESC)",
        "(transaction_ref) WHERE transaction_ref IS NOT NULL",
        f"USING gin (text_trigrams({SEARCHED})) WITH (gin_pending_list_limit = 256)",
        "(client_id) WHERE client_id IS NOT NULL",
    ),
)
"""`client_id` names the key that seals `client_info` in the events."""

REFUNDS_VIEW = Table(
    name="view_refunds",
    key=("refund_id",),
    columns={
        "refund_id": "uuid",
        "payment_id": "uuid NOT NULL",
        "amount": "numeric NOT NULL",
        "status": "text NOT NULL",
        "reason": "text",
        "transaction_ref": "text",
        "created_at": "timestamptz NOT NULL",
    },
    indexes=("(payment_id)",),
)

SAGAS_VIEW = Table(
    name="view_sagas",
    key=("saga_id",),
    columns={
        "saga_id": "uuid",
        "payment_id": "uuid NOT NULL",
        "status": "text NOT NULL",
        "parked_detail": "text",
        "advice": "text",
        "created_at": "timestamptz NOT NULL",
        "updated_at": "timestamptz NOT NULL",
    },
    indexes=(
        "(payment_id)",
        "(created_at DESC, saga_id DESC)",
        "(status, created_at DESC, saga_id DESC) WHERE parked_detail IS NULL",
        "(created_at DESC, saga_id DESC) WHERE parked_detail IS NOT NULL",
    ),
)

WEBHOOKS_VIEW = Table(
    name="view_webhooks",
    key=("webhook_id",),
    columns={
        "webhook_id": "uuid",
        "provider": "text NOT NULL",
        "status": "text NOT NULL",
        "payment_id": "uuid",
        "transaction_ref": "text",
        "transaction_kind": "text",
        "transaction_status": "text",
        "outcome": "text",
        "reason": "text",
        "times_seen": "integer NOT NULL",
        "ip_address": "text",
        "version": "integer NOT NULL",
        "received_at": "timestamptz NOT NULL",
        "updated_at": "timestamptz NOT NULL",
        "correlation_id": "text NOT NULL",
    },
    indexes=(
        "(received_at DESC, webhook_id DESC)",
        "(status, received_at DESC, webhook_id DESC)",
        "(payment_id) WHERE payment_id IS NOT NULL",
        "(transaction_ref) WHERE transaction_ref IS NOT NULL",
    ),
)

CONFIRMATIONS_VIEW = Table(
    name="view_confirmations",
    key=("confirmation_id",),
    columns={
        "confirmation_id": "uuid",
        "payment_id": "uuid NOT NULL",
        "event_id": "uuid NOT NULL",
        "event_type": "text NOT NULL",
        "url": "text NOT NULL",
        "status": "text NOT NULL",
        "attempts": "integer NOT NULL",
        "next_attempt_at": "timestamptz",
        "failed_at": "timestamptz",
        "last_attempt_at": "timestamptz",
        "last_status_code": "integer",
        "last_error": "text",
        "last_response_body": "text",
        "created_at": "timestamptz NOT NULL",
        "updated_at": "timestamptz NOT NULL",
    },
    indexes=(
        "(created_at DESC, confirmation_id DESC)",
        "(payment_id, created_at DESC)",
        "(status, created_at DESC, confirmation_id DESC)",
        "(failed_at) WHERE failed_at IS NOT NULL",
    ),
)

PARKED = Table(
    name="parked_events",
    key=("parked_id",),
    columns={
        "parked_id": "uuid",
        "follower": "text NOT NULL",
        "leader": "text NOT NULL",
        "position": "bigint NOT NULL",
        "payment_id": "uuid NOT NULL",
        "topic": "text NOT NULL",
        "error": "text",
        "attempts": "integer NOT NULL",
        "is_released": "boolean NOT NULL",
        "parked_at": "timestamptz NOT NULL DEFAULT now()",
        "place": "bigserial",
    },
    indexes=("(follower, payment_id, place)",),
    channel="parked_events",
)

BREAKER_METRICS = Table(
    name="breaker_metrics",
    key=("process", "service_name"),
    columns={
        "process": "text",
        "service_name": "text",
        "metrics": "jsonb NOT NULL",
        "last_failure_time": "timestamptz",
        "shown_at": "timestamptz NOT NULL",
    },
)

JOURNAL = Table(
    name="journal",
    key=("position",),
    columns={
        "position": "bigint",
        "hash": "bytea NOT NULL",
        "log": "text NOT NULL",
        "log_position": "bigint NOT NULL",
        "record_hash": "bytea NOT NULL",
        "event_id": "uuid NOT NULL UNIQUE",
        "type": "text NOT NULL",
        "aggregate_id": "uuid NOT NULL",
        "subject_id": "uuid NOT NULL",
        "correlation_id": "text NOT NULL",
        "timestamp": 'text COLLATE "C" NOT NULL',
        "envelope": "text NOT NULL",
    },
    indexes=(
        "(type, position)",
        "(aggregate_id, position)",
        "(subject_id, position)",
        "(correlation_id, position)",
        "(timestamp, position)",
    ),
    channel="journal",
    waits_for_disk=True,
)
"""See `application.journal` for what the columns hold. Readers remember positions, and people keep
hashes elsewhere: a crash must not give an entry another place."""

CONTRACTS_VIEW = Table(
    name="view_contracts",
    key=("aggregate_id",),
    columns={
        "aggregate_id": "uuid",
        "contract_id": "text NOT NULL",
        "payee_id": "text NOT NULL",
        "is_cancelled": "boolean NOT NULL",
        "created_at": "timestamptz NOT NULL",
    },
    indexes=(
        "(created_at DESC, aggregate_id DESC)",
        "(payee_id, created_at DESC, aggregate_id DESC)",
    ),
)

EARNINGS_VIEW = Table(
    name="view_earnings",
    key=("event_id",),
    columns={
        "event_id": "uuid",
        "contract_id": "text NOT NULL",
        "payment_id": "uuid NOT NULL",
        "payee_id": "text NOT NULL",
        "currency": "text NOT NULL",
        "gross": "numeric NOT NULL",
        "platform_fee": "numeric NOT NULL",
        "net": "numeric NOT NULL",
        "calculated_at": "timestamptz NOT NULL",
    },
    indexes=("(contract_id, payment_id)", "(payee_id, currency)"),
)

EVENT_COUNTS = Table(
    name="event_counts",
    key=("log", "topic", "reason", "le"),
    columns={
        "log": "text",
        "topic": "text",
        "reason": "text",
        "le": "double precision",
        "count": "bigint NOT NULL",
        "seconds": "double precision NOT NULL",
    },
)
"""How many events there are of a kind, and for the last ones of payments how long the payment took:
`le` is the bound of the histogram's bucket, `seconds` the sum. See `system.event_counts`."""

EVENT_COUNT_POSITIONS = Table(
    name="event_count_positions",
    key=("log",),
    columns={"log": "text", "position": "bigint NOT NULL"},
)

TABLES = {
    table.name: table
    for table in (
        AGENDA,
        BREAKER_METRICS,
        CONFIRMATIONS_VIEW,
        CONTRACTS_VIEW,
        EARNINGS_VIEW,
        EVENT_COUNTS,
        EVENT_COUNT_POSITIONS,
        JOURNAL,
        PARKED,
        PAYMENTS_VIEW,
        REFUNDS_VIEW,
        SAGAS_VIEW,
        WEBHOOKS_VIEW,
    )
}
