"""Logs have no common order: whoever hears what first, every payment ends in the same way."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from application.confirmations import Delivery
from domain.errors import DomainError
from domain.gateway_report import GatewayReport, TransactionStatus
from domain.money import money
from domain.saga_steps import SagaStatus
from system.projections.sagas_view import shown_status
from system.testing import SystemUnderTest
from tests.simulation import scenarios
from tests.simulation.disorder import SystemInDisorder
from tests.simulation.scenarios import DUPLICATE, INVALID, RATE_LIMITED, SEED_STORIES, TIME_OUT

ORDERS = st.integers(min_value=0, max_value=2**32)
A_WEEK = timedelta(days=7)
PAGE_IS_DEAD_AFTER = timedelta(minutes=65)
"""Later no 3-D Secure result changes anything any more (PayTabs, section 10)."""


def end_of(s: SystemUnderTest, payment_id: UUID) -> dict[str, Any]:
    """How a payment ended, in all that anybody can see of it."""
    payment, saga = s.payment(payment_id), s.saga(payment_id)
    row, saga_row = s.row("view_payments", payment_id), s.row("view_sagas", saga.id)
    assert row is not None
    assert saga_row is not None
    return {
        "status": payment.status,
        "shown": row["status"],
        "captured": payment.amount_captured,
        "reason": payment.cancellation_reason,
        "failure": payment.failure,
        "saga": saga.status,
        "saga shown": shown_status(saga_row),
        "steps": {step: state.status for step, state in saga.steps.items()},
        "kept": s.gateway.net_of(payment_id),
        "told": sorted(s.merchant.events_told),
        "left to do": s.agenda.next_due_at(),
    }


@pytest.mark.parametrize("story", SEED_STORIES, ids=lambda story: story.__name__)
def test_every_story_ends_the_same_in_any_order(story: scenarios.Story) -> None:
    with SystemUnderTest(seed=3) as s:
        payment_id = story(s)
        s.wait(A_WEEK)
        expected = end_of(s, payment_id)
    for order in range(12):
        with SystemInDisorder(seed=3, order=order) as s:
            payment_id = story(s)
            s.wait(A_WEEK)
            assert end_of(s, payment_id) == expected, f"order {order}"


def customer_pays(s: SystemInDisorder, payment_id: UUID) -> None:
    """The customer pays, if there is a page that was not used yet."""
    _at_the_gateway(s, payment_id, s.gateway.pay)


def customer_pays_silently(s: SystemInDisorder, payment_id: UUID) -> None:
    """The customer, who was given the page, pays and the callback is lost."""
    if s.payment(payment_id).processing_since is not None:
        _at_the_gateway(s, payment_id, lambda which: s.gateway.pay(which, silently=True))


def customer_is_declined(s: SystemInDisorder, payment_id: UUID) -> None:
    """The customer's card is declined."""
    _at_the_gateway(s, payment_id, s.gateway.decline)


def customer_cancels(s: SystemInDisorder, payment_id: UUID) -> None:
    """The customer presses Cancel."""
    _at_the_gateway(s, payment_id, s.gateway.cancel)


def merchant_cancels(s: SystemInDisorder, payment_id: UUID) -> None:
    """The merchant cancels, if that is still allowed."""
    try:
        s.cancel_payment(payment_id)
    except DomainError:
        assert s.payment(payment_id).status in {"completed", "failed"}


def gateway_repeats_itself(s: SystemInDisorder, payment_id: UUID) -> None:
    """The newest page's state is notified once more, in other words."""
    if page := _page(s, payment_id):
        s.receive(replace(page, message=f"again {s.order.randrange(10**6)}"))


def somebody_lies(s: SystemInDisorder, payment_id: UUID) -> None:
    """A signed notification speaks of another amount."""
    if _page(s, payment_id):
        s.receive(scenarios.paid_report(s, payment_id, amount=money("1.00", "SAR")))


def gateway_falls_ill(s: SystemInDisorder, payment_id: UUID) -> None:
    """The next call is lost, done or not, or refused for now."""
    outcome = s.order.choice((TIME_OUT, DUPLICATE, RATE_LIMITED))
    s.gateway.fall_ill(outcome=outcome, is_done=outcome is TIME_OUT and s.order.random() < 0.5)


def gateway_refuses(s: SystemInDisorder, payment_id: UUID) -> None:
    """The next call is refused for good."""
    s.gateway.fall_ill(outcome=INVALID)


def merchant_fails(s: SystemInDisorder, payment_id: UUID) -> None:
    """The merchant's endpoint fails once."""
    s.merchant.answers.append(Delivery(500))


def time_passes(s: SystemInDisorder, payment_id: UUID) -> None:
    """A while passes."""
    s.some_time()


def time_jumps(s: SystemInDisorder, payment_id: UUID) -> None:
    """A few seconds pass in which everybody was busy elsewhere."""
    s.clock.move_to(s.clock.now() + timedelta(seconds=3))


def _at_the_gateway(s: SystemInDisorder, payment_id: UUID, act: Callable[[UUID], object]) -> None:
    page = _page(s, payment_id)
    if page is not None and page.status is TransactionStatus.OPEN:
        act(payment_id)


def _page(s: SystemInDisorder, payment_id: UUID) -> GatewayReport | None:
    pages = [r for r in s.gateway.transactions.values() if r.previous_ref is None]
    newest = pages[-1] if pages else None
    is_dead = newest is None or (
        newest.occurred_at is not None and s.clock.now() - newest.occurred_at > PAGE_IS_DEAD_AFTER
    )
    return None if is_dead else s.gateway.page_of(payment_id)


DEEDS = (
    customer_pays,
    customer_pays_silently,
    customer_is_declined,
    customer_cancels,
    merchant_cancels,
    gateway_repeats_itself,
    somebody_lies,
    gateway_falls_ill,
    gateway_refuses,
    merchant_fails,
    time_passes,
    time_jumps,
)
FINAL = {"payment.completed", "payment.failed", "payment.cancelled"}


@settings(max_examples=300, deadline=None)
@given(order=ORDERS, deeds=st.lists(st.sampled_from(DEEDS), max_size=10))
def test_whatever_is_done_in_whatever_order_the_books_balance_in_the_end(
    order: int, deeds: list[Callable[[SystemInDisorder, UUID], None]]
) -> None:
    with SystemInDisorder(seed=1, order=order) as s:
        payment_id = scenarios.new_payment(s)
        for deed in deeds:
            s.some_turns()
            deed(s, payment_id)
        s.wait(2 * A_WEEK)
        assert_books_balance(s, payment_id)


def assert_books_balance(s: SystemInDisorder, payment_id: UUID) -> None:
    """A payment is final, its merchant told once, and we keep its money or none at all."""
    payment, saga, end = s.payment(payment_id), s.saga(payment_id), end_of(s, payment_id)
    assert payment.status in {"completed", "failed", "cancelled"}
    assert end["shown"] == payment.status
    assert end["saga shown"] == saga.status
    assert len(FINAL.intersection(s.merchant.events_told)) == len(s.merchant.events_told) == 1
    assert s.merchant.events_told == [f"payment.{payment.status}"]
    if saga.status is SagaStatus.PARKED:
        return
    assert end["left to do"] is None
    is_paid = payment.status == "completed"
    assert saga.status == ("completed" if is_paid else "compensated")
    assert end["kept"] == (payment.amount.amount if is_paid else 0)
    assert payment.amount_captured.amount == end["kept"]
