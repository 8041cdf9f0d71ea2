"""A contract: instalments that fall due on their dates, each paid by a payment of its own."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid5

from domain.errors import DomainError, InvalidTransition
from domain.event import PaymentEventType, PaySagaAggregate, Priority
from domain.money import Money
from domain.sealed import Sealed

CONTRACT_NAMESPACE = UUID("3e5f2d0a-6a3b-5c58-9d0c-7a1b8f6c2e11")
DESCRIPTION_LENGTH_MAX = 128
"""The longest description of a payment (contract 4)."""


class UnknownInstalment(DomainError):
    """The contract has no instalment of that number."""

    code = "unknown_instalment"


class ContractStatus(StrEnum):
    """Active until every instalment is paid, or until somebody cancels it."""

    ACTIVE = "active"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class InstalmentStatus(StrEnum):
    """Where an instalment stands. `UNPAID`: its payment failed or was cancelled; it may be asked
    for again."""

    SCHEDULED = "scheduled"
    DUE = "due"
    PAID = "paid"
    UNPAID = "unpaid"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Payee:
    """Who earns from a contract: the merchant's own id and name of them."""

    id: str
    name: str


@dataclass(frozen=True)
class Terms:
    """What is due when: the amount falls due as the day `due_on` begins (UTC)."""

    due_on: date
    amount: Money


@dataclass
class Instalment:
    """One instalment and the payments that were started for it, the latest last."""

    terms: Terms
    status: InstalmentStatus = InstalmentStatus.SCHEDULED
    payment_ids: list[UUID] = field(default_factory=list)

    def is_overdue(self, today: date) -> bool:
        """True when its day has passed and nobody has paid, be a payment started for it or not."""
        is_over = self.status in {InstalmentStatus.PAID, InstalmentStatus.CANCELLED}
        return not is_over and today > self.terms.due_on


