"""The steps of a payment saga and what undoes each of them, as data."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class Step(StrEnum):
    """What has to happen for a payment to succeed, in order."""

    CREATE_RECORD = "create_record"
    OPEN_AT_GATEWAY = "open_at_gateway"
    AWAIT_CUSTOMER = "await_customer"
    SETTLE = "settle"
    CAPTURE = "capture"
    CONFIRM = "confirm"


def steps_of(*, capture: bool) -> list[Step]:
    """The steps of a payment: one that is captured with its sale has no capture of its own."""
    return [step for step in Step if step is not Step.CAPTURE or not capture]


COMPENSATIONS: dict[Step, str] = {
    Step.CREATE_RECORD: "close_record",
    Step.OPEN_AT_GATEWAY: "abandon_page",
    Step.SETTLE: "give_money_back",
    Step.CAPTURE: "give_money_back",
}
"""What undoes a step that took effect; waiting and telling leave nothing to undo."""


class StepStatus(StrEnum):
    """Where one step stands."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    COMPENSATING = "compensating"
    COMPENSATED = "compensated"


@dataclass
class StepState:
    """One step's history in brief; `compensation` names what undoes it, if anything does."""

    name: Step
    status: StepStatus = StepStatus.PENDING
    started_at: datetime | None = None
    ended_at: datetime | None = None
    attempts: int = 0
    error: str | None = None

    @property
    def compensation(self) -> str | None:
        """The name of the compensation (see `COMPENSATIONS`)."""
        return COMPENSATIONS.get(self.name)


class SagaStatus(StrEnum):
    """Where a saga stands (contract 4)."""

    RUNNING = "running"
    WAITING = "waiting"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    COMPENSATED = "compensated"
    PARKED = "parked"


class Deadline(StrEnum):
    """The moments at which a saga asks after a payment of its own accord."""

    RECONCILE = "reconcile"
    LATE_MONEY = "late_money"
    AUTHORIZATION = "authorization"


@dataclass(frozen=True)
class SagaTimings:
    """When a saga asks, repeats and gives up.

    `page_ttl` is the life of a hosted page (PayTabs, section 2.4). `reconcile_after` is the first
    gap before the saga asks after a page nothing was heard of; later gaps double.
    """

    page_ttl: timedelta = timedelta(minutes=20)
    reconcile_after: timedelta = timedelta(seconds=60)
    hurry_after: timedelta = timedelta(seconds=5)
    """How long a callback may take when the customer is back already, before the saga asks."""
    expiry_grace: timedelta = timedelta(seconds=60)
    """How long after the page's end the gateway may still be closing it."""
    late_money_after: timedelta = timedelta(minutes=70)
    """When late 3-D Secure results are known at last (PayTabs, section 10)."""
    last_page_after: timedelta = timedelta(minutes=190)
    """When the pages of slow payment methods are over, too (PayTabs, section 10: about 3 hours)."""
    held_gap: timedelta = timedelta(days=1)
    """Between questions about what the gateway holds or has pending."""
    held_max: timedelta = timedelta(days=31)
    """After so long the bank has dropped a held payment, without a word (PayTabs, section 4)."""
    authorization_ttl: timedelta = timedelta(days=7)
    """For how long an authorization waits to be captured; then it is let go."""
    proof_after: timedelta = timedelta(minutes=3)
    """How long a follow-up may take to show at the gateway: later its absence is a proof."""
    retry_base: timedelta = timedelta(seconds=2)
    retry_max: timedelta = timedelta(seconds=60)

    def retry_delay(self, attempt: int, longest: timedelta | None = None) -> timedelta:
        """The wait before another attempt: doubling from `retry_base`, at most `longest`, which
        is `retry_max` unless said otherwise."""
        return min(self.retry_base * (1 << min(attempt - 1, 32)), longest or self.retry_max)

    def next_reconciliation(
        self, opened_at: datetime, expires_at: datetime, now: datetime
    ) -> datetime:
        """When to ask next after a page that is still open: growing gaps, and once at its end."""
        page_over_at = expires_at + self.expiry_grace
        gap = max(self.reconcile_after, now - opened_at)
        if now >= page_over_at:
            return now + self.held_gap
        return min(now + gap, page_over_at)
