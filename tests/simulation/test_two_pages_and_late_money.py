"""A payment is kept once, on whichever page and however late it is paid; the rest goes back."""

from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import pytest

from domain.gateway_report import TransactionStatus
from system.testing import SystemUnderTest
from tests.simulation.money_kit import CALLBACK_URL, DAY, assert_ended, sar
from tests.simulation.saga_kit import HOUR, garbled_status, go_one_step, opened, with_two_pages

# Two pages


def test_the_other_page_is_watched_after_one_was_paid(s: SystemUnderTest) -> None:
    payment_id = with_two_pages(s, "manual")
    first, second = s.gateway.pages_of(payment_id)
    s.gateway.pay(payment_id, transaction_ref=first.transaction_ref)
    s.gateway.pay(payment_id, transaction_ref=second.transaction_ref, silently=True)

    s.wait(2 * DAY)

    assert s.payment(payment_id).status == "authorized"
    assert s.gateway.held_of(payment_id) == Decimal("10.00")


def test_money_on_another_page_does_not_end_a_doubt(s: SystemUnderTest) -> None:
    payment_id = with_two_pages(s)
    first, second = s.gateway.pages_of(payment_id)
    s.gateway.fall_ill(1, garbled_status)
    s.gateway.pay(payment_id, transaction_ref=first.transaction_ref, silently=True)
    forged = replace(first, status=TransactionStatus.UNKNOWN)
    s.receive(forged)
    go_one_step(s)

    s.gateway.pay(payment_id, transaction_ref=second.transaction_ref)
    s.wait(2 * DAY)

    assert s.payment(payment_id).status == "completed"
    assert s.gateway.net_of(payment_id) == Decimal("10.00")


# Money that comes late, or was there before


@pytest.mark.parametrize("hours", [0.5, 1.5, 2.5, 3])
def test_money_that_comes_hours_after_a_cancel_goes_back(s: SystemUnderTest, hours: float) -> None:
    payment_id = opened(s)
    s.cancel_payment(payment_id)
    s.wait(HOUR * hours)

    s.gateway.pay(payment_id, silently=True)
    s.wait(DAY)

    assert s.payment(payment_id).status == "cancelled"
    assert s.gateway.net_of(payment_id) == 0


@pytest.mark.parametrize("how", [TransactionStatus.DECLINED, TransactionStatus.CANCELLED])
def test_a_report_that_closed_a_payment_may_be_contradicted_in_silence(
    s: SystemUnderTest, how: TransactionStatus
) -> None:
    payment_id = opened(s)
    page = s.gateway.page_of(payment_id)
    s.receive(replace(page, status=how, amount=sar("10.00")))
    s.run()
    assert s.payment(payment_id).is_closed

    s.gateway.pay(payment_id, silently=True)
    s.wait(DAY)

    assert s.gateway.net_of(payment_id) == 0


def older_sale(s: SystemUnderTest, payment_id: UUID) -> None:
    """A sale of before a recovery of the database bears the cart of the page of today."""
    page = s.gateway.page_of(payment_id)
    authorised = TransactionStatus.AUTHORISED
    old = replace(page, transaction_ref="TSTOLD", status=authorised, amount=sar("10.00"))
    s.gateway.transactions = {old.transaction_ref: old, **s.gateway.transactions}


def test_an_older_sale_with_the_same_cart_is_found_when_the_page_runs_out(
    s: SystemUnderTest,
) -> None:
    payment_id = opened(s, callback_url=CALLBACK_URL)
    older_sale(s, payment_id)

    s.wait(DAY)

    assert_ended(s, payment_id, "completed", "10.00")


def test_an_older_sale_with_the_same_cart_goes_back_after_a_cancel(s: SystemUnderTest) -> None:
    payment_id = opened(s, callback_url=CALLBACK_URL)
    older_sale(s, payment_id)
    s.cancel_payment(payment_id)

    s.wait(DAY)

    assert_ended(s, payment_id, "cancelled", "0.00")
