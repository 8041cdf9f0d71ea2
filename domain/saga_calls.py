"""What a saga asks of the gateway: requests, repetitions, and questions after lost calls."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from domain.event import current_context
from domain.gateway_call import Operation
from domain.gateway_report import cart_id_for
from domain.payment_saga import Call, PaymentSaga
from domain.saga_steps import Deadline, SagaTimings, Step
from domain.saga_values import GATEWAY

NEEDS_OPERATOR = "needs_operator"

TRIES_MAX = 20
"""How often in a row something is asked for that the gateway leaves open, before a person has to
look: the waits double up to a day, so that is after six days."""


class SagaCalls:
    """Asks on behalf of one saga; every question is an event."""

    def __init__(self, saga: PaymentSaga, timings: SagaTimings) -> None:
        self.saga = saga
        self.timings = timings

    @property
    def now(self) -> datetime:
        """The time of the event being acted on."""
        return current_context().now

    def trigger(self, event_class: type[PaymentSaga.Event], **fields: Any) -> None:
        """Records what was decided."""
        self.saga.trigger_event(event_class, **fields)

    def resume(self, actor: str, reason: UUID | str | None, *, is_given_up: bool = False) -> None:
        """Ends one reason for parking: a call, or a transaction that was doubted."""
        rest = [detail for key, detail in self.saga.parked.items() if key != reason]
        self.trigger(
            PaymentSaga.Resumed,
            actor=actor,
            call_id=reason if isinstance(reason, UUID) else None,
            transaction_ref=reason if isinstance(reason, str) else None,
            status=self.saga.stage,
            parked_detail="; ".join(rest) or None,
            is_given_up=is_given_up,
        )

    def park(
        self,
        detail: str,
        advice: str,
        *,
        call_id: UUID | None = None,
        transaction_ref: str | None = None,
    ) -> None:
        """Leaves the saga to a person, for a call or for a transaction that was doubted."""
        reasons = {**self.saga.parked, call_id or transaction_ref: detail}
        self.trigger(
            PaymentSaga.Parked,
            reason=NEEDS_OPERATOR,
            detail=detail,
            parked_detail="; ".join(reasons.values()),
            advice=advice,
            call_id=call_id,
            transaction_ref=transaction_ref,
        )

    def request(self, operation: Operation, due_at: datetime, **asked: Any) -> None:
        """Asks for something; `asked` holds further fields of `Call`."""
        call_id = uuid5(self.saga.id, f"call-{len(self.saga.calls) + 1}")
        call = Call(call_id=call_id, operation=operation, due_at=due_at, **asked)
        self.trigger(PaymentSaga.CallRequested, call=call)

    def open_page(self, due_at: datetime) -> None:
        """Asks for a page, with a fresh cart: one that nobody saw stays unpaid."""
        self.trigger(PaymentSaga.StepStarted, step=Step.OPEN_AT_GATEWAY)
        self.request(
            Operation.OPEN_PAGE,
            due_at,
            cart_id=cart_id_for(self.saga.payment_id, "a", len(self.saga.cart_ids) + 1),
            amount=self.saga.amount,
            not_after=self.saga.open_until,
        )

    def set_deadline(self, deadline: Deadline, due_at: datetime) -> None:
        """Wants to be reminded."""
        self.trigger(PaymentSaga.DeadlineSet, deadline=deadline, due_at=due_at)

    def clear_deadlines(self, *kept: Deadline) -> None:
        """Wants to be reminded of nothing any more, but of what is `kept`."""
        for deadline, due_at in list(self.saga.deadlines.items()):
            if deadline in kept:
                continue
            self.trigger(PaymentSaga.DeadlineCleared, deadline=deadline, due_at=due_at)

    @property
    def carts_with_pages(self) -> list[str]:
        """The carts for which there may be a page: all but those that the gateway refused, unless
        there is a page all the same."""
        likely = [
            call.cart_id
            for call in self.saga.calls.values()
            if call.operation is Operation.OPEN_PAGE
            and call.cart_id
            and call.call_id not in self.saga.refused
        ]
        return likely or (list(self.saga.cart_ids) if self.saga.transaction_ref else [])

    @property
    def is_opening_page(self) -> bool:
        """True while a request for a page has no answer yet."""
        return any(
            call.operation is Operation.OPEN_PAGE and call.call_id not in self.saga.answered
            for call in self.saga.calls.values()
        )

    def ask_about(self, transaction_ref: str | None, due_at: datetime | None = None) -> None:
        """Asks how a transaction stands, now unless said otherwise."""
        when = due_at or self.now
        self.request(Operation.QUERY_TRANSACTION, when, transaction_ref=transaction_ref)

    def look_again(self, call: Call) -> None:
        """The gateway does not find a transaction of which something has told us: it may have
        lost sight of it, so it is asked again, for days. What it never finds was a lie. The
        customer's page is left to its deadlines."""
        ref = call.transaction_ref
        if ref is not None and ref != self.saga.transaction_ref:
            self.insist(call)

    def is_about_page(self, call: Call) -> bool:
        """True for a question about a page of the customer's."""
        is_by_cart = call.cart_id in self.saga.cart_ids
        return is_by_cart or call.transaction_ref == self.saga.transaction_ref

    def keep_asking_about_page(self) -> None:
        """Asks about the customer's page, unless that is on the agenda already."""
        is_asked = any(
            call.operation.is_query
            and call.call_id not in self.saga.answered
            and call.not_after is None
            and self.is_about_page(call)
            for call in self.saga.calls.values()
        )
        if not is_asked and Deadline.RECONCILE not in self.saga.deadlines:
            self.ask_about(self.saga.transaction_ref)

    def questions_about(self, transaction_ref: str) -> int:
        """How often a transaction was asked about."""
        return sum(
            call.operation is Operation.QUERY_TRANSACTION
            and call.transaction_ref == transaction_ref
            for call in self.saga.calls.values()
        )

    def ask_carts(self) -> None:
        """Asks for all that came of the payment's pages and of its capture: money that was held,
        or paid in cash, arrives as a new transaction (PayTabs, section 7.5), and a refund made in
        the dashboard may bear the cart of what it gives back. A question that may come too late
        to be put (`not_after`), or whose answer nobody awaits, stands for no other."""
        asked = {
            call.cart_id
            for call in self.saga.calls.values()
            if call.operation is Operation.QUERY_CART
            and self.saga.awaits(call.call_id)
            and call.not_after is None
        }
        taken = [money.cart_id for money in self.saga.money_known if money.cart_id]
        carts = dict.fromkeys([*self.carts_with_pages, *taken, *self._carts_in_question])
        for cart_id in [cart for cart in carts if cart not in asked]:
            self.request(Operation.QUERY_CART, self.now, cart_id=cart_id)

    @property
    def _carts_in_question(self) -> list[str]:
        """The carts of follow-ups of which an attempt that was thought refused or undone may have
        been done: captures, and what was asked for more than once."""
        return [
            call.cart_id
            for call in self.saga.calls.values()
            if call.operation.is_follow_up
            and call.cart_id
            and (call.operation is Operation.CAPTURE or self.attempts_of(call) > 1)
        ]

    def ask_after(self, call: Call, due_at: datetime) -> None:
        """Asks what became of a call, by its cart."""
        if not self._is_asked_by(call, due_at):
            self.request(
                Operation.QUERY_CART,
                due_at,
                cart_id=call.cart_id,
                about=call.call_id,
                not_after=call.not_after,
            )

    def watch(self, call: Call, transaction_ref: str, due_at: datetime) -> None:
        """Asks again for the outcome of a call that the gateway has not decided yet."""
        if not self._is_asked_by(call, due_at):
            self.request(
                Operation.QUERY_TRANSACTION,
                due_at,
                transaction_ref=transaction_ref,
                about=call.call_id,
            )

    def seen_as(self, call: Call) -> str | None:
        """The transaction as which the gateway has shown a call; None when it never has."""
        for other in self.saga.calls.values():
            about = self.saga.calls[other.about] if other.about else None
            if other.transaction_ref and about and about.cart_id == call.cart_id:
                return other.transaction_ref
        return None

    def _is_asked_by(self, call: Call, due_at: datetime) -> bool:
        """True when the same question stands on the agenda already, for then or before."""
        return any(
            other.about == call.call_id
            and other.call_id not in self.saga.answered
            and other.due_at <= due_at
            for other in self.saga.calls.values()
        )

    def patience_with(self, call: Call) -> timedelta:
        """How long to leave a call alone that came to nothing again: doubling up to a day, or to
        the hasty `retry_max` while a customer waits for a page."""
        is_for_page = self.original(call).operation is Operation.OPEN_PAGE
        longest = self.timings.retry_max if is_for_page else self.timings.held_gap
        return self.timings.retry_delay(call.tries, longest)

    def insist(self, call: Call, pause: timedelta = timedelta(0)) -> bool:
        """Asks again, not before `pause` is over and later each time; False when it was asked so
        often that a person has to look. What has an end of its own (`not_after`) is asked until
        then."""
        if call.not_after is None and call.tries >= TRIES_MAX:
            return False
        self.repeat(call, self.now + max(pause, self.patience_with(call)), tries=call.tries + 1)
        return True

    def repeat(self, call: Call, due_at: datetime, *, tries: int = 1) -> None:
        """Asks again for something that is known not to have happened, or that changes nothing."""
        if call.operation is Operation.OPEN_PAGE:
            self.open_page(due_at)
            return
        self.request(
            call.operation,
            due_at,
            cart_id=call.cart_id,
            transaction_ref=call.transaction_ref,
            amount=call.amount,
            about=call.about,
            refund_id=call.refund_id,
            not_after=call.not_after,
            tries=tries,
        )

    def leave_question(self, question: Call, why: str) -> None:
        """Nobody answers a question: a person has to look, once for all that ask the same."""
        if self._left_like(question):
            return
        subject = question.transaction_ref or f"the cart {question.cart_id}"
        self.park(
            f"the gateway does not say how {subject} stands: {why}",
            "see whether the gateway can be reached and takes our key (paysaga doctor); then "
            "retry the saga",
            call_id=question.call_id,
        )

    def end_wait_for(self, question: Call) -> None:
        """A question is answered: it is no reason for an operator any more."""
        for call in self._left_like(question):
            self.resume(GATEWAY, call.call_id)

    def ask_anew(self) -> None:
        """The gateway has spoken: the questions that it left open are put once more."""
        for call in self._left_like(None):
            self.resume(GATEWAY, call.call_id)
            self.repeat(call, self.now)

    def _left_like(self, question: Call | None) -> list[Call]:
        """The questions left to an operator, all or those that ask the same."""
        parked = [self.saga.calls[key] for key in self.saga.parked if isinstance(key, UUID)]
        return [
            call
            for call in parked
            if call.operation.is_query and (question is None or call.question == question.question)
        ]

    def original(self, call: Call) -> Call:
        """The call that a query asks after, in its newest attempt; or the call itself."""
        original = self.saga.calls[call.about] if call.about else call
        newest = None if original.operation.is_query else self.newest(original.cart_id)
        return newest or original

    def newest(self, cart_id: str | None) -> Call | None:
        """The newest attempt at the move of money that has this cart; None when there is none."""
        found = None
        for call in self.saga.calls.values():
            if call.operation.is_follow_up and call.cart_id == cart_id:
                found = call
        return found

    def queries_about(self, call: Call) -> int:
        """How often a call was asked after."""
        return sum(other.about == call.call_id for other in self.saga.calls.values())

    def attempts_of(self, call: Call) -> int:
        """How often the same thing was asked for."""
        return sum(
            other.operation is call.operation and other.cart_id == call.cart_id
            for other in self.saga.calls.values()
        )
