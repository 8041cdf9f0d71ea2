"""The test cards: which number leads to which outcome, on the page and through the controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from interface.simulator.transactions import CardInfo

CVV_LENGTHS = (3, 4)
CARD_DIGITS_MIN = 12
CARD_DIGITS_MAX = 19
_MASKED_FROM = 6
_MASKED_TO = -4
_CENTURY = 2000


class Verdict(NamedTuple):
    """What the bank says to a card; ``code`` None asks for a generated approval code."""

    status: str
    code: str | None
    message: str


APPROVED = Verdict("A", None, "Authorised")
HELD = Verdict("H", None, "Authorised")
PENDING = Verdict("P", None, "Pending")
WRONG_CVV = Verdict("D", "305", "Card security code (CVV) mismatch")


class TestCard(NamedTuple):
    """One row of the table shown on the page; ``cvv`` None means any."""

    number: str
    cvv: str | None
    verdict: Verdict
    meaning: str

    @property
    def spaced(self) -> str:
        """The number in groups of four, as it is printed on a card."""
        return _in_fours(self.number)


TEST_CARDS: tuple[TestCard, ...] = (
    TestCard("4111111111111111", "123", APPROVED, "Paid; any other CVV is declined (305)"),
    TestCard("5555555555554444", None, APPROVED, "Paid with a Mastercard"),
    TestCard(
        "4000000000000002",
        None,
        Verdict("D", "310", "3DSecure authentication rejected"),
        "Declined: 3-D Secure rejected",
    ),
    TestCard(
        "4000000000003162",
        None,
        Verdict("D", "316", "Insufficient funds"),
        "Declined: insufficient funds",
    ),
    TestCard(
        "4000000000003006",
        None,
        Verdict("D", "300", "Not authorised"),
        "Declined: not authorised (the bank may have charged)",
    ),
    TestCard(
        "4000000000004012", None, Verdict("E", "401", "No response"), "Error: no answer from bank"
    ),
    TestCard("4000000000001208", None, HELD, "On hold for review"),
    TestCard("4000000000006009", None, PENDING, "Pending: to be paid later, in cash"),
)
"""The first and third are PayTabs' own (section 9 of docs/paytabs.md), the others are ours."""

_BY_NUMBER: Mapping[str, TestCard] = {card.number: card for card in TEST_CARDS}


@dataclass(frozen=True, slots=True)
class PresentedCard:
    """What a card comes to: the verdict, and the only card data that is kept."""

    verdict: Verdict
    info: CardInfo


class CardRefusedError(ValueError):
    """The card form cannot be used as it is; ``problems`` has one sentence per field."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(problems.values()))
        self.problems = dict(problems)


def present(number: str, expiry: str, cvv: str, today: date) -> PresentedCard:
    """Judge a card as typed by a customer; the number and the CVV go no further than here.

    Any number with a right check digit that is not in the table is approved.
    Raises CardRefusedError when a field is not usable.
    """
    digits = number.replace(" ", "").replace("-", "")
    until = _expiry(expiry)
    problems = _problems(digits, until, cvv, today)
    if problems or until is None:
        raise CardRefusedError(problems)
    info = CardInfo(mask(digits), scheme(digits), "Credit", until.month, until.year)
    return PresentedCard(_verdict(digits, cvv), info)


def mask(digits: str) -> str:
    """The number as PayTabs shows it: "4111 11## #### 1111"."""
    hidden = "#" * len(digits[_MASKED_FROM:_MASKED_TO])
    return _in_fours(digits[:_MASKED_FROM] + hidden + digits[_MASKED_TO:])


def scheme(digits: str) -> str:
    """The card scheme, told by the first digits."""
    if digits[0] == "4":
        return "Visa"
    if digits[:2] in ("34", "37"):
        return "AmericanExpress"
    return "MasterCard" if digits[0] in "25" else "Other"


def passes_luhn(digits: str) -> bool:
    """Whether the check digit is right (ISO/IEC 7812-1, annex B)."""
    doubled = [int(digit) * 2 for digit in digits[-2::-2]]
    plain = sum(int(digit) for digit in digits[-1::-2])
    return (plain + sum(value - 9 if value > 9 else value for value in doubled)) % 10 == 0


def default_expiry(today: date) -> str:
    """An expiry that is always in the future, as MM/YY."""
    return f"12/{(today.year + 4) % 100:02d}"


def _verdict(digits: str, cvv: str) -> Verdict:
    card = _BY_NUMBER.get(digits)
    if card is None:
        return APPROVED
    return card.verdict if card.cvv in (None, cvv) else WRONG_CVV


def _problems(digits: str, until: date | None, cvv: str, today: date) -> dict[str, str]:
    problems = {}
    if not _is_number(digits, range(CARD_DIGITS_MIN, CARD_DIGITS_MAX + 1)):
        problems["card-number"] = "Enter the card number, 12 to 19 digits."
    elif not passes_luhn(digits):
        problems["card-number"] = "This card number is not valid. Check the digits."
    if until is None:
        problems["expiry"] = "Enter the expiry as month and year, for example 12/30."
    elif (until.year, until.month) < (today.year, today.month):
        problems["expiry"] = "This card has expired."
    if not _is_number(cvv, CVV_LENGTHS):
        problems["cvv"] = "Enter the 3 or 4 digits of the security code."
    return problems


def _expiry(text: str) -> date | None:
    month, _, year = text.replace(" ", "").partition("/")
    if not year:
        month, year = month[:2], month[2:]
    if not (_is_number(month, (1, 2)) and _is_number(year, (2, 4))):
        return None
    if not 1 <= int(month) <= 12:
        return None
    return date(int(year) + (_CENTURY if len(year) == 2 else 0) or 1, int(month), 1)


def _is_number(text: str, lengths: range | tuple[int, ...]) -> bool:
    return text.isascii() and text.isdigit() and len(text) in lengths


def _in_fours(text: str) -> str:
    return " ".join(text[start : start + 4] for start in range(0, len(text), 4))
