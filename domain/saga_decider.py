"""What a payment saga does next: pure decisions on its state, each ending in events.

What the gateway says is heard in `domain.saga_hearing`. Money that moves after the sale is the
business of `domain.saga_money`, the way back that of `domain.saga_compensation`, and questions to
the gateway are put in `domain.saga_calls`.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from domain.belief import Verdict
from domain.gateway_call import Operation
from domain.gateway_report import GatewayReport
from domain.money import Money
from domain.payment_saga import Call, PaymentSaga
from domain.payment_terms import Failure, PaymentStatus
from domain.saga_calls import SagaCalls
from domain.saga_compensation import SagaCompensation
from domain.saga_hearing import SagaHearing
from domain.saga_money import SagaMoney
from domain.saga_steps import Deadline, SagaStatus, SagaTimings, Step, StepStatus
from domain.saga_values import Closing

HURRIES_MAX = 5
"""How often one saga may be made to ask early: anybody can come to the return address."""


class SagaDecider:
    """Decides for one saga. `gateway` is the provider's name, recorded with the page."""

    def __init__(self, saga: PaymentSaga, timings: SagaTimings, gateway: str) -> None:
        self.saga = saga
        self.timings = timings
        self._calls = SagaCalls(saga, timings)
        self._money = SagaMoney(self._calls)
        self._compensation = SagaCompensation(self._calls, self._money)
        self._hearing = SagaHearing(self._calls, self._money, self._compensation, gateway)

    def start(self) -> None:
        """The payment is recorded: the gateway is asked for a page."""
        self._trigger(PaymentSaga.StepSucceeded, step=Step.CREATE_RECORD)
        self._calls.open_page(self.now)

    # What came of the calls

    def page_opened(self, call_id: UUID, transaction_ref: str, page_url: str | None) -> None:
        """The gateway has a page; the customer is awaited."""
        if not self.saga.awaits(call_id):
            return
        if self.saga.is_running(Step.OPEN_AT_GATEWAY):
            self._hearing.page_opened(call_id, transaction_ref, page_url)
        else:
            self._trigger(PaymentSaga.CallAnswered, call_id=call_id, is_refused=False)

    def reports_received(self, call_id: UUID, reports: list[GatewayReport]) -> None:
        """The gateway answered a query or a follow-up."""
        is_refused = bool(reports) and all(report.status.is_refusal for report in reports)
        is_move = call_id in {call.call_id for call in self.saga.follow_ups_under_way}
        call = self._answer(call_id, is_refused=is_refused and is_move)
        if call is None:
            return
        self._calls.end_wait_for(call)
        original = self._calls.original(call)
        if original.operation.is_follow_up:
            self._money.answered(original, call, reports)
        else:
            verdicts = [
                self._hearing.hear(r, is_verified=True) for r in sorted(reports, key=_refers)
            ]
            self._go_on(call, verdicts)
            if not reports:
                self._calls.look_again(call)
        self._conclude()

    def _go_on(self, call: Call, verdicts: list[Verdict]) -> None:
        """What to do when the gateway was asked about the payment and has answered. A payment that
        is parked is neither opened anew nor expired; what is held is watched all the same."""
        if self.saga.parked and self._is_awaiting_customer:
            return
        if self.saga.is_running(Step.OPEN_AT_GATEWAY):
            if not self._calls.is_opening_page:
                self._calls.open_page(self.now)
        elif Verdict.HELD in verdicts and call.operation is Operation.QUERY_TRANSACTION:
            self._calls.ask_carts()
        elif self.saga.is_running(Step.AWAIT_CUSTOMER):
            self._wait_on(call, verdicts)
        elif Verdict.HELD in verdicts:
            self._compensation.watch_what_is_held()

    def call_refused(self, call_id: UUID, failure: Failure, retry_after_ms: int | None) -> None:
        """The gateway said no. With `retry_after_ms` it only wants to be asked later.

        That nobody opens another page is of no interest once a page is known: it may be paid.
        """
        call = self._answer(call_id, is_refused=True)
        if call is None:
            return
        is_for_page = self._calls.original(call).operation is Operation.OPEN_PAGE
        if is_for_page and not self.saga.is_running(Step.OPEN_AT_GATEWAY):
            return
        is_too_late = call.not_after is not None and self.now > call.not_after
        if retry_after_ms is not None and self._money.is_wanted(call):
            self._insist(call, failure.message, timedelta(milliseconds=retry_after_ms))
        elif call.operation is Operation.OPEN_PAGE or is_too_late:
            self._close(failure.message, Closing(PaymentStatus.FAILED, failure))
        elif call.operation.is_follow_up:
            self._money.turned_down(call, failure)
        else:
            self._insist(call, failure.message)
        self._conclude()

    def call_lost(self, call_id: UUID) -> None:
        """Nobody knows what came of a call: it is asked after before anything else is done."""
        call = self._answer(call_id)
        if call is None:
            return
        if call.operation.is_query:
            self._insist(call, "no answer")
        else:
            self._calls.ask_after(call, self.now + self.timings.retry_delay(len(self.saga.calls)))

    def _insist(self, call: Call, why: str, pause: timedelta = timedelta(0)) -> None:
        """Asks again for what the gateway left open; after so many times a person has to look."""
        if self._calls.insist(call, pause):
            return
        original = self._calls.original(call)
        if original.operation.is_follow_up:
            self._money.leave(original, why)
        else:
            self._calls.leave_question(call, why)

    def _answer(self, call_id: UUID, *, is_refused: bool = False) -> Call | None:
        """Marks a call as answered; None when its answer is not wanted any more."""
        if not self.saga.awaits(call_id):
            return None
        self._trigger(PaymentSaga.CallAnswered, call_id=call_id, is_refused=is_refused)
        return self.saga.calls[call_id]

    # What happened elsewhere

    def notified(self, webhook_id: UUID, report: GatewayReport) -> None:
        """A signed notification came."""
        verdict = self._hearing.hear(report, is_verified=False)
        if verdict is Verdict.HELD and not self._is_awaiting_customer:
            self._compensation.watch_what_is_held()
        self._trigger(PaymentSaga.NotificationHandled, webhook_id=webhook_id, outcome=verdict)
        if verdict is not Verdict.DOUBTED:
            self._calls.ask_anew()
        self._conclude()

    def hurry(self, reason: str) -> None:
        """The customer seems to be done: unless the gateway tells us first, it is asked soon."""
        due_at = self.saga.deadlines.get(Deadline.RECONCILE)
        soon = self.now + self.timings.hurry_after
        if due_at is None or due_at <= soon or not self.saga.is_running(Step.AWAIT_CUSTOMER):
            return
        if self.saga.times_hurried < HURRIES_MAX:
            self._trigger(PaymentSaga.Hurried, reason=reason)
            self._trigger(PaymentSaga.DeadlineCleared, deadline=Deadline.RECONCILE, due_at=due_at)
            self._calls.set_deadline(Deadline.RECONCILE, soon)

    @property
    def _is_awaiting_customer(self) -> bool:
        return any(
            self.saga.is_running(step) for step in (Step.OPEN_AT_GATEWAY, Step.AWAIT_CUSTOMER)
        )

    def payment_authorized(self) -> None:
        """The payment says that it is authorized: the merchant may capture it, unless somebody
        has done so in the gateway's dashboard."""
        if self.saga.is_running(Step.SETTLE):
            self._trigger(PaymentSaga.StepSucceeded, step=Step.SETTLE)
            if self.saga.settlement is None:
                self._trigger(PaymentSaga.StepStarted, step=Step.CAPTURE)
                due_at = self.now + self.timings.authorization_ttl
                self._calls.set_deadline(Deadline.AUTHORIZATION, due_at)
            self._conclude()

    def capture_requested(self, amount: Money) -> None:
        """The merchant takes the authorized money, or part of it."""
        self._money.capture(amount)

    def refund_requested(self, refund_id: UUID, amount: Money) -> None:
        """The merchant gives money back."""
        self._money.refund(refund_id, amount)

    def payment_completed(self, *, is_told: bool) -> None:
        """The payment took the money; `is_told` says whether a merchant wants to hear of it. What
        was paid in cash or let through from a hold needs no capture of the merchant's."""
        if self.saga.is_closing:
            return
        if self.saga.is_running(Step.SETTLE):
            self._trigger(PaymentSaga.StepSucceeded, step=Step.SETTLE)
        if self._is_pending(Step.CAPTURE):
            self._trigger(PaymentSaga.StepSucceeded, step=Step.CAPTURE)
        self._calls.clear_deadlines(Deadline.LATE_MONEY)
        self._confirm(is_told=is_told)

    def payment_closed(self, reason: str, *, is_told: bool) -> None:
        """The payment failed or was cancelled, because we said so or because a client did."""
        if not self.saga.is_closing:
            self._close(reason)
        self._compensation.record_closed()
        self._confirm(is_told=is_told)

    def merchant_told(self, *, is_closed: bool = False) -> None:
        """The confirmation was delivered, or is in the hands of its retry schedule; `is_closed`:
        it says that the payment failed or was cancelled.

        That may be heard of before the payment's own event, which comes from another log.
        """
        if is_closed and not self.saga.is_closing:
            self._close("the merchant was told that the payment is closed")
        status = self.saga.steps[Step.CONFIRM].status
        if status is StepStatus.PENDING:
            self._trigger(PaymentSaga.StepStarted, step=Step.CONFIRM)
        if status is not StepStatus.SUCCEEDED:
            self._trigger(PaymentSaga.StepSucceeded, step=Step.CONFIRM)
        if status is StepStatus.RUNNING:
            self._conclude()

    def reach_deadline(self, deadline: Deadline) -> None:
        """A deadline has passed: the gateway is asked how the transaction stands, or what was
        authorized is let go. Harmless when the deadline was cleared or put off meanwhile."""
        due_at = self.saga.deadlines.get(deadline)
        if due_at is None or due_at > self.now:
            return
        self._trigger(PaymentSaga.DeadlineReached, deadline=deadline)
        if deadline is Deadline.LATE_MONEY:
            self._compensation.look_once_more()
        if deadline is not Deadline.AUTHORIZATION:
            self._ask(deadline)
        elif self._money.is_capturing:
            self._calls.set_deadline(deadline, self.now + self.timings.held_gap)
        elif self.saga.is_running(Step.CAPTURE):
            why = "the authorization was not captured in time"
            reason = "authorization_expired"
            self._close(why, Closing(PaymentStatus.CANCELLED, cancellation_reason=reason))

    def _ask(self, deadline: Deadline) -> None:
        """Asks about the customer's page; in the end about all that bears the payment's carts."""
        if deadline is Deadline.LATE_MONEY:
            self._calls.ask_carts()
        else:
            self._calls.ask_about(self.saga.transaction_ref)

    # What operators want

    def retry(self, actor: str) -> None:
        """An operator has looked: what was given up is tried again."""
        for reason in list(self.saga.parked):
            self._calls.resume(actor, reason)
            if isinstance(reason, UUID):
                self._money.try_again(self.saga.calls[reason])
            else:
                self._calls.ask_about(reason)

    def compensate(self, actor: str) -> None:
        """An operator gives the payment up: what was done is undone, and money that could not be
        believed goes back as it came, once the gateway has been asked about it again. A payment
        that is completed stays so."""
        if self.saga.status is not SagaStatus.PARKED:
            return
        for reason in list(self.saga.parked):
            self._calls.resume(actor, reason, is_given_up=True)
            if isinstance(reason, UUID):
                self._money.try_again(self.saga.calls[reason])
            else:
                self._calls.ask_about(reason)
        if not (self.saga.is_closing or self.saga.settlement):
            closing = Closing(PaymentStatus.CANCELLED, cancellation_reason="given_up")
            self._close(f"given up by {actor}", closing)

    @property
    def now(self) -> datetime:
        """The time of the event being acted on."""
        return self._calls.now

    def _trigger(self, event_class: type[PaymentSaga.Event], **fields: Any) -> None:
        self._calls.trigger(event_class, **fields)

    # Forwards

    def _wait_on(self, call: Call, verdicts: list[Verdict]) -> None:
        """Only an answer about the page itself may end the wait for the customer, and only one by
        its cart does: another sale may bear the same cart, after a recovery of the database."""
        opened_at, expires_at = self.saga.page_opened_at, self.saga.page_expires_at
        assert opened_at is not None
        assert expires_at is not None
        is_over = self.now >= expires_at + self.timings.expiry_grace
        is_held = Verdict.HELD in verdicts and self.now < opened_at + self.timings.held_max
        if not self._calls.is_about_page(call):
            self._calls.keep_asking_about_page()
        elif is_over and not is_held and call.operation is Operation.QUERY_TRANSACTION:
            self._calls.ask_carts()
        elif is_over and not is_held:
            reason = "expired"
            closing = Closing(PaymentStatus.CANCELLED, cancellation_reason=reason)
            self._close("the page ran out", closing)
        elif Deadline.RECONCILE not in self.saga.deadlines:
            due_at = self.timings.next_reconciliation(opened_at, expires_at, self.now)
            self._calls.set_deadline(Deadline.RECONCILE, due_at)

    def _confirm(self, *, is_told: bool) -> None:
        if self._is_pending(Step.CONFIRM):
            self._trigger(PaymentSaga.StepStarted, step=Step.CONFIRM)
            if not is_told:
                self._trigger(PaymentSaga.StepSucceeded, step=Step.CONFIRM)
        self._conclude()

    def _is_pending(self, step: Step) -> bool:
        return step in self.saga.steps and self.saga.steps[step].status is StepStatus.PENDING

    # Backwards, and the end

    def _close(self, why: str, closing: Closing | None = None) -> None:
        self._compensation.begin(why, closing)

    def _conclude(self) -> None:
        """Goes on with what is being undone; ends the saga when all is done and told."""
        if self.saga.is_running(Step.CAPTURE) and self._money.is_nothing_left_to_capture:
            why = "the authorization was voided at the gateway"
            reason = "voided_at_gateway"
            self._close(why, Closing(PaymentStatus.CANCELLED, cancellation_reason=reason))
        self._compensation.proceed()
        is_told = self.saga.steps[Step.CONFIRM].status is StepStatus.SUCCEEDED
        is_open = self.saga.stage is not SagaStatus.COMPLETED
        is_taken = not self.saga.is_running(Step.SETTLE)
        if is_told and is_taken and is_open and not self.saga.is_closing:
            self._trigger(PaymentSaga.Completed)


def _refers(report: GatewayReport) -> bool:
    """True when a transaction points to another one, which must be heard of first."""
    return report.previous_ref is not None
