"""Reads a callback of PayTabs whose signature was right into a notification to be recorded."""

from collections.abc import Mapping
from datetime import datetime
from typing import cast

from application.payment_gateway import GatewayNotification
from domain.gateway_report import payment_id_of
from interface.paytabs.cards import mask_card_numbers
from interface.paytabs.gateway_json import Limits, UnreadableJson, read_json
from interface.paytabs.reports import UnreadableReport, read_report

LIMITS = Limits(depth=8, fields=200)
"""What a callback may hold; real ones have 2 levels and about 60 fields (PayTabs, section 7.1)."""

_PERSONAL = frozenset({"customer_details", "shipping_details"})
_SECRET = frozenset({"cvv", "cvv2", "cvc", "card_number", "cardnumber", "pan"})
_REFERENCES = frozenset({"tran_ref", "previous_tran_ref"})


class InvalidNotification(ValueError):
    """A callback that cannot be relied on, though its signature was right; the message says
    what is wrong with it."""


def parse_notification(body: bytes, signature: str, received_at: datetime) -> GatewayNotification:
    """The notification in a callback body whose signature was verified (PayTabs, section 7.1).

    Fields we do not know are kept in `payload`, nulls and missing blocks are tolerated, numbers
    may come as text and text as numbers. Full card numbers are masked and card secrets dropped.

    Raises:
        InvalidNotification: not a UTF-8 JSON object with a `tran_ref`, beyond the limits, or a
            field we rely on cannot be read.
    """
    try:
        content = read_json(body, LIMITS)
        report = read_report(content)
    except (UnreadableJson, UnreadableReport) as error:
        raise InvalidNotification(f"the callback cannot be read: {error}") from None
    fields = cast("Mapping[str, object]", content)
    personal = {name: value for name, value in fields.items() if name in _PERSONAL}
    payload = {name: value for name, value in fields.items() if name not in _PERSONAL}
    return GatewayNotification(
        provider="paytabs",
        report=report,
        payload=_safe_object(payload) | _references(fields),
        personal=_safe_object(personal),
        signature=signature,
        received_at=received_at,
    )


def _references(fields: Mapping[str, object]) -> dict[str, object]:
    """The references as they came: they name transactions, even one made of digits only."""
    kept = {name: fields[name] for name in _REFERENCES if name in fields}
    cart_id = fields.get("cart_id")
    if isinstance(cart_id, str) and payment_id_of(cart_id) is not None:
        kept["cart_id"] = cart_id
    return kept


def _safe_object(fields: Mapping[str, object]) -> dict[str, object]:
    return {
        mask_card_numbers(name): _safe(value)
        for name, value in fields.items()
        if name.casefold() not in _SECRET
    }


def _safe(value: object) -> object:
    if isinstance(value, Mapping):
        return _safe_object(value)
    if isinstance(value, list):
        return [_safe(item) for item in value]
    if isinstance(value, str):
        return mask_card_numbers(value)
    if isinstance(value, int) and not isinstance(value, bool):
        masked = mask_card_numbers(str(value))
        return value if masked == str(value) else masked
    return value
