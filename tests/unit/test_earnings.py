"""What payee and platform earn: to the last unit, whatever is refunded."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.earnings import Earnings, platform_fee
from domain.money import Money, minor_units, money
from tests.unit.domain_kit import PAYMENT_ID, at

PERCENTS = st.decimals(0, 100, places=4)
CURRENCIES = st.sampled_from(["SAR", "KWD", "JPY"])


def earned(gross: Money, percent: Decimal) -> Earnings:
    """The earnings from a payment of `gross`."""
    with at():
        return Earnings.calculate("C-1", PAYMENT_ID, "payee-1", gross, percent)


@pytest.mark.parametrize(
    ("gross", "currency", "percent", "fee"),
    [
        ("100.00", "SAR", "2.5", "2.50"),
        ("0.01", "SAR", "50", "0.01"),
        ("0.01", "SAR", "49.9", "0.00"),
        ("10.005", "KWD", "10", "1.001"),
        ("99", "JPY", "2.5", "2"),
        ("100.00", "SAR", "0", "0.00"),
        ("100.00", "SAR", "100", "100.00"),
    ],
)
def test_the_fee_is_rounded_half_up_to_the_minor_unit(
    gross: str, currency: str, percent: str, fee: str
) -> None:
    assert platform_fee(money(gross, currency), Decimal(percent)).amount == Decimal(fee)


@given(st.integers(1, 10**12), CURRENCIES, PERCENTS, st.lists(st.integers(1, 10**12), max_size=5))
def test_fee_and_net_add_up_to_gross_after_every_refund(
    units: int, currency: str, percent: Decimal, refunds: list[int]
) -> None:
    captured = Money(Decimal(units).scaleb(-minor_units(currency)), currency)
    earnings = earned(captured, percent)
    refunded = captured * 0
    for refund in refunds:
        refunded = min(refunded + Money(refund, currency) * captured.amount / 10**12, captured)
        with at():
            earnings.reverse(refunded)
    kept = captured - refunded
    recorded = earnings.collect_events()
    assert sum(event.gross.amount for event in recorded) == kept.amount
    assert sum(event.net.amount + event.platform_fee.amount for event in recorded) == kept.amount
    assert (
        sum(event.platform_fee.amount for event in recorded) == platform_fee(kept, percent).amount
    )


def test_a_full_refund_takes_everything_back() -> None:
    earnings = earned(money("33.33", "SAR"), Decimal("3.3"))
    with at():
        earnings.reverse(money("11.11", "SAR"))
        earnings.reverse(money("33.33", "SAR"))
    assert not earnings.gross
    assert not earnings.platform_fee


def test_a_refund_that_is_known_already_changes_nothing() -> None:
    earnings = earned(money("10.00", "SAR"), Decimal(5))
    with at():
        earnings.reverse(money("4.00", "SAR"))
        earnings.reverse(money("4.00", "SAR"))
    assert [event.gross.amount for event in earnings.collect_events()] == [10, -4]