class Contract(PaySagaAggregate):
    """Instalments, a payee and the platform's share in percent. Instalments are numbered from 1."""

    class Agreed(PaySagaAggregate.Created):
        event_type = PaymentEventType.CONTRACT_CREATED
        contract_id: str
        description: str
        currency: str
        client: Sealed | None
        payee: Payee
        platform_fee_percent: Decimal
        instalments: list[Terms]
        callback_url: str | None

    class PaymentDue(PaySagaAggregate.Event):
        event_type = PaymentEventType.CONTRACT_PAYMENT_DUE
        priority = Priority.HIGH
        contract_id: str
        instalment: int
        amount: Money
        due_on: date
        payment_id: UUID
        description: str
        client: Sealed | None
        callback_url: str | None

        def apply(self, aggregate: "Contract") -> None:
            instalment = aggregate.instalments[self.instalment - 1]
            instalment.status = InstalmentStatus.DUE
            instalment.payment_ids.append(self.payment_id)

    class InstalmentPaid(PaySagaAggregate.Event):
        event_type = PaymentEventType.CONTRACT_INSTALMENT_PAID
        contract_id: str
        instalment: int
        payment_id: UUID

        def apply(self, aggregate: "Contract") -> None:
            aggregate.instalments[self.instalment - 1].status = InstalmentStatus.PAID

    class InstalmentUnpaid(PaySagaAggregate.Event):
        event_type = PaymentEventType.CONTRACT_INSTALMENT_UNPAID
        priority = Priority.HIGH
        contract_id: str
        instalment: int
        payment_id: UUID
        reason: str

        def apply(self, aggregate: "Contract") -> None:
            aggregate.instalments[self.instalment - 1].status = InstalmentStatus.UNPAID

    class Cancelled(PaySagaAggregate.Event):
        event_type = PaymentEventType.CONTRACT_CANCELLED
        contract_id: str
        reason: str
        open_payments: list[UUID]
        scheduled: list[int]
        """The instalments that had not fallen due."""

        def apply(self, aggregate: "Contract") -> None:
            aggregate.cancellation_reason = self.reason
            for instalment in aggregate.instalments:
                if instalment.status is not InstalmentStatus.PAID:
                    instalment.status = InstalmentStatus.CANCELLED

    def __init__(
        self,
        contract_id: str,
        description: str,
        currency: str,
        client: Sealed | None,
        payee: Payee,
        platform_fee_percent: Decimal,
        instalments: Sequence[Terms],
        callback_url: str | None,
        metadata: Any,
    ) -> None:
        self.contract_id = contract_id
        self.description = description
        self.currency = currency
        self.client = client
        self.payee = payee
        self.platform_fee_percent = platform_fee_percent
        self.instalments = [Instalment(terms) for terms in instalments]
        self.callback_url = callback_url
        self.correlation_id: str = metadata.correlation_id
        self.cancellation_reason: str | None = None

    @staticmethod
    def create_id(contract_id: str) -> UUID:
        """The id of the aggregate behind a `contractId`."""
        return uuid5(CONTRACT_NAMESPACE, contract_id)

    @classmethod
    def create(cls, contract_id: str, **agreed: Any) -> "Contract":
        """Records an agreement; the fields are those of `Agreed`."""
        return cls._create(
            cls.Agreed, id=cls.create_id(contract_id), contract_id=contract_id, **agreed
        )

    @property
    def status(self) -> ContractStatus:
        """Where the contract stands."""
        if self.cancellation_reason is not None:
            return ContractStatus.CANCELLED
        is_paid = all(each.status is InstalmentStatus.PAID for each in self.instalments)
        return ContractStatus.COMPLETED if is_paid else ContractStatus.ACTIVE

    def fall_due(self, number: int) -> None:
        """The day of an instalment has come: a payment is due. Nothing the second time.

        Raises:
            UnknownInstalment: there is none of that number.
        """
        if self._instalment(number).status is InstalmentStatus.SCHEDULED:
            self._ask_for_payment(number)

    def ask_again(self, number: int) -> None:
        """Another payment is due for an instalment whose payment failed or was cancelled.

        Raises:
            UnknownInstalment: there is none of that number.
            InvalidTransition: it is not `unpaid`.
        """
        status = self._instalment(number).status
        if status is InstalmentStatus.DUE:
            return
        if status is not InstalmentStatus.UNPAID:
            allowed = {InstalmentStatus.UNPAID}
            raise InvalidTransition("asked for again", status, allowed, subject="instalment")
        self._ask_for_payment(number)

    def settle(self, payment_id: UUID) -> None:
        """A payment of the contract has the customer's money, be the contract cancelled or not.
        Nothing when it is for no instalment."""
        number = self._number_of(payment_id)
        if number and self._instalment(number).status is not InstalmentStatus.PAID:
            self.trigger_event(
                self.InstalmentPaid,
                contract_id=self.contract_id,
                instalment=number,
                payment_id=payment_id,
            )

    def miss(self, payment_id: UUID, reason: str) -> None:
        """The latest payment for an instalment failed or was cancelled."""
        number = self._number_of(payment_id)
        if not number:
            return
        instalment = self._instalment(number)
        is_latest = instalment.payment_ids[-1] == payment_id
        if is_latest and instalment.status is InstalmentStatus.DUE:
            self.trigger_event(
                self.InstalmentUnpaid,
                contract_id=self.contract_id,
                instalment=number,
                payment_id=payment_id,
                reason=reason,
            )

    def cancel(self, reason: str) -> None:
        """Nothing more falls due, and open payments are called off.

        Raises:
            InvalidTransition: every instalment is paid.
        """
        if self.status is ContractStatus.CANCELLED:
            return
        if self.status is ContractStatus.COMPLETED:
            allowed = {ContractStatus.ACTIVE}
            raise InvalidTransition("cancelled", self.status, allowed, subject="contract")
        numbered = list(enumerate(self.instalments, start=1))
        self.trigger_event(
            self.Cancelled,
            contract_id=self.contract_id,
            reason=reason,
            open_payments=[
                each.payment_ids[-1] for _, each in numbered if each.status is InstalmentStatus.DUE
            ],
            scheduled=[n for n, each in numbered if each.status is InstalmentStatus.SCHEDULED],
        )

    def _ask_for_payment(self, number: int) -> None:
        instalment = self._instalment(number)
        attempt = len(instalment.payment_ids) + 1
        suffix = f" ({number} of {len(self.instalments)})"
        self.trigger_event(
            self.PaymentDue,
            contract_id=self.contract_id,
            instalment=number,
            amount=instalment.terms.amount,
            due_on=instalment.terms.due_on,
            payment_id=instalment_payment_id(self.id, number, attempt),
            description=self.description[: DESCRIPTION_LENGTH_MAX - len(suffix)] + suffix,
            client=self.client,
            callback_url=self.callback_url,
        )

    def _instalment(self, number: int) -> Instalment:
        if not 1 <= number <= len(self.instalments):
            raise UnknownInstalment(
                f"contract {self.contract_id} has the instalments 1 to {len(self.instalments)}, "
                f"not {number}"
            )
        return self.instalments[number - 1]

    def _number_of(self, payment_id: UUID) -> int | None:
        for number, instalment in enumerate(self.instalments, start=1):
            if payment_id in instalment.payment_ids:
                return number
        return None


def instalment_payment_id(aggregate_id: UUID, number: int, attempt: int) -> UUID:
    """The id of the payment for an instalment: the same whoever starts it, so never two."""
    return uuid5(aggregate_id, f"instalment:{number}:{attempt}")
