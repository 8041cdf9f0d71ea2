"""Checks how a typed card is judged, and that nothing of it is kept but the masked number."""

from __future__ import annotations

from datetime import date

import pytest

from interface.simulator.cards import TEST_CARDS, CardRefusedError, mask, passes_luhn, present

TODAY = date(2026, 7, 20)


def outcome(number: str, cvv: str = "123", expiry: str = "12/30") -> tuple[str, str | None]:
    verdict = present(number, expiry, cvv, TODAY).verdict
    return verdict.status, verdict.code


@pytest.mark.parametrize(
    ("number", "cvv", "expected"),
    [
        ("4111111111111111", "123", ("A", None)),
        ("4111 1111 1111 1111", "124", ("D", "305")),
        ("4000000000000002", "999", ("D", "310")),
        ("4000000000003162", "123", ("D", "316")),
        ("4000000000003006", "123", ("D", "300")),
        ("4000000000004012", "123", ("E", "401")),
        ("4000000000001208", "123", ("H", None)),
        ("4000000000006009", "123", ("P", None)),
        ("378282246310005", "1234", ("A", None)),
    ],
)
def test_the_number_decides_the_outcome(
    number: str, cvv: str, expected: tuple[str, str | None]
) -> None:
    assert outcome(number, cvv) == expected


def test_every_listed_card_passes_the_check_digit() -> None:
    assert all(passes_luhn(card.number) for card in TEST_CARDS)


@pytest.mark.parametrize("expiry", ["07/26", "7/26", "0726", "07/2026", "12 / 30"])
def test_an_expiry_may_be_written_in_many_ways(expiry: str) -> None:
    assert outcome("4111111111111111", expiry=expiry) == ("A", None)


@pytest.mark.parametrize(
    ("number", "expiry", "cvv", "field"),
    [
        ("4111111111111112", "12/30", "123", "card-number"),
        ("41111111111", "12/30", "123", "card-number"),
        ("４１１１111111111111", "12/30", "123", "card-number"),
        ("4111111111111111", "06/26", "123", "expiry"),
        ("4111111111111111", "13/30", "123", "expiry"),
        ("4111111111111111", "00/30", "123", "expiry"),
        ("4111111111111111", "12/0000", "123", "expiry"),
        ("4111111111111111", "", "123", "expiry"),
        ("4111111111111111", "12/30", "12", "cvv"),
        ("4111111111111111", "12/30", "12a", "cvv"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(
    number: str, expiry: str, cvv: str, field: str
) -> None:
    with pytest.raises(CardRefusedError) as refused:
        present(number, expiry, cvv, TODAY)
    assert list(refused.value.problems) == [field]


def test_only_the_masked_number_is_kept() -> None:
    presented = present("5555555555554444", "12/30", "987", TODAY)
    assert presented.info.masked == "5555 55## #### 4444"
    assert presented.info.scheme == "MasterCard"
    assert "555555555555" not in repr(presented)
    assert "987" not in repr(presented)
    assert mask("378282246310005") == "3782 82## ###0 005"
