"""One message to the merchant about one event of a payment, attempt by attempt."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid5

from domain.event import PaymentEventType, PaySagaAggregate, Priority, event_id_of


class ConfirmationStatus(StrEnum):
    """Pending while it is being tried; then delivered or exhausted."""

    PENDING = "pending"
    DELIVERED = "delivered"
    EXHAUSTED = "exhausted"


class Confirmation(PaySagaAggregate):
    """The signed callback to a merchant's `callbackUrl` (contract 7).

    It is tried in rounds: the first begins when it is requested, another whenever somebody asks
    for a redelivery. `attempts` counts all attempts, `failures` those of this round.
    """

    class Requested(PaySagaAggregate.Created):
        event_type = PaymentEventType.CONFIRMATION_REQUESTED
        priority = Priority.LOW
        payment_id: UUID
        payment_version: int
        told: PaymentEventType
        url: str

    class Postponed(PaySagaAggregate.Event):
        """It has to wait without an attempt: nothing was sent. Recorded once in a round."""

        event_type = PaymentEventType.CONFIRMATION_POSTPONED
        priority = Priority.LOW
        payment_id: UUID
        told: PaymentEventType
        reason: str
        next_attempt_at: datetime

        def apply(self, aggregate: "Confirmation") -> None:
            aggregate.held_since = self.timestamp

    class AttemptFailed(PaySagaAggregate.Event):
        event_type = PaymentEventType.CONFIRMATION_ATTEMPT_FAILED
        payment_id: UUID
        told: PaymentEventType
        attempt: int
        status_code: int | None
        error: str
        response_body: str | None
        next_attempt_at: datetime

        def apply(self, aggregate: "Confirmation") -> None:
            aggregate.attempts = self.attempt
            aggregate.failures += 1

    class Delivered(PaySagaAggregate.Event):
        event_type = PaymentEventType.CONFIRMATION_DELIVERED
        payment_id: UUID
        told: PaymentEventType
        attempt: int
        status_code: int
        response_body: str | None

        def apply(self, aggregate: "Confirmation") -> None:
            aggregate.attempts = self.attempt
            aggregate.status = ConfirmationStatus.DELIVERED

    class Exhausted(PaySagaAggregate.Event):
        event_type = PaymentEventType.CONFIRMATION_EXHAUSTED
        priority = Priority.HIGH
        payment_id: UUID
        told: PaymentEventType
        attempt: int
        status_code: int | None
        error: str
        response_body: str | None

        def apply(self, aggregate: "Confirmation") -> None:
            aggregate.attempts = self.attempt
            aggregate.failures += 1
            aggregate.status = ConfirmationStatus.EXHAUSTED

    class RedeliveryRequested(PaySagaAggregate.Event):
        """Somebody wants it tried again, with the whole schedule before it."""

        event_type = PaymentEventType.CONFIRMATION_REDELIVERY_REQUESTED
        payment_id: UUID
        told: PaymentEventType
        round: int
        actor: str

        def apply(self, aggregate: "Confirmation") -> None:
            aggregate.status = ConfirmationStatus.PENDING
            aggregate.round = self.round
            aggregate.held_since = None
            aggregate.failures = 0

    def __init__(
        self, payment_id: UUID, payment_version: int, told: PaymentEventType, url: str
    ) -> None:
        self.payment_id = payment_id
        self.told = told
        self.payment_version = payment_version
        self.url = url
        self.status = ConfirmationStatus.PENDING
        self.attempts = 0
        self.failures = 0
        self.round = 0
        self.held_since: datetime | None = None

    @staticmethod
    def create_id(payment_id: UUID, payment_version: int) -> UUID:
        """The id of the confirmation of one event: there is never a second one."""
        return uuid5(event_id_of(payment_id, payment_version), "confirmation")

    @classmethod
    def request(
        cls, payment_id: UUID, payment_version: int, told: PaymentEventType, url: str
    ) -> "Confirmation":
        """Asks for one event of a payment, of the type `told`, to be told to the merchant."""
        return cls._create(
            cls.Requested,
            id=cls.create_id(payment_id, payment_version),
            payment_id=payment_id,
            payment_version=payment_version,
            told=told,
            url=url,
        )

    @property
    def event_id(self) -> UUID:
        """The public id of the event that is told."""
        return event_id_of(self.payment_id, self.payment_version)

    @staticmethod
    def round_id_of(confirmation_id: UUID, round_: int) -> UUID:
        """The id of the work that one round of attempts is on the agenda."""
        return uuid5(confirmation_id, f"round {round_}") if round_ else confirmation_id

    def awaits(self, round_id: UUID) -> bool:
        """True while it is to be tried in the round with this id."""
        is_current = round_id == self.round_id_of(self.id, self.round)
        return is_current and self.status is ConfirmationStatus.PENDING

    def deliver(self, status_code: int, response_body: str | None = None) -> None:
        """The merchant took it (any 2xx)."""
        if self.status is ConfirmationStatus.PENDING:
            self.trigger_event(
                self.Delivered,
                payment_id=self.payment_id,
                told=self.told,
                attempt=self.attempts + 1,
                status_code=status_code,
                response_body=response_body,
            )

    def fail_attempt(
        self,
        status_code: int | None,
        error: str,
        next_attempt_at: datetime | None,
        response_body: str | None = None,
    ) -> None:
        """One attempt came to nothing; without a next attempt the confirmation is exhausted."""
        if self.status is not ConfirmationStatus.PENDING:
            return
        failed: dict[str, Any] = {
            "payment_id": self.payment_id,
            "told": self.told,
            "attempt": self.attempts + 1,
            "status_code": status_code,
            "error": error,
            "response_body": response_body,
        }
        if next_attempt_at is None:
            self.trigger_event(self.Exhausted, **failed)
        else:
            self.trigger_event(self.AttemptFailed, next_attempt_at=next_attempt_at, **failed)

    def postpone(self, reason: str, next_attempt_at: datetime) -> None:
        """It has to wait without an attempt, and is in the hands of its schedule: said once in a
        round."""
        if self.status is ConfirmationStatus.PENDING and self.held_since is None:
            self.trigger_event(
                self.Postponed,
                payment_id=self.payment_id,
                told=self.told,
                reason=reason,
                next_attempt_at=next_attempt_at,
            )

    def redeliver(self, actor: str) -> None:
        """Begins another round at once, whatever came of the last."""
        self.trigger_event(
            self.RedeliveryRequested,
            payment_id=self.payment_id,
            told=self.told,
            round=self.round + 1,
            actor=actor,
        )

    @property
    def has_failed(self) -> bool:
        """True when the last attempt of this round failed, given up or not."""
        return self.failures > 0 and self.status is not ConfirmationStatus.DELIVERED
