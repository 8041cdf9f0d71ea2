"""No full card number is ever kept, and nothing that is not a card number is spoilt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interface.paytabs.cards import mask_card_numbers, mask_instrument


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("4111111111111111", "411111######1111"),
        ("4111 1111 1111 1111", "4111 11## #### 1111"),
        ("5555-5555-5555-4444", "5555-55##-####-4444"),
        ("378282246310005", "378282#####0005"),
        ("card 4111111111111111 exp 12 30 ok", "card 411111######1111 exp 12 30 ok"),
        ("12 4111111111111111", "12 411111######1111"),
        ("visa4111111111111111", "visa411111######1111"),
        ("4000000000000002/4111111111111111", "400000######0002/411111######1111"),
        ("4111\u00a01111\u20111111 1111", "4111\u00a011##\u2011#### 1111"),
        ("٤١١١١١١١١١١١١١١١", "٤١١١١١######١١١١"),
    ],
)
def test_a_full_card_number_is_masked_to_six_and_four(text: str, masked: str) -> None:
    assert mask_card_numbers(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "4111 11## #### 1111",
        "4111111111111112",
        "TST2620100000042",
        "7c1f0a52-4111-4111-8111-111111111111",
        "10203040506071",
        "2026-10-28T10:00:00Z",
        "149.50",
        "",
    ],
)
def test_what_is_no_card_number_is_left_alone(text: str) -> None:
    assert mask_card_numbers(text) == text


@given(st.text(alphabet="0123456789 -4aZ", max_size=80))
def test_masking_keeps_the_length_and_changes_nothing_the_second_time(text: str) -> None:
    once = mask_card_numbers(text)
    assert len(once) == len(text)
    assert mask_card_numbers(once) == once


@given(
    st.text(alphabet="abc ,", max_size=10),
    st.text(alphabet="0123456789", min_size=11, max_size=17),
    st.text(alphabet="abc ,", max_size=10),
)
def test_a_card_number_in_any_text_is_found(before: str, digits: str, after: str) -> None:
    card = with_luhn_digit("4" + digits)
    assert card not in mask_card_numbers(f"{before}{card}{after}")


def test_a_means_of_payment_never_shows_thirteen_digits() -> None:
    assert mask_instrument("Visa 4111 1111 1111 1112") == "Visa 4111 11## #### 1112"
    assert mask_instrument("Visa 4111 11## #### 1111") == "Visa 4111 11## #### 1111"


def with_luhn_digit(digits: str) -> str:
    return next(digits + last for last in "0123456789" if luhn_sum(digits + last) % 10 == 0)


def luhn_sum(digits: str) -> int:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total
