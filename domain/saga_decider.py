"""What a payment saga does next: pure decisions on its state, each ending in events.

Whatever the gateway says comes through `_hear`, whether as a callback, a query or an answer.
Money that moves after the sale is the business of `domain.saga_money`.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from domain.belief import Expectation, Verdict, judge
from domain.gateway_call import Operation
from domain.gateway_report import GatewayReport, TransactionKind, TransactionStatus
from domain.money import Money
from domain.payment_saga import Call, PaymentSaga
from domain.payment_terms import Failure, PaymentStatus
from domain.saga_calls import SagaCalls
from domain.saga_money import NEEDS_OPERATOR, SagaMoney
from domain.saga_steps import Deadline, SagaStatus, SagaTimings, Step, StepStatus


class SagaDecider:
    """Decides for one saga. `gateway` is the provider's name, recorded with the page."""

    def __init__(self, saga: PaymentSaga, timings: SagaTimings, gateway: str) -> None:
        self.saga = saga
        self.timings = timings
        self.gateway = gateway
        self._calls = SagaCalls(saga, timings)
        self._money = SagaMoney(self._calls)

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
            self._await_customer(call_id, transaction_ref, page_url)
        else:
            self._trigger(PaymentSaga.CallAnswered, call_id=call_id)

    def reports_received(self, call_id: UUID, reports: list[GatewayReport]) -> None:
        """The gateway answered a query or a follow-up."""
        call = self._answer(call_id)
        if call is None:
            return
        original = self._calls.original(call)
        if original.operation.is_follow_up:
            self._money.answered(original, reports)
            self._end_compensation()
            return
        verdicts = [self._hear(report, is_verified=True) for report in reports]
        if self.saga.status is SagaStatus.PARKED:
            return
        if self.saga.is_running(Step.OPEN_AT_GATEWAY):
            self._calls.open_page(self.now)
        elif self.saga.is_running(Step.AWAIT_CUSTOMER):
            self._wait_on(verdicts)
        elif self.saga.is_closing and Verdict.HELD in verdicts:
            self._watch_what_is_held()

    def call_refused(self, call_id: UUID, failure: Failure, retry_after_ms: int | None) -> None:
        """The gateway said no. With `retry_after_ms` it only wants to be asked later.

        That nobody opens another page is of no interest once a page is known: it may be paid.
        """
        call = self._answer(call_id)
        if call is None:
            return
        is_for_page = self._calls.original(call).operation is Operation.OPEN_PAGE
        if is_for_page and not self.saga.is_running(Step.OPEN_AT_GATEWAY):
            return
        is_too_late = call.not_after is not None and self.now > call.not_after
        if retry_after_ms is not None:
            pause = timedelta(milliseconds=retry_after_ms)
            self._calls.repeat(call, self.now + max(pause, self.timings.retry_base))
        elif call.operation is Operation.OPEN_PAGE or is_too_late:
            self._close(failure.message, PaymentStatus.FAILED, failure=failure)
        elif call.operation.is_follow_up:
            self._money.refused(call, failure)
        else:
            self._calls.repeat(call, self.now + self.timings.retry_max)

    def call_lost(self, call_id: UUID) -> None:
        """Nobody knows what came of a call: it is asked after before anything else is done."""
        call = self._answer(call_id)
        if call is None:
            return
        due_at = self.now + self.timings.retry_delay(len(self.saga.calls))
        if call.operation.is_query:
            self._calls.repeat(call, due_at)
        else:
            self._calls.ask_after(call, due_at)

    def _answer(self, call_id: UUID) -> Call | None:
        """Marks a call as answered; None when its answer is not wanted any more."""
        if not self.saga.awaits(call_id):
            return None
        self._trigger(PaymentSaga.CallAnswered, call_id=call_id)
        return self.saga.calls[call_id]

    # What happened elsewhere

    def notified(self, webhook_id: UUID, report: GatewayReport) -> None:
        """A signed notification came."""
        verdict = self._hear(report, is_verified=False)
        self._trigger(PaymentSaga.NotificationHandled, webhook_id=webhook_id, outcome=verdict)

    def payment_authorized(self) -> None:
        """The payment says that it is authorized: the merchant may capture it."""
        if self.saga.is_running(Step.SETTLE):
            self._trigger(PaymentSaga.StepSucceeded, step=Step.SETTLE)
            self._trigger(PaymentSaga.StepStarted, step=Step.CAPTURE)
            self._set_deadline(Deadline.AUTHORIZATION, self.now + self.timings.authorization_ttl)

    def capture_requested(self, amount: Money) -> None:
        """The merchant takes the authorized money, or part of it."""
        self._money.capture(amount)

    def refund_requested(self, refund_id: UUID, amount: Money) -> None:
        """The merchant gives money back."""
        self._money.refund(refund_id, amount)

    def payment_completed(self, *, is_told: bool) -> None:
        """The payment took the money; `is_told` says whether a merchant wants to hear of it."""
        if self.saga.is_closing:
            return
        if self.saga.is_running(Step.SETTLE):
            self._trigger(PaymentSaga.StepSucceeded, step=Step.SETTLE)
        self._clear_deadlines()
        self._confirm(is_told=is_told)

    def payment_closed(self, reason: str, *, is_told: bool) -> None:
        """The payment failed or was cancelled, because we said so or because a client did."""
        if self.saga.steps[Step.CREATE_RECORD].status is not StepStatus.COMPENSATING:
            if self.saga.is_closing:
                return
            self._undo(reason)
            self._watch_for_late_money()
        self._trigger(PaymentSaga.StepCompensated, step=Step.CREATE_RECORD)
        self._confirm(is_told=is_told)

    def merchant_told(self) -> None:
        """The confirmation was delivered, or is in the hands of its retry schedule.

        That may be heard of before the payment's own event, which comes from another log.
        """
        status = self.saga.steps[Step.CONFIRM].status
        if status is StepStatus.PENDING:
            self._trigger(PaymentSaga.StepStarted, step=Step.CONFIRM)
            self._trigger(PaymentSaga.StepSucceeded, step=Step.CONFIRM)
        elif status is StepStatus.RUNNING:
            self._trigger(PaymentSaga.StepSucceeded, step=Step.CONFIRM)
            self._finish()

    def reach_deadline(self, deadline: Deadline) -> None:
        """A deadline has passed: the gateway is asked how the transaction stands, or what was
        authorized is let go. Harmless when the deadline was cleared or put off meanwhile."""
        due_at = self.saga.deadlines.get(deadline)
        if due_at is None or due_at > self.now:
            return
        self._trigger(PaymentSaga.DeadlineReached, deadline=deadline)
        if deadline is not Deadline.AUTHORIZATION:
            self._calls.ask_about(self.saga.transaction_ref)
        elif self._is_capturing():
            self._set_deadline(deadline, self.now + self.timings.held_gap)
        elif self.saga.is_running(Step.CAPTURE):
            why = "the authorization was not captured in time"
            self._close(why, PaymentStatus.CANCELLED, "authorization_expired")

    # What operators want

    def retry(self, actor: str) -> None:
        """An operator has looked: what was given up is tried again."""
        if self.saga.status is not SagaStatus.PARKED:
            return
        call = self.saga.calls.get(self.saga.parked_call) if self.saga.parked_call else None
        self._resume(actor)
        if call is not None:
            self._money.try_again(call)
        else:
            self._calls.ask_about(self.saga.transaction_ref)

    def compensate(self, actor: str) -> None:
        """An operator gives the payment up: what was done is undone."""
        if self.saga.status is SagaStatus.PARKED:
            self._resume(actor)
            if not self.saga.is_closing and not self.saga.settlement:
                self._close(f"given up by {actor}", PaymentStatus.CANCELLED, "given_up")
                self._watch_for_late_money()

    def _resume(self, actor: str) -> None:
        self._trigger(PaymentSaga.Resumed, actor=actor, status=self.saga.status_unparked)

    @property
    def now(self) -> datetime:
        """The time of the event being acted on."""
        return self._calls.now

    def _trigger(self, event_class: type[PaymentSaga.Event], **fields: Any) -> None:
        self._calls.trigger(event_class, **fields)

    # What the gateway says

    def _hear(self, report: GatewayReport, *, is_verified: bool) -> Verdict:
        follow_up = self._money.call_for(report)
        if follow_up is not None:
            self._money.answered(follow_up, [report])
            self._end_compensation()
            return Verdict.IRRELEVANT
        expected = Expectation(
            amount=self.saga.amount,
            cart_ids=self.saga.cart_ids,
            transaction_refs=self.saga.transaction_refs,
            current_ref=self.saga.transaction_ref,
            capture=self.saga.capture,
        )
        judgement = judge(report, expected)
        if judgement.verdict is Verdict.DOUBTED:
            self._doubt(report, judgement.reason, is_verified=is_verified)
        else:
            self._act_on(judgement.verdict, report, is_verified=is_verified)
        return judgement.verdict

    def _act_on(self, verdict: Verdict, report: GatewayReport, *, is_verified: bool) -> None:
        if verdict in {Verdict.PAID, Verdict.AUTHORIZED}:
            self._money_arrived(report, is_authorization=verdict is Verdict.AUTHORIZED)
        elif verdict is Verdict.REFUSED:
            self._refused(report)
        elif report.kind is TransactionKind.REFUND:
            self._refunded_elsewhere(report, is_verified=is_verified)

    def _doubt(self, report: GatewayReport, reason: str, *, is_verified: bool) -> None:
        self._trigger(PaymentSaga.ReportDoubted, report=report, reason=reason)
        if is_verified:
            self._trigger(
                PaymentSaga.Parked,
                reason=NEEDS_OPERATOR,
                detail=f"the gateway's own answer does not fit: {reason}",
                advice=f"compare transaction {report.transaction_ref} with the gateway's "
                "dashboard; then retry or compensate the saga",
                call_id=None,
            )
        elif self.saga.transaction_ref:
            self._calls.ask_about(self.saga.transaction_ref)

    def _money_arrived(self, report: GatewayReport, *, is_authorization: bool) -> None:
        money = [m for m in (self.saga.settlement, self.saga.authorization) if m is not None]
        known = {earlier.transaction_ref for earlier in money} | set(self.saga.returns)
        if report.transaction_ref in known:
            return
        if money or self.saga.is_closing:
            self._money.give_back(report)
            return
        self._learn_page(report)
        self._trigger(PaymentSaga.StepSucceeded, step=Step.AWAIT_CUSTOMER)
        self._clear_deadlines()
        started = (
            PaymentSaga.AuthorizationStarted if is_authorization else PaymentSaga.SettlementStarted
        )
        self._trigger(started, step=Step.SETTLE, report=report)

    def _refused(self, report: GatewayReport) -> None:
        if self.saga.settlement or self.saga.authorization or self.saga.is_closing:
            return
        self._learn_page(report)
        text = report.message or report.status.value
        if report.status is TransactionStatus.CANCELLED:
            self._close(text, PaymentStatus.CANCELLED, "cancelled_by_customer", report=report)
        elif report.status is TransactionStatus.EXPIRED:
            self._close(text, PaymentStatus.CANCELLED, "expired", report=report)
        else:
            is_decline = report.status is TransactionStatus.DECLINED
            failure = Failure("card_declined" if is_decline else "gateway_error", text, report.code)
            self._close(text, PaymentStatus.FAILED, failure=failure, report=report)

    def _refunded_elsewhere(self, report: GatewayReport, *, is_verified: bool) -> None:
        """A refund that we did not ask for: made in the dashboard. It is verified first."""
        is_news = report.transaction_ref not in self.saga.refund_refs
        is_ours = report.previous_ref in self.saga.transaction_refs | set(self.saga.returns)
        is_done = report.status is TransactionStatus.AUTHORISED and report.amount is not None
        if not (is_news and is_ours and is_done):
            return
        money_return = self.saga.returns.get(report.previous_ref or "")
        if not is_verified:
            self._calls.ask_about(report.transaction_ref)
        elif money_return is not None and not money_return.is_done:
            self._trigger(
                PaymentSaga.MoneyReturned,
                call_id=None,
                transaction_ref=report.previous_ref,
                refund_ref=report.transaction_ref,
                amount=report.amount,
            )
            self._end_compensation()
        elif self.saga.settlement is not None:
            self._trigger(
                PaymentSaga.ForeignRefundSeen,
                refund_ref=report.transaction_ref,
                amount=report.amount,
            )

    def _learn_page(self, report: GatewayReport) -> None:
        """A report may be quicker than the answer to our own call: it proves there is a page."""
        if self.saga.is_running(Step.OPEN_AT_GATEWAY):
            self._await_customer(None, report.transaction_ref, None)

    # Forwards

    def _await_customer(
        self, call_id: UUID | None, transaction_ref: str, page_url: str | None
    ) -> None:
        expires_at = self.now + self.timings.page_ttl
        self._trigger(
            PaymentSaga.PageOpened,
            step=Step.OPEN_AT_GATEWAY,
            call_id=call_id,
            gateway=self.gateway,
            transaction_ref=transaction_ref,
            page_url=page_url,
            expires_at=expires_at,
        )
        self._trigger(PaymentSaga.StepStarted, step=Step.AWAIT_CUSTOMER)
        due_at = self.timings.next_reconciliation(self.now, expires_at, self.now)
        self._set_deadline(Deadline.RECONCILE, due_at)

    def _wait_on(self, verdicts: list[Verdict]) -> None:
        opened_at, expires_at = self.saga.page_opened_at, self.saga.page_expires_at
        assert opened_at is not None
        assert expires_at is not None
        is_over = self.now >= expires_at + self.timings.expiry_grace
        is_held = Verdict.HELD in verdicts and self.now < opened_at + self.timings.held_max
        if is_over and not is_held:
            self._close("the page ran out", PaymentStatus.CANCELLED, "expired")
            self._watch_for_late_money()
        elif Deadline.RECONCILE not in self.saga.deadlines:
            due_at = self.timings.next_reconciliation(opened_at, expires_at, self.now)
            self._set_deadline(Deadline.RECONCILE, due_at)

    def _confirm(self, *, is_told: bool) -> None:
        status = self.saga.steps[Step.CONFIRM].status
        if status is StepStatus.SUCCEEDED:
            self._finish()
        elif status is StepStatus.PENDING:
            self._trigger(PaymentSaga.StepStarted, step=Step.CONFIRM)
            if not is_told:
                self.merchant_told()

    def _finish(self) -> None:
        if self.saga.is_closing:
            self._end_compensation()
        elif self.saga.status is not SagaStatus.COMPLETED:
            self._trigger(PaymentSaga.Completed)

    # Backwards

    def _close(
        self,
        why: str,
        status: PaymentStatus,
        cancellation_reason: str | None = None,
        *,
        failure: Failure | None = None,
        report: GatewayReport | None = None,
    ) -> None:
        self._undo(why)
        self._trigger(
            PaymentSaga.RecordClosing,
            step=Step.CREATE_RECORD,
            status=status,
            failure=failure,
            cancellation_reason=cancellation_reason,
            report=report,
        )

    def _undo(self, why: str) -> None:
        """Fails the running step and undoes, last first, what the steps before it did."""
        for step in self.saga.steps:
            if self.saga.is_running(step):
                self._trigger(PaymentSaga.StepFailed, step=step, reason=why)
        self._trigger(PaymentSaga.CompensationStarted, reason=why)
        self._clear_deadlines()
        money = self.saga.settlement or self.saga.authorization
        if money is not None and not self._is_capturing():
            self._money.give_back(money)
        if self.saga.steps[Step.OPEN_AT_GATEWAY].status is StepStatus.SUCCEEDED:
            self._trigger(PaymentSaga.StepCompensated, step=Step.OPEN_AT_GATEWAY)

    def _is_capturing(self) -> bool:
        calls = self.saga.follow_ups_under_way
        return any(call.operation is Operation.CAPTURE for call in calls)

    def _watch_for_late_money(self) -> None:
        """A page cannot be called back: whoever still has it may pay until it is over."""
        opened_at = self.saga.page_opened_at
        has_money = self.saga.settlement or self.saga.authorization
        if opened_at and self.saga.is_page_given_out and not has_money:
            due_at = max(self.now, opened_at + self.timings.late_money_after)
            self._set_deadline(Deadline.LATE_MONEY, due_at)

    def _watch_what_is_held(self) -> None:
        """Money that the gateway holds or has pending may still come for a closed payment."""
        opened_at = self.saga.page_opened_at
        is_young = opened_at and self.now < opened_at + self.timings.held_max
        if is_young and Deadline.LATE_MONEY not in self.saga.deadlines:
            self._set_deadline(Deadline.LATE_MONEY, self.now + self.timings.held_gap)

    def _end_compensation(self) -> None:
        is_told = self.saga.steps[Step.CONFIRM].status is StepStatus.SUCCEEDED
        is_returned = all(money.is_done for money in self.saga.returns.values())
        is_idle = not self.saga.follow_ups_under_way
        if self.saga.status is SagaStatus.COMPENSATING and is_told and is_returned and is_idle:
            self._trigger(PaymentSaga.Compensated)

    def _set_deadline(self, deadline: Deadline, due_at: datetime) -> None:
        self._trigger(PaymentSaga.DeadlineSet, deadline=deadline, due_at=due_at)

    def _clear_deadlines(self) -> None:
        for deadline, due_at in list(self.saga.deadlines.items()):
            self._trigger(PaymentSaga.DeadlineCleared, deadline=deadline, due_at=due_at)
