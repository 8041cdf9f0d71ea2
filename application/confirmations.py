"""The log of confirmations: what merchants were told, and when they are told again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Protocol
from uuid import UUID

from application.event_log import EventLog
from application.rows import RowChange
from domain.confirmation import Confirmation

RETRY_DELAYS: tuple[timedelta, ...] = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"""The waits after each failed attempt, over 75 hours in all (contract 7)."""

JITTER = 0.1
"""The most by which a wait is lengthened, as a share of it."""

RETRY_AFTER_MAX = timedelta(hours=24)


@dataclass(frozen=True)
class Delivery:
    """What came of one attempt. `is_gone` is a 410: the merchant wants no more of it."""

    status_code: int | None
    error: str | None = None
    retry_after: timedelta | None = None

    @property
    def is_success(self) -> bool:
        """True for any 2xx."""
        return self.status_code is not None and 200 <= self.status_code < 300

    @property
    def is_gone(self) -> bool:
        """True for a 410: the merchant wants to hear no more."""
        return self.status_code == 410


class MerchantNotifier(Protocol):
    """Sends one signed message to a merchant; whatever goes wrong comes back as a `Delivery`."""

    def send(self, url: str, message_id: str, body: bytes, sent_at: datetime) -> Delivery:
        """POSTs `body` to `url` with Standard Webhooks headers."""
        ...


class Confirmations(EventLog[Confirmation]):
    """Holds `Confirmation`."""

    name = "Confirmations"

    def record_delivery(
        self,
        confirmation_id: UUID,
        delivery: Delivery,
        now: datetime,
        rows_for: Callable[[datetime | None], Sequence[RowChange]],
    ) -> None:
        """Records one attempt. `rows_for` turns the time of the next one (None: there is none)
        into changes of the agenda, written in the same transaction.

        Raises:
            AggregateNotFoundError: there is no such confirmation.
        """
        confirmation = self.get(confirmation_id)
        next_at = next_attempt_at(confirmation, delivery, now)
        if delivery.is_success:
            confirmation.deliver(delivery.status_code or 200)
        else:
            error = delivery.error or f"HTTP {delivery.status_code}"
            confirmation.fail_attempt(delivery.status_code, error, next_at)
        self.record(confirmation, rows=rows_for(next_at))


def next_attempt_at(
    confirmation: Confirmation, delivery: Delivery, now: datetime
) -> datetime | None:
    """When to try again after a delivery; None when it succeeded, or when nothing is left to try.

    The jitter is derived from the confirmation, so that a replay gives the same times.
    """
    done = delivery.is_success or delivery.is_gone
    if done or confirmation.attempts >= len(RETRY_DELAYS):
        return None
    delay = RETRY_DELAYS[confirmation.attempts]
    digest = sha256(f"{confirmation.id}:{confirmation.attempts}".encode()).digest()
    delay += delay * JITTER * (digest[0] / 255)
    return now + max(delay, min(delivery.retry_after or timedelta(0), RETRY_AFTER_MAX))
