"""Hides card numbers, so that no full one is ever kept, whatever the gateway sends."""

import re
import unicodedata
from collections.abc import Iterator

CARD_DIGITS_MIN = 13
CARD_DIGITS_MAX = 19
_SHOWN_FIRST = 6
_SHOWN_LAST = 4
_NOT_A_CARD = frozenset("017")
"""First digits that no bank card has (ISO/IEC 7812). Agent references of deferred methods begin
with 1 and may pass the Luhn check (PayTabs, section 4), so they must not be taken for cards."""

_DASHES = "\\-\u00ad\u2010-\u2015\u2212"
_CANDIDATE = re.compile(
    # A UUID and a transaction reference are never card numbers; both are stepped over.
    r"(?P<id>\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|\b[A-Z]{3}\d{13}\b)"
    rf"|(?P<digits>\d(?:[\s{_DASHES}]{{0,3}}\d){{{CARD_DIGITS_MIN - 1},}})"
)
_GROUP = re.compile(r"\d+")


def mask_card_numbers(text: str) -> str:
    """The text with every full card number masked to its first six and last four digits.

    A card number is 13 to 19 digits that pass the Luhn check and begin as cards do, written
    together or in groups parted by spaces or dashes. UUIDs and references such as
    TST2620100000042 are left alone.
    """
    return _CANDIDATE.sub(_masked_candidate, text)


def mask_instrument(text: str) -> str:
    """The name of a means of payment, with any 13 digits or more masked, Luhn or not."""
    if sum(character.isdecimal() for character in text) < CARD_DIGITS_MIN:
        return text
    return _hide_middle(text)


def _masked_candidate(match: re.Match[str]) -> str:
    run = match.group()
    if match.group("id"):
        return run
    for start, end in _card_spans(run):
        run = run[:start] + _hide_middle(run[start:end]) + run[end:]
    return run


def _card_spans(run: str) -> Iterator[tuple[int, int]]:
    """Where card numbers begin and end: whole groups of digits, in a run of such groups."""
    groups = [match.span() for match in _GROUP.finditer(run)]
    for first, (start, _) in enumerate(groups):
        for _, end in groups[first : first + CARD_DIGITS_MAX]:
            if _is_card_number(_digits(run[start:end])):
                yield start, end


def _is_card_number(digits: str) -> bool:
    fits = CARD_DIGITS_MIN <= len(digits) <= CARD_DIGITS_MAX
    return fits and digits[0] not in _NOT_A_CARD and _passes_luhn(digits)


def _passes_luhn(digits: str) -> bool:
    doubled = [sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2]]
    return (sum(doubled) + sum(int(digit) for digit in digits[-1::-2])) % 10 == 0


def _digits(text: str) -> str:
    return "".join(str(unicodedata.decimal(c)) for c in text if c.isdecimal())


def _hide_middle(text: str) -> str:
    places = [place for place, character in enumerate(text) if character.isdecimal()]
    hidden = set(places[_SHOWN_FIRST:-_SHOWN_LAST])
    return "".join("#" if place in hidden else c for place, c in enumerate(text))
