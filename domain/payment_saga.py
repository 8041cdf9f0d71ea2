"""The saga of one payment: its events, and the state that they add up to.

What follows from that state is read in `domain.saga_readings`; what to do next is decided in
`domain.saga_decider`.
"""

from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid5

from eventsourcing.domain import CanMutateAggregate

from domain.belief import Verdict
from domain.event import PaymentEventType, PaySagaAggregate, Priority
from domain.gateway_call import Operation
from domain.gateway_report import GatewayReport, TransactionKind
from domain.money import Money
from domain.payment_terms import Failure, PaymentStatus
from domain.saga_readings import SagaReadings
from domain.saga_steps import Deadline, SagaStatus, Step, StepState, StepStatus, steps_of
from domain.saga_values import GATEWAY, Closing, MoneyReturn
from domain.saga_values import Call as Call

IDS_KEPT = 4096
"""Everybody who meets a payment asks for the id of its saga."""


class PaymentSaga(SagaReadings, PaySagaAggregate):
    """Takes one payment through its steps and, when a step fails, back again in reverse order."""

    class Event(PaySagaAggregate.Event):
        """A fact about the saga of the payment `payment_id`."""

        payment_id: UUID

    class Started(PaySagaAggregate.Created):
        event_type = PaymentEventType.SAGA_STARTED
        payment_id: UUID
        amount: Money
        capture: bool
        open_until: datetime

    class StepStarted(Event):
        event_type = PaymentEventType.SAGA_STEP_STARTED
        priority = Priority.LOW
        step: Step

        def apply(self, aggregate: "PaymentSaga") -> None:
            state = aggregate.steps[self.step]
            state.status = StepStatus.RUNNING
            state.started_at = state.started_at or self.timestamp
            state.attempts += 1
            waits = self.step in {Step.AWAIT_CUSTOMER, Step.CAPTURE}
            if not aggregate.is_closing:
                aggregate.stage = SagaStatus.WAITING if waits else SagaStatus.RUNNING

    class SettlementStarted(StepStarted):
        """The gateway has the money: the payment can be completed."""

        report: GatewayReport

        def apply(self, aggregate: "PaymentSaga") -> None:
            super().apply(aggregate)
            aggregate.settlement = self.report
            aggregate.transaction_refs.add(self.report.transaction_ref)
            aggregate.take(self.report.previous_ref, self.report.amount)

    class AuthorizationStarted(StepStarted):
        """The customer has authorized the amount: the payment can say so."""

        report: GatewayReport

        def apply(self, aggregate: "PaymentSaga") -> None:
            super().apply(aggregate)
            aggregate.authorization = self.report
            aggregate.transaction_refs.add(self.report.transaction_ref)

    class StepSucceeded(Event):
        event_type = PaymentEventType.SAGA_STEP_SUCCEEDED
        priority = Priority.LOW
        step: Step

        def apply(self, aggregate: "PaymentSaga") -> None:
            state = aggregate.steps[self.step]
            state.status = StepStatus.SUCCEEDED
            state.started_at = state.started_at or self.timestamp
            state.ended_at = self.timestamp

    class PageOpened(StepSucceeded):
        """The gateway has a page for the customer; `page_url` is None when only a notification
        told us that there is one."""

        call_id: UUID | None
        gateway: str
        transaction_ref: str
        page_url: str | None
        expires_at: datetime

        def apply(self, aggregate: "PaymentSaga") -> None:
            super().apply(aggregate)
            if self.call_id:
                aggregate.answered[self.call_id] = self.timestamp
            aggregate.transaction_ref = self.transaction_ref
            aggregate.transaction_refs.add(self.transaction_ref)
            aggregate.page_opened_at = self.timestamp
            aggregate.page_expires_at = self.expires_at

    class Captured(StepSucceeded):
        """The gateway has taken authorized money: the payment can be completed. `call_id` is None
        when somebody took it in the gateway's dashboard."""

        call_id: UUID | None
        report: GatewayReport
        is_closing: bool

        def apply(self, aggregate: "PaymentSaga") -> None:
            super().apply(aggregate)
            if not self.is_closing:
                aggregate.stage = SagaStatus.RUNNING
            aggregate.settlement = self.report
            aggregate.resolve(self.call_id)
            aggregate.transaction_refs.add(self.report.transaction_ref)
            asked = aggregate.calls[self.call_id].transaction_ref if self.call_id else None
            aggregate.take(self.report.previous_ref or asked, self.report.amount)

    class StepFailed(Event):
        event_type = PaymentEventType.SAGA_STEP_FAILED
        step: Step
        reason: str

        def apply(self, aggregate: "PaymentSaga") -> None:
            state = aggregate.steps[self.step]
            state.status = StepStatus.FAILED
            state.ended_at = self.timestamp
            state.error = self.reason

    class CallRequested(Event):
        event_type = PaymentEventType.SAGA_GATEWAY_CALL_REQUESTED
        priority = Priority.LOW
        call: Call

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.calls[self.call.call_id] = self.call
            if self.call.operation is Operation.OPEN_PAGE and self.call.cart_id:
                aggregate.cart_ids.append(self.call.cart_id)

    class CallAnswered(Event):
        event_type = PaymentEventType.SAGA_GATEWAY_CALL_ANSWERED
        priority = Priority.LOW
        call_id: UUID
        is_refused: bool
        """True when the gateway said no: nothing was done."""

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.answered[self.call_id] = self.timestamp
            if self.is_refused:
                aggregate.refused.add(self.call_id)

    class NotificationHandled(Event):
        event_type = PaymentEventType.SAGA_NOTIFICATION_HANDLED
        priority = Priority.LOW
        webhook_id: UUID
        outcome: Verdict

        def apply(self, aggregate: "PaymentSaga") -> None:
            """Nothing changes: the report itself is applied by the events that follow."""

    class Hurried(Event):
        """The customer seems to be done: the saga asks earlier, see the deadline that follows."""

        event_type = PaymentEventType.SAGA_HURRIED
        priority = Priority.LOW
        reason: str

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.times_hurried += 1

    class ReportDoubted(Event):
        event_type = PaymentEventType.SAGA_REPORT_DOUBTED
        priority = Priority.CRITICAL
        report: GatewayReport
        reason: str

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.doubts[self.report.transaction_ref] = self.report

    class DeadlineSet(Event):
        event_type = PaymentEventType.SAGA_DEADLINE_SET
        priority = Priority.LOW
        deadline: Deadline
        due_at: datetime

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.deadlines[self.deadline] = self.due_at

    class DeadlineReached(Event):
        event_type = PaymentEventType.SAGA_DEADLINE_REACHED
        priority = Priority.LOW
        deadline: Deadline

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.deadlines.pop(self.deadline, None)

    class DeadlineCleared(Event):
        event_type = PaymentEventType.SAGA_DEADLINE_CLEARED
        priority = Priority.LOW
        deadline: Deadline
        due_at: datetime

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.deadlines.pop(self.deadline, None)

    class CompensationStarted(Event):
        """The saga goes back. `status` is what the payment is to be closed as; None when a client
        has closed it himself."""

        event_type = PaymentEventType.SAGA_COMPENSATION_STARTED
        priority = Priority.HIGH
        reason: str
        status: PaymentStatus | None
        failure: Failure | None
        cancellation_reason: str | None
        report: GatewayReport | None

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.stage = SagaStatus.COMPENSATING
            aggregate.is_closing = True
            if self.status is not None:
                aggregate.closing = Closing(
                    self.status, self.failure, self.cancellation_reason, self.report
                )

    class StepCompensationStarted(Event):
        event_type = PaymentEventType.SAGA_STEP_COMPENSATION_STARTED
        step: Step

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.steps[self.step].status = StepStatus.COMPENSATING

    class RecordClosed(StepCompensationStarted):
        """A client has closed the payment himself, before what the saga did was undone."""

        def apply(self, aggregate: "PaymentSaga") -> None:
            super().apply(aggregate)
            aggregate.is_record_closed = True

    class RecordClosing(StepCompensationStarted):
        """The payment is to be closed as `status`, for the failure or the reason given."""

        status: PaymentStatus
        failure: Failure | None
        cancellation_reason: str | None
        report: GatewayReport | None

    class StepCompensated(Event):
        event_type = PaymentEventType.SAGA_STEP_COMPENSATED
        step: Step

        def apply(self, aggregate: "PaymentSaga") -> None:
            state = aggregate.steps[self.step]
            state.status = StepStatus.COMPENSATED
            state.ended_at = self.timestamp

    class MoneyReturnStarted(Event):
        """Money came for a payment that cannot take it: it goes back to the customer. It was taken
        from `previous_ref`, if that was an authorization."""

        event_type = PaymentEventType.SAGA_MONEY_RETURN_STARTED
        priority = Priority.CRITICAL
        transaction_ref: str
        previous_ref: str | None
        amount: Money
        is_closing: bool

        def apply(self, aggregate: "PaymentSaga") -> None:
            ref = self.transaction_ref
            aggregate.returns[ref] = MoneyReturn(ref, self.amount, returned=self.amount * 0)
            if ref not in {money.transaction_ref for money in aggregate.money_known}:
                aggregate.take(self.previous_ref, self.amount)
            if self.is_closing:
                aggregate.stage = SagaStatus.COMPENSATING

    class MoneyReturned(Event):
        """`call_id` is None when somebody gave it back in the gateway's dashboard."""

        event_type = PaymentEventType.SAGA_MONEY_RETURNED
        priority = Priority.CRITICAL
        call_id: UUID | None
        transaction_ref: str
        refund_ref: str
        amount: Money

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.returns[self.transaction_ref].returned += self.amount
            aggregate.refund_refs.add(self.refund_ref)
            aggregate.resolve(self.call_id)

    class RefundSettled(Event):
        """The gateway gave back what a merchant wanted refunded."""

        event_type = PaymentEventType.SAGA_REFUND_SETTLED
        call_id: UUID
        refund_id: UUID
        refund_ref: str

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.resolve(self.call_id)
            aggregate.refund_refs.add(self.refund_ref)

    class RefundRefused(Event):
        """The gateway will not give back what a merchant wanted refunded."""

        event_type = PaymentEventType.SAGA_REFUND_REFUSED
        priority = Priority.HIGH
        call_id: UUID
        refund_id: UUID
        failure: Failure

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.resolve(self.call_id)

    class CaptureRefused(Event):
        """What was authorized is not taken: the gateway refused (`call_id`), or the saga did."""

        event_type = PaymentEventType.SAGA_CAPTURE_REFUSED
        priority = Priority.HIGH
        call_id: UUID | None
        failure: Failure

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.resolve(self.call_id)

    class FollowUpEnded(Event):
        """A follow-up is over and changed nothing that anybody waits for."""

        event_type = PaymentEventType.SAGA_FOLLOW_UP_ENDED
        priority = Priority.LOW
        call_id: UUID
        refund_ref: str | None
        """What let the rest of an authorization go; None when nothing was given back."""

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.resolve(self.call_id)
            if self.refund_ref is not None:
                aggregate.refund_refs.add(self.refund_ref)

    class ForeignReturnSeen(Event):
        """Somebody gave back some of `transaction_ref` in the gateway's dashboard: refunded it, or
        let it go where it was only authorized (`kind`)."""

        event_type = PaymentEventType.SAGA_FOREIGN_RETURN_SEEN
        priority = Priority.HIGH
        kind: TransactionKind
        transaction_ref: str
        refund_ref: str
        amount: Money

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.refund_refs.add(self.refund_ref)
            earlier = aggregate.given_back.get(self.transaction_ref, self.amount * 0)
            aggregate.given_back[self.transaction_ref] = earlier + self.amount

    class Completed(Event):
        event_type = PaymentEventType.SAGA_COMPLETED

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.stage = SagaStatus.COMPLETED

    class Compensated(Event):
        event_type = PaymentEventType.SAGA_COMPENSATED
        priority = Priority.HIGH

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.stage = SagaStatus.COMPENSATED

    class Parked(Event):
        """Only a person can go on: `detail` says why, `advice` what to do. `parked_detail` names
        all that is parked, this and what was before."""

        event_type = PaymentEventType.SAGA_PARKED
        priority = Priority.CRITICAL
        reason: str
        detail: str
        parked_detail: str
        advice: str
        call_id: UUID | None
        """The call that came to nothing, if it was one."""
        transaction_ref: str | None
        """The transaction of which the gateway says what cannot be believed, if it is that."""

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.parked[self.call_id or self.transaction_ref] = self.detail

    class Resumed(Event):
        """An operator (`actor`), or the gateway's own word, ends one reason for parking.

        `status` is where the saga stands apart from what is still parked, `parked_detail`.
        """

        event_type = PaymentEventType.SAGA_RESUMED
        priority = Priority.HIGH
        actor: str
        call_id: UUID | None
        transaction_ref: str | None
        status: SagaStatus
        parked_detail: str | None
        is_given_up: bool
        """True when the operator gives the payment up: money that cannot be believed goes back as
        it came."""

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.parked.pop(self.call_id or self.transaction_ref, None)
            if self.is_given_up and self.transaction_ref:
                aggregate.given_up.add(self.transaction_ref)
            if self.call_id and self.actor != GATEWAY:
                aggregate.retried.add(self.call_id)

    def __init__(
        self, payment_id: UUID, amount: Money, capture: bool, open_until: datetime
    ) -> None:
        self.payment_id = payment_id
        self.amount = amount
        self.capture = capture
        self.open_until = open_until
        self.stage = SagaStatus.RUNNING
        self.steps = {step: StepState(step) for step in steps_of(capture=capture)}
        self.calls: dict[UUID, Call] = {}
        self.answered: dict[UUID, datetime] = {}
        self.cart_ids: list[str] = []
        self.refused: set[UUID] = set()
        self.transaction_ref: str | None = None
        self.transaction_refs: set[str] = set()
        self.authorization: GatewayReport | None = None
        self.settlement: GatewayReport | None = None
        self.resolved: set[str | None] = set()
        self.refund_refs: set[str] = set()
        self.page_opened_at: datetime | None = None
        self.page_expires_at: datetime | None = None
        self.deadlines: dict[Deadline, datetime] = {}
        self.times_hurried = 0
        self.returns: dict[str, MoneyReturn] = {}
        self.given_back: dict[str, Money] = {}
        self.taken: dict[str, Money] = {}
        self.is_closing = False
        self.closing: Closing | None = None
        self.is_record_closed = False
        self.parked: dict[UUID | str | None, str] = {}
        self.retried: set[UUID] = set()
        self.doubts: dict[str, GatewayReport] = {}
        self.given_up: set[str] = set()

    @staticmethod
    @lru_cache(IDS_KEPT)
    def create_id(payment_id: UUID) -> UUID:
        """The id of the saga of a payment."""
        return uuid5(payment_id, "saga")

    @classmethod
    def begin(
        cls,
        payment_id: UUID,
        amount: Money,
        open_until: datetime,
        *,
        capture: bool = True,
    ) -> "PaymentSaga":
        """The saga of a payment; the gateway may be asked for a page until `open_until`. Without
        `capture` the amount is only authorized, to be captured by the merchant."""
        return cls._create(
            cls.Started,
            id=cls.create_id(payment_id),
            payment_id=payment_id,
            amount=amount,
            capture=capture,
            open_until=open_until,
        )

    def trigger_event(self, event_class: type[CanMutateAggregate[UUID]], **kwargs: Any) -> None:
        super().trigger_event(event_class, payment_id=self.payment_id, **kwargs)

    def take(self, transaction_ref: str | None, amount: Money | None) -> None:
        """Notes that authorized money was captured: it is not to be let go any more."""
        if transaction_ref is None or amount is None or amount.currency != self.amount.currency:
            return
        self.taken[transaction_ref] = self.taken.get(transaction_ref, amount * 0) + amount
        if transaction_ref in self.returns:
            self.returns[transaction_ref].amount -= amount

    def resolve(self, call_id: UUID | None) -> None:
        """Notes that the fate of a move of money is known."""
        if call_id is not None:
            self.resolved.add(self.calls[call_id].cart_id)
