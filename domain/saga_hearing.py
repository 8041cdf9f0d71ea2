"""What a saga makes of what the gateway says: one path for callbacks, answers and queries alike."""

from dataclasses import replace
from uuid import UUID

from domain.belief import FOLLOW_UPS, Expectation, Verdict, judge
from domain.gateway_call import Operation
from domain.gateway_report import (
    GatewayReport,
    TransactionKind,
    TransactionStatus,
    payment_id_of,
)
from domain.payment_saga import Call, PaymentSaga
from domain.payment_terms import Failure, PaymentStatus
from domain.saga_calls import SagaCalls
from domain.saga_compensation import SagaCompensation
from domain.saga_money import QUERIES_MAX, SagaMoney
from domain.saga_steps import Deadline, Step
from domain.saga_values import GATEWAY, Closing

HASTY_QUESTIONS = 10
"""How often a refund that nobody here asked for is asked about before that is left to the days."""


class SagaHearing:
    """Hears reports for one saga. `gateway` is the provider's name, recorded with the page."""

    def __init__(
        self, calls: SagaCalls, money: SagaMoney, compensation: SagaCompensation, gateway: str
    ) -> None:
        self._calls = calls
        self._saga = calls.saga
        self._timings = calls.timings
        self._money = money
        self._compensation = compensation
        self._gateway = gateway

    def hear(self, report: GatewayReport, *, is_verified: bool) -> Verdict:
        """Acts on a report and says what it meant. `is_verified`: the gateway answered so when it
        was asked; a notification is only a hint."""
        follow_up = self._follow_up_of(report)
        if follow_up is not None:
            return self._hear_of_follow_up(follow_up, report, is_verified=is_verified)
        judgement = judge(report, self._expectation(is_verified=is_verified))
        if judgement.verdict is Verdict.DOUBTED:
            self._doubt(report, judgement.reason, is_verified=is_verified)
        else:
            if is_verified:
                self._end_doubt(report)
                self._money.lapsed(report)
            self._act_on(judgement.verdict, report, is_verified=is_verified)
        return judgement.verdict

    def _hear_of_follow_up(
        self, follow_up: Call, report: GatewayReport, *, is_verified: bool
    ) -> Verdict:
        if not self._money.heard(follow_up, report):
            return Verdict.DOUBTED
        is_done = report.status is TransactionStatus.AUTHORISED
        if not self._saga.is_resolved(follow_up):
            return Verdict.IRRELEVANT
        if report.kind in FOLLOW_UPS:
            self._given_back_elsewhere(report, is_verified=is_verified)
        elif is_done and not self._is_money_known(report.transaction_ref):
            self._captured_after_all(follow_up, report, is_verified=is_verified)
        return Verdict.IRRELEVANT

    def _captured_after_all(
        self, capture: Call, report: GatewayReport, *, is_verified: bool
    ) -> None:
        """A capture that was thought refused took the money. It is verified first."""
        if is_verified:
            report = replace(report, previous_ref=capture.transaction_ref)
            self._money_arrived(report, is_authorization=False)
        else:
            self._calls.ask_about(report.transaction_ref)

    def _is_money_known(self, transaction_ref: str) -> bool:
        """True for money that the payment has taken, or that goes back already."""
        known = {money.transaction_ref for money in self._saga.money_known}
        return transaction_ref in known | set(self._saga.returns)

    def _follow_up_of(self, report: GatewayReport) -> Call | None:
        """The follow-up that a report speaks of. A dashboard refund may bear the cart of what it
        gives back, for example of a capture."""
        call = self._calls.newest(report.cart_id)
        is_refund = report.kind is TransactionKind.REFUND
        if call is not None and is_refund and call.operation is not Operation.REFUND:
            return None
        return call

    def _expectation(self, *, is_verified: bool) -> Expectation:
        return Expectation(
            amount=self._saga.amount,
            cart_ids=self._saga.cart_ids,
            transaction_refs=self._saga.transaction_refs,
            current_ref=self._saga.transaction_ref,
            capture=self._saga.capture,
            known={m.transaction_ref: m.amount for m in self._saga.money_known if m.amount},
            is_verified=is_verified,
            settled_refs={m.previous_ref for m in self._saga.money_known},
        )

    def _act_on(self, verdict: Verdict, report: GatewayReport, *, is_verified: bool) -> None:
        if verdict in {Verdict.PAID, Verdict.AUTHORIZED}:
            self._money_arrived(report, is_authorization=verdict is Verdict.AUTHORIZED)
        elif verdict is Verdict.REFUSED:
            self._refused(report)
        elif verdict is Verdict.HELD:
            self._learn_page(report)
            self._let_go_unwanted(report)
        elif report.kind in FOLLOW_UPS:
            self._given_back_elsewhere(report, is_verified=is_verified)

    # What does not fit

    def _doubt(self, report: GatewayReport, reason: str, *, is_verified: bool) -> None:
        ref = report.transaction_ref
        is_settled = ref in self._saga.returns or self._is_left_as_it_is(report)
        is_old = ref in self._saga.parked and self._saga.doubts.get(ref) == report
        if is_verified and (is_settled or is_old or not self._is_about_us(report)):
            return
        self._calls.trigger(PaymentSaga.ReportDoubted, report=report, reason=reason)
        if not is_verified:
            for asked in sorted({ref, self._saga.transaction_ref or ""} - {""}):
                self._calls.ask_about(asked)
        elif self._is_given_up(report):
            self._money.give_back(report)
        else:
            self._park(report, reason)

    def _is_given_up(self, report: GatewayReport) -> bool:
        """True for money that cannot be believed, and that an operator wants given back. What the
        payment is known to have taken is not meant: its steps undo that."""
        is_money = report.status is TransactionStatus.AUTHORISED and report.kind not in FOLLOW_UPS
        ref = report.transaction_ref
        return is_money and ref in self._saga.given_up and not self._is_money_known(ref)

    def _is_left_as_it_is(self, report: GatewayReport) -> bool:
        """True for somebody else's refund that an operator has given up: nothing can be given
        back of it."""
        return report.kind in FOLLOW_UPS and report.transaction_ref in self._saga.given_up

    def _park(self, report: GatewayReport, reason: str) -> None:
        self._calls.park(
            f"the gateway's own answer does not fit: {reason}",
            f"compare transaction {report.transaction_ref} with the gateway's dashboard; then "
            "retry or compensate the saga",
            transaction_ref=report.transaction_ref,
        )

    def _is_about_us(self, report: GatewayReport) -> bool:
        """False for what the gateway says of somebody else's money: a false notification can make
        us ask about any transaction, and that must not park this payment."""
        is_cart_ours = payment_id_of(report.cart_id) == self._saga.payment_id
        refs = self._saga.transaction_refs
        return is_cart_ours or report.transaction_ref in refs or report.previous_ref in refs

    def _end_doubt(self, report: GatewayReport) -> None:
        """The gateway has said something of the transaction that fits."""
        if report.transaction_ref in self._saga.parked:
            self._calls.resume(GATEWAY, report.transaction_ref)

    # The customer's page

    def page_opened(self, call_id: UUID | None, transaction_ref: str, page_url: str | None) -> None:
        """There is a page; the customer is awaited. `call_id` is the call that opened it, None
        when only a report told of it."""
        expires_at = self._calls.now + self._timings.page_ttl
        self._calls.trigger(
            PaymentSaga.PageOpened,
            step=Step.OPEN_AT_GATEWAY,
            call_id=call_id,
            gateway=self._gateway,
            transaction_ref=transaction_ref,
            page_url=page_url,
            expires_at=expires_at,
        )
        self._calls.trigger(PaymentSaga.StepStarted, step=Step.AWAIT_CUSTOMER)
        due_at = self._timings.next_reconciliation(self._calls.now, expires_at, self._calls.now)
        self._calls.set_deadline(Deadline.RECONCILE, due_at)

    def _learn_page(self, report: GatewayReport) -> None:
        """A report may be quicker than the answer to our own call: it proves there is a page."""
        if self._saga.is_running(Step.OPEN_AT_GATEWAY):
            self.page_opened(None, report.transaction_ref, None)

    def _let_go_unwanted(self, report: GatewayReport) -> None:
        """A hold that was lifted reserves money until it is captured: nobody is to wait for that
        where the payment takes no money any more."""
        is_lifted = report.status is TransactionStatus.AUTHORISED
        is_unwanted = self._saga.is_closing or self._saga.money_known
        if is_lifted and is_unwanted and report.kind is TransactionKind.AUTHORIZATION:
            self._money.give_back(report)

    def _money_arrived(self, report: GatewayReport, *, is_authorization: bool) -> None:
        authorization, settlement = self._saga.authorization, self._saga.settlement
        if self._is_money_known(report.transaction_ref):
            return
        is_capture = authorization and authorization.transaction_ref == report.previous_ref
        if is_capture and settlement is None and not self._saga.is_closing:
            self._money.captured(None, report)
        elif self._saga.money_known or self._saga.is_closing:
            self._money.give_back(report)
        else:
            self._settle(report, is_authorization=is_authorization)

    def _settle(self, report: GatewayReport, *, is_authorization: bool) -> None:
        self._end_doubt(report)
        self._learn_page(report)
        self._calls.trigger(PaymentSaga.StepSucceeded, step=Step.AWAIT_CUSTOMER)
        self._calls.clear_deadlines(Deadline.LATE_MONEY)
        started = (
            PaymentSaga.AuthorizationStarted if is_authorization else PaymentSaga.SettlementStarted
        )
        self._calls.trigger(started, step=Step.SETTLE, report=report)
        self._compensation.watch_for_late_money()

    def _refused(self, report: GatewayReport) -> None:
        if self._saga.money_known or self._saga.is_closing:
            return
        self._end_doubt(report)
        self._learn_page(report)
        text = report.message or report.status.value
        self._compensation.begin(text, _closing_for(report, text))

    # What people did in the gateway's dashboard

    def _given_back_elsewhere(self, report: GatewayReport, *, is_verified: bool) -> None:
        """A refund or a void that we did not ask for. It is verified first; and it may be heard
        of before the payment that it gives back."""
        has_money = self._money.taken_by(report.previous_ref) is not None
        is_done = report.status is TransactionStatus.AUTHORISED
        if report.transaction_ref in self._saga.refund_refs or report.status.is_refusal:
            return
        if not is_verified:
            self._calls.ask_about(report.transaction_ref)
        elif is_done and has_money:
            self._take_note_of(report)
        else:
            self._ask_again(report)

    def _ask_again(self, report: GatewayReport) -> None:
        """The gateway has not decided about somebody else's refund, or it gives back money that
        we have not heard of so far."""
        asked = self._calls.questions_about(report.transaction_ref)
        if asked >= QUERIES_MAX:
            self._doubt(report, "it gives back what was never paid", is_verified=True)
            return
        is_waiting = report.status is TransactionStatus.PENDING or asked >= HASTY_QUESTIONS
        gap = self._timings.held_gap if is_waiting else self._timings.retry_max
        self._calls.ask_about(report.transaction_ref, self._calls.now + gap)
        if report.previous_ref in self._saga.transaction_refs:
            self._calls.ask_carts()

    def _take_note_of(self, report: GatewayReport) -> None:
        if self._money.could_be_given_back(report):
            self._end_doubt(report)
            self._money.given_back_elsewhere(report)
        else:
            self._doubt(report, "it gives back more than was paid", is_verified=True)


def _closing_for(report: GatewayReport, text: str) -> Closing:
    """How a payment is closed whose page came to nothing."""
    if report.status is TransactionStatus.CANCELLED:
        reason = "cancelled_by_customer"
        return Closing(PaymentStatus.CANCELLED, None, reason, report)
    if report.status is TransactionStatus.EXPIRED:
        return Closing(PaymentStatus.CANCELLED, None, "expired", report)
    is_decline = report.status is TransactionStatus.DECLINED
    failure = Failure("card_declined" if is_decline else "gateway_error", text, report.code)
    return Closing(PaymentStatus.FAILED, failure, None, report)
