"""Money that moves after the sale: refunds, captures, voids, and what must be given back."""

from uuid import UUID

from domain.gateway_call import Operation
from domain.gateway_report import (
    GatewayReport,
    TransactionKind,
    TransactionStatus,
    cart_id_for,
)
from domain.money import Money, written
from domain.payment_saga import Call, PaymentSaga
from domain.payment_terms import Failure
from domain.saga_calls import SagaCalls
from domain.saga_steps import Step

ATTEMPTS_MAX = 5
"""How often a follow-up that provably did not happen is asked for anew."""
QUERIES_MAX = 40
"""How often a follow-up is asked after before a person has to look."""

NEEDS_OPERATOR = "needs_operator"

KINDS: dict[Operation, frozenset[TransactionKind]] = {
    Operation.REFUND: frozenset({TransactionKind.REFUND}),
    Operation.VOID: frozenset({TransactionKind.VOID, TransactionKind.RELEASE}),
    Operation.CAPTURE: frozenset({TransactionKind.CAPTURE, TransactionKind.SALE}),
}
"""What the gateway may call a follow-up: a partial void is a release, a capture may be a sale
(PayTabs, sections 6 and 7.5)."""


class SagaMoney:
    """Moves money for one saga, and never twice: a follow-up whose fate is unknown is repeated
    only when the gateway, asked long enough after it, knows nothing of it."""

    def __init__(self, calls: SagaCalls) -> None:
        self._calls = calls
        self._saga = calls.saga
        self._timings = calls.timings

    # What is asked for

    def refund(self, refund_id: UUID, amount: Money) -> None:
        """A merchant wants money given back."""
        if self._saga.settlement is not None:
            self._follow_up(
                Operation.REFUND,
                "r",
                self._saga.settlement.transaction_ref,
                amount,
                refund_id,
            )

    def capture(self, amount: Money) -> None:
        """A merchant takes the authorized money, or part of it."""
        if self._saga.authorization is not None and self._saga.is_running(Step.CAPTURE):
            ref = self._saga.authorization.transaction_ref
            self._follow_up(Operation.CAPTURE, "k", ref, amount)

    def release_rest(self, captured: Money) -> None:
        """Lets go of what was authorized and not captured."""
        authorization = self._saga.authorization
        if authorization is not None and captured < self._saga.amount:
            rest = self._saga.amount - captured
            self._follow_up(Operation.VOID, "v", authorization.transaction_ref, rest)

    def give_back(self, report: GatewayReport) -> None:
        """Money that must not be kept goes back: refunded, or let go if only authorized."""
        if report.transaction_ref in self._saga.returns:
            return
        is_held = report.kind is TransactionKind.AUTHORIZATION
        amount = report.amount or self._saga.amount
        self._calls.trigger(
            PaymentSaga.MoneyReturnStarted,
            transaction_ref=report.transaction_ref,
            amount=amount,
            is_closing=self._saga.is_closing,
        )
        operation = Operation.VOID if is_held else Operation.REFUND
        self._follow_up(operation, "c", report.transaction_ref, amount)

    def try_again(self, call: Call) -> None:
        """What was refused is asked for anew; what is unknown is asked after once more."""
        if call.call_id in self._saga.resolved and call.amount and call.transaction_ref:
            self._follow_up(call.operation, "c", call.transaction_ref, call.amount, call.refund_id)
        else:
            self._calls.ask_after(call, self._calls.now)

    def _follow_up(
        self,
        operation: Operation,
        purpose: str,
        transaction_ref: str,
        amount: Money,
        refund_id: UUID | None = None,
    ) -> None:
        number = 1 + len({c.cart_id for c in self._saga.calls.values() if c.operation.is_follow_up})
        self._calls.request(
            operation,
            self._calls.now,
            cart_id=cart_id_for(self._saga.payment_id, purpose, number),
            transaction_ref=transaction_ref,
            amount=amount,
            refund_id=refund_id,
        )

    # What came of it

    def call_for(self, report: GatewayReport) -> Call | None:
        """The unresolved follow-up that a report speaks of, found by its cart."""
        for call in self._saga.calls.values():
            is_it = call.cart_id == report.cart_id and call.operation.is_follow_up
            if is_it and call.call_id not in self._saga.resolved:
                return call
        return None

    def answered(self, call: Call, reports: list[GatewayReport]) -> None:
        """The gateway told of a follow-up; nothing at all is told of what never happened."""
        if call.call_id in self._saga.resolved:
            return
        fitting = [r for r in reports if r.kind in KINDS[call.operation]]
        report = next((r for r in fitting if r.status is TransactionStatus.AUTHORISED), None)
        report = report or (fitting[0] if fitting else None)
        if report is None:
            self._not_found(call)
        elif report.status is TransactionStatus.AUTHORISED and report.amount == call.amount:
            self._done(call, report)
        elif report.status.is_refusal:
            self.refused(call, Failure("refused", report.message or report.status, report.code))
        elif self._calls.queries_about(call) >= QUERIES_MAX:
            self._park(call, f"the gateway still says {report.status}")
        elif report.status is TransactionStatus.PENDING:
            due_at = self._calls.now + self._timings.held_gap
            self._calls.watch(call, report.transaction_ref, due_at)
        else:
            self._calls.ask_after(call, self._calls.now + self._timings.retry_max)

    def refused(self, call: Call, failure: Failure) -> None:
        """The gateway will not do it."""
        if call.refund_id is not None:
            self._calls.trigger(
                PaymentSaga.RefundRefused,
                call_id=call.call_id,
                refund_id=call.refund_id,
                failure=failure,
            )
        elif call.operation is Operation.CAPTURE:
            self._capture_refused(call, failure)
        else:
            self._calls.trigger(PaymentSaga.FollowUpEnded, call_id=call.call_id)
            if call.transaction_ref in self._saga.returns:
                self._park(call, f"the gateway refused it: {failure.message}")

    def _capture_refused(self, call: Call, failure: Failure) -> None:
        self._calls.trigger(PaymentSaga.CaptureRefused, call_id=call.call_id, failure=failure)
        if self._saga.is_closing and self._saga.authorization is not None:
            self.give_back(self._saga.authorization)

    def _done(self, call: Call, report: GatewayReport) -> None:
        if call.refund_id is not None:
            self._calls.trigger(
                PaymentSaga.RefundSettled,
                call_id=call.call_id,
                refund_id=call.refund_id,
                refund_ref=report.transaction_ref,
            )
        elif call.operation is Operation.CAPTURE:
            self._captured(call, report)
        elif call.transaction_ref in self._saga.returns:
            self._calls.trigger(
                PaymentSaga.MoneyReturned,
                call_id=call.call_id,
                transaction_ref=call.transaction_ref,
                refund_ref=report.transaction_ref,
                amount=call.amount,
            )
        else:
            self._calls.trigger(PaymentSaga.FollowUpEnded, call_id=call.call_id)

    def _captured(self, call: Call, report: GatewayReport) -> None:
        self._calls.trigger(
            PaymentSaga.Captured,
            step=Step.CAPTURE,
            call_id=call.call_id,
            report=report,
            is_closing=self._saga.is_closing,
        )
        if self._saga.is_closing:
            self.give_back(report)
        elif report.amount is not None:
            self.release_rest(report.amount)

    def _not_found(self, call: Call) -> None:
        """The gateway does not know it. Long enough afterwards that proves it never happened."""
        asked = self._calls.queries_about(call)
        proven_at = call.due_at + self._timings.proof_after
        if self._calls.now < proven_at or asked < 2:
            due_at = max(self._calls.now + self._timings.retry_max, proven_at)
            self._calls.ask_after(call, due_at)
        elif self._calls.attempts_of(call) >= ATTEMPTS_MAX:
            self._park(call, f"{ATTEMPTS_MAX} attempts came to nothing")
        else:
            self._calls.repeat(call, self._calls.now)

    def _park(self, call: Call, detail: str) -> None:
        assert call.amount is not None
        self._calls.trigger(
            PaymentSaga.Parked,
            reason=NEEDS_OPERATOR,
            detail=f"{call.operation} of {written(call.amount)}: {detail}",
            advice=f"look up transaction {call.transaction_ref} in the gateway's dashboard; "
            "then retry the saga",
            call_id=call.call_id,
        )
