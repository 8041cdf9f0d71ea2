"""JSON as PaySaga reads and writes it: numbers stay exact decimals, never floats."""

from decimal import InvalidOperation
from typing import Any

import simplejson

INTEGER_DIGITS_MAX = 1000
"""Far more than any number has that means something, and few enough to be read at once."""


def write_json(value: Any) -> bytes:
    """Compact UTF-8 JSON; `Decimal` becomes a number with exactly its digits."""
    text = simplejson.dumps(value, use_decimal=True, ensure_ascii=False, separators=(",", ":"))
    return text.encode()


def read_json(body: bytes) -> Any:
    """What a body holds; numbers with a fraction become `Decimal`.

    Raises:
        ValueError: it is no JSON, no UTF-8, names a member twice, or holds NaN, Infinity or a
            number out of all range.
        RecursionError: it is nested deeper than can be read.
    """
    try:
        return simplejson.loads(
            body.decode("utf-8"),
            use_decimal=True,
            allow_nan=False,
            parse_int=_integer,
            object_pairs_hook=_object_without_repeats,
        )
    except InvalidOperation:
        raise ValueError("a number's exponent is out of range") from None


def _integer(digits: str) -> int:
    if len(digits) > INTEGER_DIGITS_MAX:
        raise ValueError(f"a number has more than {INTEGER_DIGITS_MAX} digits")
    return int(digits)


def _object_without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object names a member twice")
    return members
