"""Money that moves after the sale: refunds, captures, voids, and what must be given back."""

from dataclasses import replace
from uuid import UUID

from domain.gateway_call import FOLLOW_UP_KINDS, Operation
from domain.gateway_report import GatewayReport, TransactionKind, TransactionStatus, cart_id_for
from domain.money import Money, written
from domain.payment_saga import Call, PaymentSaga
from domain.payment_terms import Failure
from domain.saga_calls import SagaCalls
from domain.saga_steps import Step
from domain.saga_values import GATEWAY

ATTEMPTS_MAX = 5
"""How often a follow-up that provably did not happen is asked for anew."""
QUERIES_MAX = 40
"""How often a follow-up is asked after before a person has to look."""
DOUBTS_MAX = 3
"""How often the gateway is asked once more when its own answer does not fit."""

LET_GO = frozenset({TransactionStatus.VOIDED, TransactionStatus.EXPIRED})
"""What becomes of an authorization that was never captured, at the gateway or at the bank."""


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
            ref = self._saga.settlement.transaction_ref
            self._follow_up(Operation.REFUND, "r", ref, amount, refund_id)

    def capture(self, amount: Money) -> None:
        """A merchant takes the authorized money, or part of it."""
        if self._saga.authorization is not None and self._saga.is_running(Step.CAPTURE):
            ref = self._saga.authorization.transaction_ref
            self._follow_up(Operation.CAPTURE, "k", ref, amount)
        else:
            why = Failure("capture_not_possible", "the authorization is not to be had any more")
            self._calls.trigger(PaymentSaga.CaptureRefused, call_id=None, failure=why)

    @property
    def is_capturing(self) -> bool:
        """True while a capture is under way."""
        under_way = self._saga.follow_ups_under_way
        return any(call.operation is Operation.CAPTURE for call in under_way)

    def is_wanted(self, call: Call) -> bool:
        """False for a capture of a payment that is being closed, or has taken another one: it
        would only be given back."""
        is_taken = self._saga.is_closing or self._saga.settlement is not None
        return not (call.operation is Operation.CAPTURE and is_taken)

    def give_back(self, report: GatewayReport) -> None:
        """Money that must not be kept goes back: refunded, or let go if only authorized."""
        ref, amount = report.transaction_ref, self._left_of(report)
        if ref in self._saga.returns or self._is_rest_let_go(ref) or amount.amount <= 0:
            return
        self._calls.trigger(
            PaymentSaga.MoneyReturnStarted,
            transaction_ref=ref,
            previous_ref=report.previous_ref,
            amount=amount,
            is_closing=self._saga.is_closing,
        )
        is_held = report.kind is TransactionKind.AUTHORIZATION
        self._follow_up(Operation.VOID if is_held else Operation.REFUND, "c", ref, amount)
        self._go_on_with(report.previous_ref or "")

    @property
    def is_nothing_left_to_capture(self) -> bool:
        """True when what was authorized is the customer's again."""
        authorization = self._saga.authorization
        if authorization is None or self.is_capturing:
            return False
        return self._left_of(authorization).amount <= 0

    def _left_of(self, report: GatewayReport) -> Money:
        """What of a transaction is neither the customer's again nor taken from what was
        authorized, as far as we know."""
        ref, amount = report.transaction_ref, report.amount or self._saga.amount
        nothing = amount * 0
        return amount - self._saga.given_back.get(ref, nothing) - self._saga.taken.get(ref, nothing)

    def _is_rest_let_go(self, transaction_ref: str) -> bool:
        return any(
            call.operation is Operation.VOID and call.transaction_ref == transaction_ref
            for call in self._saga.calls.values()
        )

    def _let_rest_go(self) -> None:
        """What was not captured is the customer's again, once no capture of ours can take it."""
        authorization = self._saga.authorization
        if self._saga.is_closing or self._saga.settlement is None or self.is_capturing:
            return
        if authorization is not None and (rest := self._left_of(authorization)).amount > 0:
            self._follow_up(Operation.VOID, "v", authorization.transaction_ref, rest)

    def try_again(self, call: Call) -> None:
        """What was refused is asked for anew; what is unknown is asked after once more."""
        if call.operation.is_query:
            self._calls.repeat(call, self._calls.now)
            return
        if not self._saga.is_resolved(call):
            self._calls.ask_after(call, self._calls.now)
            return
        money = self._saga.returns.get(call.transaction_ref or "")
        if money is None:
            self._let_rest_go()
        elif not money.is_done:
            rest = money.amount - money.returned
            self._follow_up(call.operation, "c", money.transaction_ref, rest)

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

    def heard(self, call: Call, report: GatewayReport) -> bool:
        """A notification speaks of a follow-up; False when it does not fit what was asked for."""
        doubt = self._doubt(call, report)
        if doubt is not None:
            self._calls.trigger(PaymentSaga.ReportDoubted, report=report, reason=doubt)
            if not self._saga.is_resolved(call):
                self._calls.ask_after(call, self._calls.now)
        elif not self._saga.is_resolved(call):
            self._weigh(call, report)
        return doubt is None

    def answered(self, call: Call, asked: Call, reports: list[GatewayReport]) -> None:
        """The gateway answered `asked`, the follow-up `call` itself or a query about it."""
        if self._saga.is_resolved(call):
            return
        fitting = [report for report in reports if self._doubt(call, report) is None]
        done = [report for report in fitting if report.status is TransactionStatus.AUTHORISED]
        undecided = [report for report in fitting if not report.status.is_refusal]
        if fitting:
            is_all = asked.operation is Operation.QUERY_CART
            self._weigh(call, (done or undecided or fitting)[0], is_all=is_all)
        elif reports:
            reason = self._doubt(call, reports[0]) or ""
            self._calls.trigger(PaymentSaga.ReportDoubted, report=reports[0], reason=reason)
            if self._calls.queries_about(call) < DOUBTS_MAX:
                self._calls.ask_after(call, self._calls.now + self._timings.retry_max)
            else:
                self._park(call, f"the gateway's own answer does not fit: {reason}")
        elif asked.operation is Operation.QUERY_CART:
            self._not_found(call)
        else:
            self._calls.ask_after(call, self._calls.now + self._timings.retry_base)

    def _doubt(self, call: Call, report: GatewayReport) -> str | None:
        """Why a report cannot be about a follow-up as it was asked for; None when it can."""
        if report.kind not in FOLLOW_UP_KINDS[call.operation]:
            return f"it is a {report.kind} where a {call.operation} was asked for"
        if report.previous_ref not in (None, call.transaction_ref):
            return "it points to another transaction"
        if report.status is TransactionStatus.UNKNOWN:
            return "its status is not known"
        is_named = report.amount is not None and report.amount.amount
        is_done = report.status is TransactionStatus.AUTHORISED
        if (is_named or is_done) and report.amount != call.amount:
            asked = written(call.amount) if call.amount else "nothing"
            told = written(report.amount) if report.amount else "no amount"
            return f"it speaks of {told}, {asked} was asked for"
        return None

    def _weigh(self, call: Call, report: GatewayReport, *, is_all: bool = False) -> None:
        """`is_all`: the gateway has shown all attempts, and nothing more favourable among them."""
        if report.status is TransactionStatus.AUTHORISED:
            self._done(call, report)
        elif report.status.is_refusal:
            failure = Failure("refused", report.message or report.status, report.code)
            (self.refused if is_all else self.turned_down)(call, failure)
        else:
            detail = f"the gateway still says {report.status}"
            self._watch(call, report.transaction_ref, detail)

    def _watch(self, call: Call, transaction_ref: str, detail: str) -> None:
        """Asks again in a day; after so many questions a person has to look, for `detail`."""
        if self._calls.queries_about(call) >= QUERIES_MAX:
            self._park(call, detail)
        else:
            self._calls.watch(call, transaction_ref, self._calls.now + self._timings.held_gap)

    def leave(self, call: Call, why: str) -> None:
        """The gateway neither does it nor says what became of it: a person has to look."""
        self._park(call, f"the gateway leaves it open: {why}")

    def turned_down(self, call: Call, failure: Failure) -> None:
        """The gateway has refused an attempt. A repetition may be refused because the attempt
        before it was done after all: what the gateway shows of both decides."""
        if self._calls.attempts_of(call) > 1:
            self._calls.ask_after(call, self._calls.now)
        else:
            self.refused(call, failure)

    def refused(self, call: Call, failure: Failure) -> None:
        """The gateway will not do it; perhaps somebody has given the money back already."""
        if call.refund_id is not None:
            self._end(call, PaymentSaga.RefundRefused, refund_id=call.refund_id, failure=failure)
            self._calls.ask_carts()
        elif call.operation is Operation.CAPTURE:
            self._end(call, PaymentSaga.CaptureRefused, failure=failure)
            self._let_rest_go()
            self._calls.ask_carts()
        else:
            self._end(call, PaymentSaga.FollowUpEnded, refund_ref=None)
            if self._is_less_due(call):
                self.try_again(call)
            elif not self._is_returned(call.transaction_ref):
                self._park(call, f"the gateway refused it: {failure.message}")
                self._calls.ask_carts()

    def _done(self, call: Call, report: GatewayReport) -> None:
        ref = report.transaction_ref
        if call.refund_id is not None:
            self._end(call, PaymentSaga.RefundSettled, refund_id=call.refund_id, refund_ref=ref)
        elif call.operation is Operation.CAPTURE:
            self._capture_done(call, report)
        elif call.transaction_ref in self._saga.returns:
            self._end(
                call,
                PaymentSaga.MoneyReturned,
                transaction_ref=call.transaction_ref,
                refund_ref=ref,
                amount=call.amount,
            )
        else:
            self._end(call, PaymentSaga.FollowUpEnded, refund_ref=ref)

    def _capture_done(self, call: Call, report: GatewayReport) -> None:
        """A payment takes one capture: what ours took after one made in the dashboard goes back."""
        if self._saga.settlement is None:
            self._unpark(call)
            self.captured(call.call_id, report)
        else:
            self._end(call, PaymentSaga.FollowUpEnded, refund_ref=None)
            self.give_back(replace(report, previous_ref=call.transaction_ref))
            self._let_rest_go()

    def _end(self, call: Call, event_class: type[PaymentSaga.Event], **fields: object) -> None:
        self._unpark(call)
        self._calls.trigger(event_class, call_id=call.call_id, **fields)

    def captured(self, call_id: UUID | None, report: GatewayReport) -> None:
        """Authorized money was taken; what is not taken of it is let go."""
        self._calls.trigger(
            PaymentSaga.Captured,
            step=Step.CAPTURE,
            call_id=call_id,
            report=report,
            is_closing=self._saga.is_closing,
        )
        self._let_rest_go()

    def taken_by(self, transaction_ref: str | None) -> Money | None:
        """What a transaction took or reserved; None when it brought us no money that we know."""
        for money in self._saga.returns.values():
            if money.transaction_ref == transaction_ref:
                return money.amount
        for report in self._saga.money_known:
            if report.transaction_ref == transaction_ref:
                return report.amount
        return None

    def could_be_given_back(self, report: GatewayReport) -> bool:
        """True when what somebody else gave back is within what its transaction took."""
        whole = self.taken_by(report.previous_ref)
        if report.amount is None or whole is None or report.amount.currency != whole.currency:
            return False
        return report.amount <= whole

    def given_back_elsewhere(self, report: GatewayReport) -> None:
        """Somebody gave money back in the dashboard. What the gateway refused as a whole is asked
        for again as far as it is still due; what became of a call that nobody knows about is
        still to be known."""
        given_up = self._refund_given_up(report)
        if given_up is not None:
            self._done(given_up, report)
            return
        ref, refund_ref = report.previous_ref or "", report.transaction_ref
        given_back = {"transaction_ref": ref, "refund_ref": refund_ref, "amount": report.amount}
        money = self._saga.returns.get(ref)
        if money is None or money.is_done:
            self._calls.trigger(PaymentSaga.ForeignReturnSeen, kind=report.kind, **given_back)
        else:
            self._calls.trigger(PaymentSaga.MoneyReturned, call_id=None, **given_back)
        self._go_on_with(ref)

    def lapsed(self, report: GatewayReport) -> None:
        """A transaction is over: if it is an authorization, nothing is reserved any more."""
        ref, left = report.transaction_ref, self._reserved_by(report)
        is_known = ref in self._saga.refund_refs
        if report.status in LET_GO and left.amount > 0 and not is_known and not self.is_capturing:
            void = TransactionKind.VOID
            self.given_back_elsewhere(replace(report, kind=void, amount=left, previous_ref=ref))

    def _reserved_by(self, report: GatewayReport) -> Money:
        """What was authorized with a transaction and is not the customer's again."""
        nothing = self._saga.amount * 0
        if report.kind is not TransactionKind.AUTHORIZATION:
            return nothing
        money = self._saga.returns.get(report.transaction_ref)
        if money is not None:
            return money.amount - money.returned
        authorization = self._saga.authorization
        if authorization is None or authorization.transaction_ref != report.transaction_ref:
            return nothing
        return self._left_of(authorization)

    def _refund_given_up(self, report: GatewayReport) -> Call | None:
        """The merchant's refund that a person was asked to look after, and has made himself."""
        for call in self._saga.calls.values():
            is_parked = call.refund_id is not None and call.call_id in self._saga.parked
            made = (report.kind, report.previous_ref, report.amount)
            if is_parked and made == (TransactionKind.REFUND, call.transaction_ref, call.amount):
                return call
        return None

    def _go_on_with(self, transaction_ref: str) -> None:
        """Less is due of a transaction than a person was asked to look after."""
        for call in self._parked_for(transaction_ref):
            if self._saga.is_resolved(call) or self._is_returned(transaction_ref):
                self._unpark(call)
                self.try_again(call)

    def _parked_for(self, transaction_ref: str) -> list[Call]:
        """The calls for which a person was asked to look after a transaction."""
        parked = [self._saga.calls[key] for key in self._saga.parked if isinstance(key, UUID)]
        moves = [call for call in parked if call.operation.is_follow_up]
        return [call for call in moves if call.transaction_ref == transaction_ref]

    def _is_returned(self, transaction_ref: str | None) -> bool:
        """True when nothing of what a transaction brought has to go back any more."""
        return self._due(transaction_ref).amount <= 0

    def _is_less_due(self, call: Call) -> bool:
        """True when somebody else has given back a part of what a call asked for meanwhile."""
        assert call.amount is not None
        return 0 < self._due(call.transaction_ref).amount < call.amount.amount

    def _due(self, transaction_ref: str | None) -> Money:
        """What has to go back of what a transaction brought."""
        money = self._saga.returns.get(transaction_ref or "")
        if money is not None:
            return money.amount - money.returned
        authorization = self._saga.authorization
        if authorization is not None and authorization.transaction_ref == transaction_ref:
            return self._left_of(authorization)
        return self._saga.amount * 0

    def _unpark(self, call: Call) -> bool:
        """A call is no reason for an operator any more; False when it was none."""
        reasons = [
            parked_id
            for parked_id in self._saga.parked
            if isinstance(parked_id, UUID) and self._saga.calls[parked_id].cart_id == call.cart_id
        ]
        for parked_id in reasons:
            self._calls.resume(GATEWAY, parked_id)
        return bool(reasons)

    def _not_found(self, call: Call) -> None:
        """The gateway does not know it. Long enough afterwards that proves it never happened,
        unless the gateway has known it before."""
        seen_as = self._calls.seen_as(call)
        if seen_as is not None:
            self._watch(call, seen_as, f"the gateway knows nothing of {seen_as} any more")
            return
        asked = self._calls.queries_about(call)
        lost_at = self._saga.answered.get(call.call_id, self._calls.now)
        proven_at = lost_at + self._timings.proof_after
        if self._calls.now < proven_at or asked < 2:
            due_at = max(self._calls.now + self._timings.retry_max, proven_at)
            self._calls.ask_after(call, due_at)
        elif not self.is_wanted(call):
            self.refused(call, Failure("not_captured", "the payment was closed meanwhile"))
        elif call.call_id in self._saga.refused - self._saga.retried:
            self.refused(call, Failure("refused", "the gateway refused to do it again"))
        elif self._is_given_up(call):
            self._park(call, f"{ATTEMPTS_MAX} attempts came to nothing")
        else:
            self._unpark(call)
            self._calls.repeat(call, self._calls.now)

    def _is_given_up(self, call: Call) -> bool:
        """True after so many attempts, unless an operator wants another one."""
        is_wanted = call.call_id in self._saga.retried
        return self._calls.attempts_of(call) >= ATTEMPTS_MAX and not is_wanted

    def _park(self, call: Call, detail: str) -> None:
        assert call.amount is not None
        self._calls.park(
            f"{call.operation} of {written(call.amount)}: {detail}",
            f"look up transaction {call.transaction_ref} in the gateway's dashboard; then "
            "retry the saga, or move the money there and the saga will take note of it",
            call_id=call.call_id,
        )
