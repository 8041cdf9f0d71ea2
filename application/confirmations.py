"""The log of confirmations: what merchants were told, and when they are told again."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Protocol
from uuid import UUID

from application.event_log import EventLog
from application.rows import RowChange
from domain.confirmation import Confirmation, ConfirmationStatus
from domain.keyed_request import serving

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
"""What a merchant may ask for at the most."""

ORDER_WAIT_MAX = timedelta(hours=1)
"""How long a message waits for earlier ones of its payment that are still being tried."""

ORDER_LOOK_MIN = timedelta(seconds=1)
ORDER_LOOK_MAX = timedelta(minutes=1)
ORDER_LOOK_SHARE = 4
"""A message that waits for another looks again after a fourth of the time it has waited so far."""

RESPONSE_BODY_LENGTH_MAX = 1024
"""So much of an endpoint's answer is kept for people to read, in characters."""


@dataclass(frozen=True)
class Delivery:
    """What came of one attempt. `response_body` is the beginning of what the endpoint said."""

    status_code: int | None
    error: str | None = None
    retry_after: timedelta | None = None
    response_body: str | None = None

    @property
    def is_success(self) -> bool:
        """True for any 2xx."""
        return self.status_code is not None and 200 <= self.status_code < 300

    @property
    def is_gone(self) -> bool:
        """True for a 410: the merchant wants to hear no more."""
        return self.status_code == 410


class MerchantNotifier(Protocol):
    """Sends one signed message to a merchant; whatever goes wrong comes back as a `Delivery`.
    Only a guard in front of one raises `NotAttempted`, when it did not let the message through."""

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
        rows: list[RowChange] = []

        def decide(confirmation: Confirmation) -> None:
            next_at = next_attempt_at(confirmation, delivery, now)
            rows[:] = rows_for(next_at)
            body = delivery.response_body
            if delivery.is_success:
                confirmation.deliver(delivery.status_code or 200, body)
            else:
                error = delivery.error or f"HTTP {delivery.status_code}"
                confirmation.fail_attempt(delivery.status_code, error, next_at, body)

        self.change(confirmation_id, decide, rows)

    def postpone(
        self, confirmation_id: UUID, reason: str, until: datetime, rows: Sequence[RowChange]
    ) -> None:
        """Puts an attempt off without counting one; see `Confirmation.postpone`."""
        self.change(
            confirmation_id, lambda confirmation: confirmation.postpone(reason, until), rows
        )

    def redeliver(self, confirmation_id: UUID, actor: str) -> Confirmation:
        """Lets one confirmation be tried again at once, and then on schedule, whatever came of it
        before.

        Raises:
            AggregateNotFoundError: there is no such confirmation.
        """
        return self.change(confirmation_id, lambda confirmation: confirmation.redeliver(actor))

    def redeliver_failed(self, find: Callable[[], Iterable[UUID]], actor: str) -> int:
        """Does the same for each that `find` gives and whose last attempt failed, given up or not;
        returns for how many. Those delivered, or asked for again, meanwhile are passed over. A
        keyed request counts as done when all of them are: after a crash its repeat does the rest.
        """
        counts: list[bool] = []

        def redeliver_all() -> Sequence[RowChange]:
            with serving(None):
                counts.extend(self._redeliver_if_failed(found, actor) for found in find())
            return ()

        self.change_rows(redeliver_all)
        return sum(counts)

    def _redeliver_if_failed(self, confirmation_id: UUID, actor: str) -> bool:
        rounds: list[int] = []

        def decide(confirmation: Confirmation) -> None:
            rounds[:] = [confirmation.round]
            if confirmation.has_failed:
                confirmation.redeliver(actor)

        return self.change(confirmation_id, decide).round > rounds[0]


def next_attempt_at(
    confirmation: Confirmation, delivery: Delivery, now: datetime
) -> datetime | None:
    """When to try again after a delivery; None when it succeeded, or when nothing is left to try.

    The jitter is derived from the confirmation, so that a replay gives the same times.
    """
    done = delivery.is_success or delivery.is_gone
    if done or confirmation.failures >= len(RETRY_DELAYS):
        return None
    delay = RETRY_DELAYS[confirmation.failures]
    digest = sha256(f"{confirmation.id}:{confirmation.attempts}".encode()).digest()
    delay += delay * JITTER * (digest[0] / 255)
    return now + max(delay, min(delivery.retry_after or timedelta(0), RETRY_AFTER_MAX))


def look_again_at(
    confirmation: Confirmation, earlier: Iterable[Confirmation], now: datetime
) -> datetime | None:
    """When a confirmation that waits for earlier ones of its payment looks at them again; None
    when it need not wait: none is being tried any more, or it has waited `ORDER_WAIT_MAX`. What
    counts is the time since it was held back first: an outage of ours brings nothing forward."""
    waited = now - (confirmation.held_since or now)
    is_free = all(other.status is not ConfirmationStatus.PENDING for other in earlier)
    if is_free or waited >= ORDER_WAIT_MAX:
        return None
    return now + min(max(waited / ORDER_LOOK_SHARE, ORDER_LOOK_MIN), ORDER_LOOK_MAX)
