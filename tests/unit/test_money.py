"""Money is exact, and written with the decimals of its currency."""

from decimal import Decimal

import iso4217
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.money import AMOUNT_MAX, InvalidAmount, InvalidCurrency, Money, minor_units, money

DECIMALS = {
    "SAR": 2,
    "AED": 2,
    "USD": 2,
    "EGP": 2,
    "KWD": 3,
    "OMR": 3,
    "BHD": 3,
    "JOD": 3,
    "JPY": 0,
}


@pytest.mark.parametrize(("currency", "decimals"), DECIMALS.items())
def test_a_currency_has_the_decimals_that_iso_4217_gives_it(currency: str, decimals: int) -> None:
    assert minor_units(currency) == decimals


@pytest.mark.parametrize("currency", [c for c in iso4217.Currency if c.exponent is not None])
def test_every_currency_that_has_a_minor_unit_can_be_paid_in(currency: iso4217.Currency) -> None:
    made = money("1", currency.code)
    assert made.currency.code == currency.code
    assert minor_units(currency.code) == currency.exponent


@pytest.mark.parametrize(
    "code", ["XAU", "XXX", "XTS", "ABC", "sar", "", "SA", "SARR", " SAR", "S R"]
)
def test_a_code_that_nothing_can_be_paid_in_is_refused(code: str) -> None:
    with pytest.raises(InvalidCurrency):
        money("1", code)


@given(st.sampled_from(sorted(DECIMALS)), st.integers(min_value=1, max_value=10**12 - 1))
def test_every_amount_of_minor_units_is_kept_exactly(currency: str, units: int) -> None:
    amount = Decimal(units).scaleb(-DECIMALS[currency])
    if amount > AMOUNT_MAX:
        return
    made = money(amount, currency)
    assert made == Money(amount, currency)
    assert made.amount.as_tuple().exponent == -DECIMALS[currency]
    assert money(str(amount), currency) == made


@given(st.sampled_from(sorted(DECIMALS)), st.integers(min_value=1, max_value=10**6))
def test_an_amount_with_more_decimals_than_its_currency_is_refused(
    currency: str, units: int
) -> None:
    amount = Decimal(units * 10 + 1).scaleb(-DECIMALS[currency] - 1)
    with pytest.raises(InvalidAmount, match="decimals"):
        money(amount, currency)


def test_zeros_beyond_the_decimals_say_nothing_and_do_not_hurt() -> None:
    assert money("10.00000", "SAR") == money("10", "SAR")
    assert str(money("10.00000", "SAR").amount) == "10.00"


@pytest.mark.parametrize("amount", ["0", "-1", "-0.00", "0.00", "10000000000", "1E+30"])
def test_an_amount_outside_the_limits_is_refused(amount: str) -> None:
    with pytest.raises(InvalidAmount, match="above 0"):
        money(amount, "SAR")


@pytest.mark.parametrize(
    "amount", ["NaN", "Infinity", "-Infinity", "sNaN", "ten", "", "1,5", "0x1"]
)
def test_what_is_not_a_finite_number_is_refused(amount: str) -> None:
    with pytest.raises(InvalidAmount):
        money(amount, "SAR")


def test_the_largest_amount_can_be_paid() -> None:
    assert money(AMOUNT_MAX, "SAR").amount == AMOUNT_MAX


def test_an_amount_written_with_an_exponent_is_the_same_amount() -> None:
    assert str(money("1E+2", "JPY").amount) == "100"
