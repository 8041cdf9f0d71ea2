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
    """The signed callback to a merchant's `callbackUrl` (contract 7)."""

    class Requested(PaySagaAggregate.Created):
        event_type = PaymentEventType.CONFIRMATION_REQUESTED
        priority = Priority.LOW
        payment_id: UUID
        payment_version: int
        told: PaymentEventType
        url: str

    class AttemptFailed(PaySagaAggregate.Event):
        event_type = PaymentEventType.CONFIRMATION_ATTEMPT_FAILED
        payment_id: UUID
        told: PaymentEventType
        attempt: int
        status_code: int | None
        error: str
        next_attempt_at: datetime

        def apply(self, aggregate: "Confirmation") -> None:
            aggregate.attempts = self.attempt

    class Delivered(PaySagaAggregate.Event):
        event_type = PaymentEventType.CONFIRMATION_DELIVERED
        payment_id: UUID
        told: PaymentEventType
        attempt: int
        status_code: int

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

        def apply(self, aggregate: "Confirmation") -> None:
            aggregate.attempts = self.attempt
            aggregate.status = ConfirmationStatus.EXHAUSTED

    def __init__(
        self, payment_id: UUID, payment_version: int, told: PaymentEventType, url: str
    ) -> None:
        self.payment_id = payment_id
        self.told = told
        self.payment_version = payment_version
        self.url = url
        self.status = ConfirmationStatus.PENDING
        self.attempts = 0

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

    def deliver(self, status_code: int) -> None:
        """The merchant took it (any 2xx)."""
        if self.status is ConfirmationStatus.PENDING:
            self.trigger_event(
                self.Delivered,
                payment_id=self.payment_id,
                told=self.told,
                attempt=self.attempts + 1,
                status_code=status_code,
            )

    def fail_attempt(
        self, status_code: int | None, error: str, next_attempt_at: datetime | None
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
        }
        if next_attempt_at is None:
            self.trigger_event(self.Exhausted, **failed)
        else:
            self.trigger_event(self.AttemptFailed, next_attempt_at=next_attempt_at, **failed)
