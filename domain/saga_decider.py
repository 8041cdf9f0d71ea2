"""What a payment saga does next: pure decisions on its state, each ending in events.

Whatever the gateway says comes through `_hear`, whether as a callback, a query or an answer.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from domain.belief import Expectation, Verdict, judge
from domain.event import current_context
from domain.gateway_call import Operation
from domain.gateway_report import GatewayReport, TransactionKind, TransactionStatus, cart_id_for
from domain.payment import Failure, PaymentStatus
from domain.payment_saga import Call, PaymentSaga
from domain.saga_steps import Deadline, SagaStatus, SagaTimings, Step, StepStatus

QUERIES_MAX = 10
"""How often a refund whose fate is unknown is asked after before a person has to look."""

NEEDS_OPERATOR = "needs_operator"


class SagaDecider:
    """Decides for one saga. `gateway` is the provider's name, recorded with the page."""

    def __init__(self, saga: PaymentSaga, timings: SagaTimings, gateway: str) -> None:
        self.saga = saga
        self.timings = timings
        self.gateway = gateway

    def start(self) -> None:
        """The payment is recorded: the gateway is asked for a page."""
        self._trigger(PaymentSaga.StepSucceeded, step=Step.CREATE_RECORD)
        self._open_page(self.now)

    def page_opened(self, call_id: UUID, transaction_ref: str, page_url: str | None) -> None:
        """The gateway has a page; the customer is awaited."""
        if not self.saga.awaits(call_id):
            return
        if self.saga.is_running(Step.OPEN_AT_GATEWAY):
            self._await_customer(call_id, transaction_ref, page_url)
        else:
            self._trigger(PaymentSaga.CallAnswered, call_id=call_id)

    def reports_received(self, call_id: UUID, reports: list[GatewayReport]) -> None:
        """The gateway answered a query or a refund."""
        if not self.saga.awaits(call_id):
            return
        self._trigger(PaymentSaga.CallAnswered, call_id=call_id)
        call = self.saga.calls[call_id]
        original = self._original(call)
        if original.operation is Operation.REFUND:
            self._refund_answered(original, reports)
            return
        verdicts = [self._hear(report, is_verified=True) for report in reports]
        if self.saga.status is SagaStatus.PARKED:
            return
        if self.saga.is_running(Step.OPEN_AT_GATEWAY):
            self._open_page(self.now)
        elif self.saga.status is SagaStatus.WAITING:
            self._wait_on(verdicts)

    def call_refused(self, call_id: UUID, failure: Failure, retry_after_ms: int | None) -> None:
        """The gateway said no. With `retry_after_ms` it only wants to be asked later.

        That nobody opens another page is of no interest once a page is known: it may be paid.
        """
        if not self.saga.awaits(call_id):
            return
        self._trigger(PaymentSaga.CallAnswered, call_id=call_id)
        call = self.saga.calls[call_id]
        if self._original(call).operation is Operation.OPEN_PAGE and not self.saga.is_running(
            Step.OPEN_AT_GATEWAY
        ):
            return
        is_too_late = call.not_after is not None and self.now > call.not_after
        if retry_after_ms is not None:
            pause = timedelta(milliseconds=retry_after_ms)
            self._repeat(call, self.now + max(pause, self.timings.retry_base))
        elif call.operation is Operation.OPEN_PAGE or is_too_late:
            self._close(failure.message, PaymentStatus.FAILED, failure=failure)
        elif call.operation is Operation.REFUND:
            self._park_refund(call, f"the gateway refused it: {failure.message}")
        else:
            self._repeat(call, self.now + self.timings.retry_max)

    def call_lost(self, call_id: UUID) -> None:
        """Nobody knows what came of a call: it is asked after before anything else is done."""
        if not self.saga.awaits(call_id):
            return
        self._trigger(PaymentSaga.CallAnswered, call_id=call_id)
        call = self.saga.calls[call_id]
        due_at = self.now + self.timings.retry_delay(len(self.saga.calls))
        if call.operation.is_query:
            self._repeat(call, due_at)
        else:
            self._ask_after(call, due_at)

    def notified(self, webhook_id: UUID, report: GatewayReport) -> None:
        """A signed notification came."""
        verdict = self._hear(report, is_verified=False)
        self._trigger(PaymentSaga.NotificationHandled, webhook_id=webhook_id, outcome=verdict)

    def payment_completed(self, *, is_told: bool) -> None:
        """The payment took the money; `is_told` says whether a merchant wants to hear of it."""
        if self.saga.is_running(Step.SETTLE):
            self._trigger(PaymentSaga.StepSucceeded, step=Step.SETTLE)
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
        """A deadline has passed: the gateway is asked how the transaction stands. Harmless when
        the deadline was cleared or put off meanwhile."""
        due_at = self.saga.deadlines.get(deadline)
        if due_at is not None and due_at <= self.now:
            self._trigger(PaymentSaga.DeadlineReached, deadline=deadline)
            self._ask_about_page()

    @property
    def now(self) -> datetime:
        """The time of the event being acted on."""
        return current_context().now

    def _trigger(self, event_class: type[PaymentSaga.Event], **fields: Any) -> None:
        self.saga.trigger_event(event_class, **fields)

    # What the gateway says

    def _hear(self, report: GatewayReport, *, is_verified: bool) -> Verdict:
        expected = Expectation(
            amount=self.saga.amount,
            cart_ids=self.saga.cart_ids,
            transaction_refs=self.saga.transaction_refs,
            current_ref=self.saga.transaction_ref,
        )
        judgement = judge(report, expected)
        if judgement.verdict is Verdict.DOUBTED:
            self._doubt(report, judgement.reason, is_verified=is_verified)
        elif judgement.verdict is Verdict.PAID:
            self._money_arrived(report)
        elif judgement.verdict is Verdict.REFUSED:
            self._refused(report)
        return judgement.verdict

    def _doubt(self, report: GatewayReport, reason: str, *, is_verified: bool) -> None:
        self._trigger(PaymentSaga.ReportDoubted, report=report, reason=reason)
        if is_verified:
            self._park(
                f"the gateway's own answer does not fit: {reason}",
                f"compare transaction {report.transaction_ref} with the gateway's dashboard",
            )
        elif self.saga.transaction_ref:
            self._ask_about_page()

    def _money_arrived(self, report: GatewayReport) -> None:
        settlement = self.saga.settlement
        if report.transaction_ref in self.saga.returns:
            return
        if settlement and settlement.transaction_ref == report.transaction_ref:
            return
        if settlement or self.saga.is_closing:
            self._give_back(report)
            return
        self._learn_page(report)
        self._trigger(PaymentSaga.StepSucceeded, step=Step.AWAIT_CUSTOMER)
        self._clear_deadlines()
        self._trigger(PaymentSaga.SettlementStarted, step=Step.SETTLE, report=report)

    def _refused(self, report: GatewayReport) -> None:
        if self.saga.settlement or self.saga.is_closing:
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

    def _learn_page(self, report: GatewayReport) -> None:
        """A report may be quicker than the answer to our own call: it proves there is a page."""
        if self.saga.is_running(Step.OPEN_AT_GATEWAY):
            self._await_customer(None, report.transaction_ref, None)

    # Forwards

    def _open_page(self, due_at: datetime) -> None:
        self._trigger(PaymentSaga.StepStarted, step=Step.OPEN_AT_GATEWAY)
        self._request(
            Operation.OPEN_PAGE,
            due_at,
            cart_id=cart_id_for(self.saga.payment_id, "a", len(self.saga.cart_ids) + 1),
            amount=self.saga.amount,
            not_after=self.saga.open_until,
        )

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
        if is_over and Verdict.HELD not in verdicts:
            self._close("the page ran out", PaymentStatus.CANCELLED, "expired")
            self._watch_for_late_money()
        elif Deadline.RECONCILE not in self.saga.deadlines:
            due_at = self.timings.next_reconciliation(opened_at, expires_at, self.now)
            self._set_deadline(Deadline.RECONCILE, due_at)

    def _confirm(self, *, is_told: bool) -> None:
        if self.saga.steps[Step.CONFIRM].status is StepStatus.SUCCEEDED:
            self._finish()
            return
        self._trigger(PaymentSaga.StepStarted, step=Step.CONFIRM)
        if not is_told:
            self.merchant_told()

    def _finish(self) -> None:
        if self.saga.is_closing:
            self._end_compensation()
        else:
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
        for step in Step:
            if self.saga.is_running(step):
                self._trigger(PaymentSaga.StepFailed, step=step, reason=why)
        self._trigger(PaymentSaga.CompensationStarted, reason=why)
        self._clear_deadlines()
        if self.saga.settlement:
            self._give_back(self.saga.settlement)
        if self.saga.steps[Step.OPEN_AT_GATEWAY].status is StepStatus.SUCCEEDED:
            self._trigger(PaymentSaga.StepCompensated, step=Step.OPEN_AT_GATEWAY)

    def _watch_for_late_money(self) -> None:
        """A page cannot be called back: whoever still has it may pay until it is over."""
        opened_at = self.saga.page_opened_at
        if opened_at and self.saga.is_page_given_out:
            due_at = max(self.now, opened_at + self.timings.late_money_after)
            self._set_deadline(Deadline.LATE_MONEY, due_at)

    def _end_compensation(self) -> None:
        is_told = self.saga.steps[Step.CONFIRM].status is StepStatus.SUCCEEDED
        is_returned = all(money.is_done for money in self.saga.returns.values())
        if self.saga.status is SagaStatus.COMPENSATING and is_told and is_returned:
            self._trigger(PaymentSaga.Compensated)

    def _give_back(self, report: GatewayReport) -> None:
        number = len(self.saga.returns) + 1
        self._trigger(
            PaymentSaga.MoneyReturnStarted,
            transaction_ref=report.transaction_ref,
            amount=self.saga.amount,
            is_closing=self.saga.is_closing,
        )
        self._request(
            Operation.REFUND,
            self.now,
            cart_id=cart_id_for(self.saga.payment_id, "c", number),
            transaction_ref=report.transaction_ref,
            amount=self.saga.amount,
        )

    def _refund_answered(self, refund: Call, reports: list[GatewayReport]) -> None:
        refunds = [r for r in reports if r.kind is TransactionKind.REFUND]
        report = refunds[0] if refunds else None
        if report is None or report.status is TransactionStatus.UNKNOWN:
            self._ask_after(refund, self.now + self.timings.retry_max)
        elif report.status is TransactionStatus.AUTHORISED and report.amount == refund.amount:
            self._trigger(
                PaymentSaga.MoneyReturned,
                transaction_ref=refund.transaction_ref,
                refund_ref=report.transaction_ref,
                amount=refund.amount,
            )
            self._end_compensation()
        elif report.status.is_final:
            self._park_refund(refund, f"the gateway answered {report.status}: {report.message}")
        else:
            self._ask_after(refund, self.now + self.timings.held_gap)

    def _park_refund(self, refund: Call, reason: str) -> None:
        self._park(
            f"{refund.amount} could not be given back: {reason}",
            f"refund transaction {refund.transaction_ref} in the gateway's dashboard",
        )

    def _park(self, detail: str, advice: str) -> None:
        self._trigger(PaymentSaga.Parked, reason=NEEDS_OPERATOR, detail=detail, advice=advice)

    # Calls and deadlines

    def _request(
        self,
        operation: Operation,
        due_at: datetime,
        *,
        cart_id: str | None = None,
        transaction_ref: str | None = None,
        amount: Any = None,
        about: UUID | None = None,
        not_after: datetime | None = None,
    ) -> None:
        call = Call(
            call_id=uuid5(self.saga.id, f"call-{len(self.saga.calls) + 1}"),
            operation=operation,
            cart_id=cart_id,
            transaction_ref=transaction_ref,
            amount=amount,
            about=about,
            due_at=due_at,
            not_after=not_after,
        )
        self._trigger(PaymentSaga.CallRequested, call=call)

    def _original(self, call: Call) -> Call:
        """The call that a query asks after, or the call itself."""
        return self.saga.calls[call.about] if call.about else call

    def _repeat(self, call: Call, due_at: datetime) -> None:
        """Asks again for something that is known not to have happened, or that changes nothing."""
        if call.operation is Operation.OPEN_PAGE:
            self._open_page(due_at)
            return
        self._request(
            call.operation,
            due_at,
            cart_id=call.cart_id,
            transaction_ref=call.transaction_ref,
            amount=call.amount,
            about=call.about,
            not_after=call.not_after,
        )

    def _ask_after(self, call: Call, due_at: datetime) -> None:
        """Asks what became of a call, a bounded number of times where money may have moved."""
        asked = sum(other.about == call.call_id for other in self.saga.calls.values())
        if call.operation is Operation.REFUND and asked >= QUERIES_MAX:
            self._park_refund(call, f"after {asked} queries its fate is still unknown")
        else:
            self._request(
                Operation.QUERY_CART,
                due_at,
                cart_id=call.cart_id,
                about=call.call_id,
                not_after=call.not_after,
            )

    def _ask_about_page(self) -> None:
        self._request(
            Operation.QUERY_TRANSACTION, self.now, transaction_ref=self.saga.transaction_ref
        )

    def _set_deadline(self, deadline: Deadline, due_at: datetime) -> None:
        self._trigger(PaymentSaga.DeadlineSet, deadline=deadline, due_at=due_at)

    def _clear_deadlines(self) -> None:
        for deadline, due_at in list(self.saga.deadlines.items()):
            self._trigger(PaymentSaga.DeadlineCleared, deadline=deadline, due_at=due_at)
