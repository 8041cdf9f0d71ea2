"""The saga of one payment: its events, and the state that they add up to.

What to do next is decided in `domain.saga_decider`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from eventsourcing.domain import CanMutateAggregate

from domain.belief import Verdict
from domain.event import PaymentEventType, PaySagaAggregate, Priority
from domain.gateway_call import Operation
from domain.gateway_report import GatewayReport
from domain.money import Money
from domain.payment_terms import Failure, PaymentStatus
from domain.saga_steps import Deadline, SagaStatus, Step, StepState, StepStatus, steps_of


@dataclass(frozen=True)
class Call:
    """Something the saga asked of the gateway. `about` is the call that a query asks after."""

    call_id: UUID
    operation: Operation
    due_at: datetime
    cart_id: str | None = None
    transaction_ref: str | None = None
    amount: Money | None = None
    about: UUID | None = None
    refund_id: UUID | None = None
    """The refund that a merchant asked for; None for money given back by compensation."""
    not_after: datetime | None = None
    """When the payment has waited long enough: later the call is not made any more."""


@dataclass
class MoneyReturn:
    """Money that must not be kept: what was paid with `transaction_ref` goes back."""

    transaction_ref: str
    amount: Money
    is_done: bool = False


class PaymentSaga(PaySagaAggregate):
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
                aggregate.status = SagaStatus.WAITING if waits else SagaStatus.RUNNING

    class SettlementStarted(StepStarted):
        """The gateway has the money: the payment can be completed."""

        report: GatewayReport

        def apply(self, aggregate: "PaymentSaga") -> None:
            super().apply(aggregate)
            aggregate.settlement = self.report
            aggregate.transaction_refs.add(self.report.transaction_ref)

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
                aggregate.answered.add(self.call_id)
            aggregate.transaction_ref = self.transaction_ref
            aggregate.transaction_refs.add(self.transaction_ref)
            aggregate.page_opened_at = self.timestamp
            aggregate.page_expires_at = self.expires_at
            aggregate.is_page_given_out = self.page_url is not None

    class Captured(StepSucceeded):
        """The gateway has taken authorized money: the payment can be completed."""

        call_id: UUID
        report: GatewayReport
        is_closing: bool

        def apply(self, aggregate: "PaymentSaga") -> None:
            super().apply(aggregate)
            if not self.is_closing:
                aggregate.status = SagaStatus.RUNNING
            aggregate.settlement = self.report
            aggregate.resolved.add(self.call_id)
            aggregate.transaction_refs.add(self.report.transaction_ref)

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

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.answered.add(self.call_id)

    class NotificationHandled(Event):
        event_type = PaymentEventType.SAGA_NOTIFICATION_HANDLED
        priority = Priority.LOW
        webhook_id: UUID
        outcome: Verdict

        def apply(self, aggregate: "PaymentSaga") -> None:
            """Nothing changes: the report itself is applied by the events that follow."""

    class ReportDoubted(Event):
        event_type = PaymentEventType.SAGA_REPORT_DOUBTED
        priority = Priority.CRITICAL
        report: GatewayReport
        reason: str

        def apply(self, aggregate: "PaymentSaga") -> None:
            """Nothing changes: what is doubted is not believed."""

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
        event_type = PaymentEventType.SAGA_COMPENSATION_STARTED
        priority = Priority.HIGH
        reason: str

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.status = SagaStatus.COMPENSATING
            aggregate.is_closing = True

    class StepCompensationStarted(Event):
        event_type = PaymentEventType.SAGA_STEP_COMPENSATION_STARTED
        step: Step

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.steps[self.step].status = StepStatus.COMPENSATING

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
        """Money came for a payment that cannot take it: it goes back to the customer."""

        event_type = PaymentEventType.SAGA_MONEY_RETURN_STARTED
        priority = Priority.CRITICAL
        transaction_ref: str
        amount: Money
        is_closing: bool

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.returns[self.transaction_ref] = MoneyReturn(self.transaction_ref, self.amount)
            if self.is_closing:
                aggregate.status = SagaStatus.COMPENSATING

    class MoneyReturned(Event):
        """`call_id` is None when somebody gave it back in the gateway's dashboard."""

        event_type = PaymentEventType.SAGA_MONEY_RETURNED
        priority = Priority.CRITICAL
        call_id: UUID | None
        transaction_ref: str
        refund_ref: str
        amount: Money

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.returns[self.transaction_ref].is_done = True
            aggregate.refund_refs.add(self.refund_ref)
            if self.call_id:
                aggregate.resolved.add(self.call_id)

    class RefundSettled(Event):
        """The gateway gave back what a merchant wanted refunded."""

        event_type = PaymentEventType.SAGA_REFUND_SETTLED
        call_id: UUID
        refund_id: UUID
        refund_ref: str

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.resolved.add(self.call_id)
            aggregate.refund_refs.add(self.refund_ref)

    class RefundRefused(Event):
        """The gateway will not give back what a merchant wanted refunded."""

        event_type = PaymentEventType.SAGA_REFUND_REFUSED
        priority = Priority.HIGH
        call_id: UUID
        refund_id: UUID
        failure: Failure

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.resolved.add(self.call_id)

    class CaptureRefused(Event):
        """The gateway will not take what was authorized; it may be asked again."""

        event_type = PaymentEventType.SAGA_CAPTURE_REFUSED
        priority = Priority.HIGH
        call_id: UUID
        failure: Failure

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.resolved.add(self.call_id)

    class FollowUpEnded(Event):
        """A follow-up is over and changed nothing that anybody waits for."""

        event_type = PaymentEventType.SAGA_FOLLOW_UP_ENDED
        priority = Priority.LOW
        call_id: UUID

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.resolved.add(self.call_id)

    class ForeignRefundSeen(Event):
        """Somebody refunded in the gateway's dashboard."""

        event_type = PaymentEventType.SAGA_FOREIGN_REFUND_SEEN
        priority = Priority.HIGH
        refund_ref: str
        amount: Money

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.refund_refs.add(self.refund_ref)

    class Completed(Event):
        event_type = PaymentEventType.SAGA_COMPLETED

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.status = SagaStatus.COMPLETED

    class Compensated(Event):
        event_type = PaymentEventType.SAGA_COMPENSATED
        priority = Priority.HIGH

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.status = SagaStatus.COMPENSATED

    class Parked(Event):
        """Only a person can go on: `detail` says why, `advice` what to do."""

        event_type = PaymentEventType.SAGA_PARKED
        priority = Priority.CRITICAL
        reason: str
        detail: str
        advice: str
        call_id: UUID | None
        """The call that came to nothing, if it was one."""

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.status = SagaStatus.PARKED
            aggregate.parked_detail = self.detail
            aggregate.parked_call = self.call_id

    class Resumed(Event):
        """An operator (`actor`) lets the saga go on."""

        event_type = PaymentEventType.SAGA_RESUMED
        priority = Priority.HIGH
        actor: str
        status: SagaStatus

        def apply(self, aggregate: "PaymentSaga") -> None:
            aggregate.parked_detail = None
            aggregate.parked_call = None
            aggregate.status = self.status

    def __init__(
        self, payment_id: UUID, amount: Money, capture: bool, open_until: datetime
    ) -> None:
        self.payment_id = payment_id
        self.amount = amount
        self.capture = capture
        self.open_until = open_until
        self.status = SagaStatus.RUNNING
        self.steps = {step: StepState(step) for step in steps_of(capture=capture)}
        self.calls: dict[UUID, Call] = {}
        self.answered: set[UUID] = set()
        self.cart_ids: list[str] = []
        self.transaction_ref: str | None = None
        self.transaction_refs: set[str] = set()
        self.authorization: GatewayReport | None = None
        self.settlement: GatewayReport | None = None
        self.resolved: set[UUID] = set()
        self.refund_refs: set[str] = set()
        self.page_opened_at: datetime | None = None
        self.page_expires_at: datetime | None = None
        self.is_page_given_out = False
        self.deadlines: dict[Deadline, datetime] = {}
        self.returns: dict[str, MoneyReturn] = {}
        self.is_closing = False
        self.parked_detail: str | None = None
        self.parked_call: UUID | None = None

    @staticmethod
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

    def is_running(self, step: Step) -> bool:
        """True while the step has started and has no result yet."""
        return step in self.steps and self.steps[step].status is StepStatus.RUNNING

    @property
    def status_unparked(self) -> SagaStatus:
        """Where the saga would stand if it were not parked."""
        if self.is_closing:
            return SagaStatus.COMPENSATING
        if self.steps[Step.CONFIRM].status is StepStatus.SUCCEEDED:
            return SagaStatus.COMPLETED
        waits = self.is_running(Step.AWAIT_CUSTOMER) or self.is_running(Step.CAPTURE)
        return SagaStatus.WAITING if waits else SagaStatus.RUNNING

    @property
    def follow_ups_under_way(self) -> list[Call]:
        """Calls that move money and whose fate is not known yet."""
        return [
            call
            for call in self.calls.values()
            if call.operation.is_follow_up and call.call_id not in self.resolved
        ]

    def awaits(self, call_id: UUID) -> bool:
        """True when the call's answer is still wanted. A page nobody wants is not opened."""
        call = self.calls.get(call_id)
        if call is None or call_id in self.answered:
            return False
        return not (call.operation is Operation.OPEN_PAGE and self.is_closing)
