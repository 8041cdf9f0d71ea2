"""What a saga asks of the gateway: requests, repetitions, and questions after lost calls."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from domain.event import current_context
from domain.gateway_call import Operation
from domain.gateway_report import cart_id_for
from domain.payment_saga import Call, PaymentSaga
from domain.saga_steps import Deadline, SagaTimings, Step


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
        """The carts for which there may be a page: all but those that the gateway refused."""
        return [
            call.cart_id
            for call in self.saga.calls.values()
            if call.operation is Operation.OPEN_PAGE
            and call.cart_id
            and call.call_id not in self.saga.refused
        ]

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

    def questions_about(self, transaction_ref: str) -> int:
        """How often a transaction was asked about."""
        return sum(
            call.operation is Operation.QUERY_TRANSACTION
            and call.transaction_ref == transaction_ref
            for call in self.saga.calls.values()
        )

    def ask_carts(self) -> None:
        """Asks for all that came of the payment's pages: money that was held, or paid in cash,
        arrives as a new transaction (PayTabs, section 7.5). A question that may come too late
        to be put (`not_after`) stands for no other."""
        asked = {
            call.cart_id
            for call in self.saga.calls.values()
            if call.operation is Operation.QUERY_CART
            and call.call_id not in self.saga.answered
            and call.not_after is None
        }
        for cart_id in [cart for cart in self.carts_with_pages if cart not in asked]:
            self.request(Operation.QUERY_CART, self.now, cart_id=cart_id)

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
        """How long to leave a query alone that came to nothing again: doubling up to a day, or to
        the hasty `retry_max` while a customer waits for a page."""
        times = sum(
            (other.operation, other.cart_id, other.transaction_ref, other.about)
            == (call.operation, call.cart_id, call.transaction_ref, call.about)
            for other in self.saga.calls.values()
        )
        is_for_page = self.original(call).operation is Operation.OPEN_PAGE
        longest = self.timings.retry_max if is_for_page else self.timings.held_gap
        return self.timings.retry_delay(times, longest)

    def repeat(self, call: Call, due_at: datetime) -> None:
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
        )

    def original(self, call: Call) -> Call:
        """The call that a query asks after, in its newest attempt; or the call itself."""
        original = self.saga.calls[call.about] if call.about else call
        return self.newest(original.cart_id) or original

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
