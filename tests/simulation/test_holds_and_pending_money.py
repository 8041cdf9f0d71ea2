"""Held money is watched until it is released, lifted or let go; cash is awaited until it comes."""

from dataclasses import replace
from uuid import UUID

import pytest

from domain.gateway_report import GatewayReport, TransactionKind, TransactionStatus
from domain.saga_steps import SagaStatus, Step, StepStatus
from system.testing import SystemUnderTest
from tests.simulation.money_kit import (
    CALLBACK_URL,
    DAY,
    INVALID,
    MINUTE,
    TIME_OUT,
    assert_ended,
    follow,
    sar,
)
from tests.simulation.saga_kit import opened, with_two_pages

# Holds that are watched


def strange(report: GatewayReport) -> GatewayReport:
    """A callback about a transaction that nobody knows."""
    authorised = TransactionStatus.AUTHORISED
    return replace(report, transaction_ref="TST999", status=authorised, amount=sar("1.00"))


def test_a_page_held_before_the_saga_knew_it_is_watched(s: SystemUnderTest) -> None:
    s.gateway.fall_ill(1, TIME_OUT, is_done=True)
    payment_id = opened(s)
    s.gateway.hold(payment_id)
    s.run()
    s.cancel_payment(payment_id)
    s.wait(DAY)

    s.gateway.release(payment_id, silently=True)
    s.wait(2 * DAY)

    assert s.payment(payment_id).status == "cancelled"
    assert s.gateway.net_of(payment_id) == 0


def test_a_page_that_was_refused_and_is_held_all_the_same_is_watched(s: SystemUnderTest) -> None:
    payment_id = s.create_payment("10.00", "SAR", "Tea")

    def hold() -> None:
        s.gateway.hold(payment_id)
        s.follow()

    s.gateway.fall_ill(1, INVALID, is_done=True, during=hold)
    s.wait(DAY)
    s.gateway.release(payment_id, silently=True)
    s.wait(2 * DAY)

    assert_ended(s, payment_id, "completed", "10.00")


def test_a_hold_heard_of_after_a_cancel_is_watched(s: SystemUnderTest) -> None:
    payment_id = opened(s)
    s.cancel_payment(payment_id)
    s.wait(2 * 60 * MINUTE)
    s.gateway.hold(payment_id)
    s.run()

    s.gateway.release(payment_id, silently=True)
    s.wait(2 * DAY)

    assert s.payment(payment_id).status == "cancelled"
    assert s.gateway.net_of(payment_id) == 0


def test_what_is_held_is_watched_while_an_operator_is_awaited(s: SystemUnderTest) -> None:
    payment_id = with_two_pages(s)
    first, second = s.gateway.pages_of(payment_id)
    s.cancel_payment(payment_id)
    s.run()
    s.gateway.fall_ill(1, INVALID)
    s.gateway.pay(payment_id, transaction_ref=first.transaction_ref)
    s.run()
    s.gateway.hold(payment_id, transaction_ref=second.transaction_ref)
    s.wait(3 * DAY)
    assert s.saga(payment_id).status is SagaStatus.PARKED
    s.retry(payment_id)
    s.run()

    s.gateway.release(payment_id, silently=True)
    s.wait(2 * DAY)

    assert s.gateway.net_of(payment_id) == 0
    assert s.saga(payment_id).status is SagaStatus.COMPENSATED


def test_a_hold_is_watched_when_an_operator_has_ended_the_parking_for_something_else(
    s: SystemUnderTest,
) -> None:
    payment_id = opened(s, callback_url=CALLBACK_URL)
    s.gateway.hold(payment_id)
    s.run()
    held = s.gateway.page_of(payment_id)
    odd = follow(s, held, TransactionKind.UNKNOWN, sar("10.00"))
    s.receive(odd)
    s.wait(2 * DAY)
    assert s.saga(payment_id).status is SagaStatus.PARKED

    del s.gateway.transactions[odd.transaction_ref]
    s.retry(payment_id)
    s.wait(DAY)
    assert s.payment(payment_id).status == "processing"

    s.gateway.release(payment_id, silently=True)
    s.wait(DAY)
    assert_ended(s, payment_id, "completed", "10.00")


def test_an_answer_about_something_else_does_not_end_a_hold(s: SystemUnderTest) -> None:
    payment_id = opened(s, callback_url=CALLBACK_URL)
    s.gateway.hold(payment_id)
    s.wait(2 * DAY)

    s.receive(strange(s.gateway.page_of(payment_id)))
    s.run()
    assert s.payment(payment_id).status == "processing"

    s.gateway.release(payment_id)
    s.run()
    assert_ended(s, payment_id, "completed", "10.00")


# Holds that are released


def test_a_released_hold_is_not_watched_any_more(s: SystemUnderTest) -> None:
    payment_id = opened(s)
    s.gateway.hold(payment_id)
    s.run()
    s.gateway.release(payment_id, sar("7.00"))
    s.run()
    asked = len(s.saga(payment_id).calls)

    s.wait(5 * DAY)

    assert len(s.saga(payment_id).calls) == asked


