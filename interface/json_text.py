"""JSON as PaySaga reads and writes it: numbers stay exact decimals, never floats."""

from typing import Any

import simplejson


def write_json(value: Any) -> bytes:
    """Compact UTF-8 JSON; `Decimal` becomes a number with exactly its digits."""
    text = simplejson.dumps(value, use_decimal=True, ensure_ascii=False, separators=(",", ":"))
    return text.encode()


def read_json(body: bytes) -> Any:
    """What a body holds; numbers with a fraction become `Decimal`.

    Raises:
        ValueError: it is no JSON, no UTF-8, names a member twice, or holds NaN or Infinity.
        RecursionError: it is nested deeper than can be read.
    """
    return simplejson.loads(
        body.decode("utf-8"),
        use_decimal=True,
        allow_nan=False,
        object_pairs_hook=_object_without_repeats,
    )


def _object_without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object names a member twice")
    return members
