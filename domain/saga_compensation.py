"""The way back: what took effect is undone, last first, each step when the one before is done."""

from datetime import datetime

from domain.gateway_report import GatewayReport
from domain.payment_saga import PaymentSaga
from domain.saga_calls import SagaCalls
from domain.saga_money import SagaMoney
from domain.saga_steps import Deadline, SagaStatus, Step, StepStatus
from domain.saga_values import Closing

DONE = frozenset({StepStatus.SUCCEEDED, StepStatus.COMPENSATING})


class SagaCompensation:
    """Takes one saga back. `proceed` goes on as far as it can, and is harmless when it cannot."""

    def __init__(self, calls: SagaCalls, money: SagaMoney) -> None:
        self._calls = calls
        self._saga = calls.saga
        self._money = money

    def begin(self, why: str, closing: Closing | None = None) -> None:
        """Fails what is running and starts to undo. Without `closing` a client has closed the
        payment himself."""
        for step in self._saga.steps:
            if self._saga.is_running(step):
                self._calls.trigger(PaymentSaga.StepFailed, step=step, reason=why)
        self._calls.trigger(
            PaymentSaga.CompensationStarted,
            reason=why,
            status=closing.status if closing else None,
            failure=closing.failure if closing else None,
            cancellation_reason=closing.cancellation_reason if closing else None,
            report=closing.report if closing else None,
        )
        self._calls.clear_deadlines()
        if closing is None:
            self._calls.trigger(PaymentSaga.RecordClosed, step=Step.CREATE_RECORD)
        self.watch_for_late_money()
        self.proceed()

    def record_closed(self) -> None:
        """The payment is closed, because we said so or because a client was quicker."""
        status = self._status(Step.CREATE_RECORD)
        if status is StepStatus.SUCCEEDED:
            self._calls.trigger(PaymentSaga.RecordClosed, step=Step.CREATE_RECORD)
        elif status is StepStatus.COMPENSATING and not self._saga.is_record_closed:
            self._calls.trigger(PaymentSaga.StepCompensated, step=Step.CREATE_RECORD)

    def proceed(self) -> None:
        """Undoes what can be undone now, and ends when nothing is left to undo or to tell."""
        if not self._saga.is_closing:
            return
        undo = (self._undo_capture, self._undo_settling, self._abandon_page, self._close_record)
        if not all(is_undone() for is_undone in undo):
            return
        is_returned = all(money.is_done for money in self._saga.returns.values())
        is_idle = not self._saga.follow_ups_under_way and not self._saga.parked
        is_told = self._status(Step.CONFIRM) is StepStatus.SUCCEEDED
        is_open = self._saga.stage is SagaStatus.COMPENSATING
        if is_open and is_told and is_returned and is_idle:
            self._calls.trigger(PaymentSaga.Compensated)

    def _undo_capture(self) -> bool:
        if self._money.is_capturing:
            return False
        if self._status(Step.CAPTURE) not in DONE or self._saga.settlement is None:
            return True
        return self._undo_with_money(Step.CAPTURE, self._saga.settlement)

    def _undo_settling(self) -> bool:
        money = self._saga.authorization or self._saga.settlement
        if money is None:
            return True
        return self._undo_with_money(Step.SETTLE, money)

    def _undo_with_money(self, step: Step, report: GatewayReport) -> bool:
        status = self._status(step)
        if status is StepStatus.COMPENSATED:
            return True
        if status is not StepStatus.COMPENSATING:
            self._calls.trigger(PaymentSaga.StepCompensationStarted, step=step)
            self._money.give_back(report)
        money = self._saga.returns.get(report.transaction_ref)
        if money is not None and not money.is_done:
            return False
        self._calls.trigger(PaymentSaga.StepCompensated, step=step)
        return True

    def _abandon_page(self) -> bool:
        if self._status(Step.OPEN_AT_GATEWAY) is StepStatus.SUCCEEDED:
            self._calls.trigger(PaymentSaga.StepCompensated, step=Step.OPEN_AT_GATEWAY)
        return True

    def _close_record(self) -> bool:
        status, closing = self._status(Step.CREATE_RECORD), self._saga.closing
        if status is StepStatus.SUCCEEDED and closing is not None:
            self._calls.trigger(
                PaymentSaga.RecordClosing,
                step=Step.CREATE_RECORD,
                status=closing.status,
                failure=closing.failure,
                cancellation_reason=closing.cancellation_reason,
                report=closing.report,
            )
        elif status is StepStatus.COMPENSATING and self._saga.is_record_closed:
            self._calls.trigger(PaymentSaga.StepCompensated, step=Step.CREATE_RECORD)
        return self._status(Step.CREATE_RECORD) is StepStatus.COMPENSATED

    def _status(self, step: Step) -> StepStatus | None:
        return self._saga.steps[step].status if step in self._saga.steps else None

    def watch_for_late_money(self) -> None:
        """A page cannot be called back: whoever still has one may pay until it is over."""
        has_money = self._saga.settlement or self._saga.authorization
        is_usable = self._saga.page_opened_at and not has_money
        if is_usable or len(self._calls.carts_with_pages) > 1:
            late_at = self._opened_at + self._calls.timings.late_money_after
            self._calls.set_deadline(Deadline.LATE_MONEY, max(self._calls.now, late_at))

    def look_once_more(self) -> None:
        """Asked once about late money, the gateway is asked again when no page of any kind can be
        paid on any more."""
        last_at = self._opened_at + self._calls.timings.last_page_after
        if self._calls.now < last_at:
            self._calls.set_deadline(Deadline.LATE_MONEY, last_at)

    @property
    def _opened_at(self) -> datetime:
        return self._saga.page_opened_at or self._saga.created_on

    def watch_what_is_held(self) -> None:
        """Money that the gateway holds or has pending may still come where nobody waits for it."""
        timings = self._calls.timings
        is_young = self._calls.now < self._opened_at + timings.held_max
        if is_young and Deadline.LATE_MONEY not in self._saga.deadlines:
            self._calls.set_deadline(Deadline.LATE_MONEY, self._calls.now + timings.held_gap)