def test_a_capture_in_part_of_a_page_the_saga_never_knew_is_believed_when_asked_after(
    s: SystemUnderTest,
) -> None:
    payment_id = with_two_pages(s)
    first, _ = s.gateway.pages_of(payment_id)
    s.gateway.transactions[first.transaction_ref] = replace(
        first, status=TransactionStatus.ON_HOLD, kind=TransactionKind.AUTHORIZATION
    )

    s.gateway.release(payment_id, sar("7.00"))
    s.run()

    assert s.payment(payment_id).status == "completed"
    assert s.payment(payment_id).amount_captured == sar("7.00")


def test_a_release_that_fails_in_the_dashboard_leaves_the_hold_as_it_was(
    s: SystemUnderTest,
) -> None:
    payment_id = opened(s)
    s.gateway.hold(payment_id)
    s.run()
    page = s.gateway.page_of(payment_id)
    failed = replace(
        page,
        kind=TransactionKind.CAPTURE,
        transaction_ref="TST7777",
        previous_ref=page.transaction_ref,
        status=TransactionStatus.ERROR,
    )

    s.receive(failed)
    s.run()
    s.gateway.release(payment_id, silently=True)
    s.wait(2 * DAY)

    assert s.payment(payment_id).status == "completed"


def test_a_capture_called_sale_that_fails_leaves_the_hold_as_it_was(s: SystemUnderTest) -> None:
    payment_id = opened(s)
    s.gateway.hold(payment_id)
    s.run()
    page = s.gateway.page_of(payment_id)
    failed = replace(
        page,
        kind=TransactionKind.SALE,
        transaction_ref="TST7777",
        previous_ref=page.transaction_ref,
        status=TransactionStatus.ERROR,
    )

    s.receive(failed)
    s.run()
    assert s.payment(payment_id).status == "processing"

    s.gateway.release(payment_id)
    s.run()
    assert_ended(s, payment_id, "completed", "10.00")


# Holds that are lifted: money that comes by another way than it was asked for


def lift_hold(s: SystemUnderTest, payment_id: UUID) -> GatewayReport:
    """The gateway shows the held sale as what it is now: an authorization, and authorised."""
    page = s.gateway.page_of(payment_id)
    lifted = replace(page, status=TransactionStatus.AUTHORISED, amount=sar("10.00"))
    s.gateway.transactions[page.transaction_ref] = lifted
    return lifted


def test_a_hold_that_was_lifted_waits_for_the_capture_that_brings_its_money(
    s: SystemUnderTest,
) -> None:
    payment_id = opened(s)
    s.gateway.hold(payment_id)
    s.run()
    lift_hold(s, payment_id)
    s.wait(3 * DAY)
    assert s.saga(payment_id).status is SagaStatus.WAITING

    lifted = s.gateway.page_of(payment_id)
    follow(s, lifted, TransactionKind.CAPTURE, sar("10.00"))
    s.wait(2 * DAY)

    assert_ended(s, payment_id, "completed", "10.00")
    s.wait(40 * DAY)
    assert s.next_due_at() is None


def test_a_lifted_hold_that_is_heard_of_by_callback_parks_nobody(s: SystemUnderTest) -> None:
    payment_id = opened(s)
    s.gateway.hold(payment_id)
    s.run()
    s.receive(lift_hold(s, payment_id))
    s.run()
    assert s.saga(payment_id).status is SagaStatus.WAITING

    lifted = s.gateway.page_of(payment_id)
    s.receive(follow(s, lifted, TransactionKind.CAPTURE, sar("10.00")))
    s.run()

    assert_ended(s, payment_id, "completed", "10.00")


@pytest.mark.parametrize("taken", ["0", "4.00", "10.00"])
def test_a_hold_that_was_lifted_for_a_cancelled_payment_is_let_go(
    s: SystemUnderTest, taken: str
) -> None:
    payment_id = opened(s)
    s.gateway.hold(payment_id)
    s.run()
    s.cancel_payment(payment_id)
    s.run()
    lifted = lift_hold(s, payment_id)
    if taken != "0":
        follow(s, lifted, TransactionKind.CAPTURE, sar(taken))

    s.wait(3 * DAY)

    assert_ended(s, payment_id, "cancelled", "0.00")


# Cash that is pending: it is taken at once, also where the merchant captures


def test_cash_for_a_payment_that_the_merchant_captures_completes_it(s: SystemUnderTest) -> None:
    payment_id = opened(s, "manual")
    s.gateway.defer(payment_id)
    s.run()

    s.gateway.settle_deferred(payment_id)
    s.run()

    assert_ended(s, payment_id, "completed", "10.00")
    assert s.payment(payment_id).amount_captured == sar("10.00")
    assert s.saga(payment_id).steps[Step.CAPTURE].status is StepStatus.SUCCEEDED
    s.refund_payment(payment_id, sar("4.00"))
    s.run()
    assert_ended(s, payment_id, "completed", "6.00")


def test_cash_for_a_cancelled_payment_that_the_merchant_captures_goes_back(
    s: SystemUnderTest,
) -> None:
    payment_id = opened(s, "manual")
    s.gateway.defer(payment_id)
    s.run()
    s.cancel_payment(payment_id)
    s.run()

    s.gateway.settle_deferred(payment_id, silently=True)
    s.wait(2 * DAY)

    assert_ended(s, payment_id, "cancelled", "0.00")
