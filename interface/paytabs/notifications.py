"""Reads a callback of PayTabs whose signature was right into a notification to be recorded."""

from collections.abc import Mapping
from datetime import datetime

from application.payment_gateway import GatewayNotification, Unreadable
from domain.gateway_report import PROVIDER_PAYTABS, GatewayReport
from interface.paytabs.gateway_json import Limits, UnreadableJson, read_json, read_outline
from interface.paytabs.payload import parted, reference_or_none
from interface.paytabs.reports import UnreadableReport, read_report

LIMITS = Limits(depth=8, fields=200)
"""What a callback may hold; real ones have 2 levels and about 60 fields (PayTabs, section 7.1)."""


class InvalidNotification(ValueError):
    """A callback that is not even a JSON object, though its signature was right; the message says
    what is wrong with it."""


def parse_notification(body: bytes, signature: str, received_at: datetime) -> GatewayNotification:
    """The notification in a callback body whose signature was verified (PayTabs, section 7.1).

    Nulls and missing blocks are tolerated, numbers may come as text and text as numbers. A JSON
    object without a `tran_ref`, beyond the limits, or with a field we rely on that cannot be read
    is `Unreadable`. What is kept of the body: see `parted`.

    Raises:
        InvalidNotification: not a UTF-8 JSON object.
    """
    try:
        fields, fault = _fields(body)
    except UnreadableJson as error:
        raise InvalidNotification(f"the callback cannot be read: {error}") from None
    payload, personal = parted(fields)
    return GatewayNotification(
        provider=PROVIDER_PAYTABS,
        report=_unreadable(fields, fault) if fault else _said(fields),
        payload=payload,
        personal=personal,
        signature=signature,
        received_at=received_at,
    )


def _fields(body: bytes) -> tuple[Mapping[str, object], str | None]:
    try:
        content = read_json(body, LIMITS)
    except UnreadableJson as error:
        return read_outline(body, LIMITS), str(error)
    if not isinstance(content, Mapping):
        raise UnreadableJson("not a JSON object")
    return content, None


def _said(fields: Mapping[str, object]) -> GatewayReport | Unreadable:
    try:
        return read_report(fields)
    except UnreadableReport as error:
        return _unreadable(fields, str(error))


def _unreadable(fields: Mapping[str, object], reason: str) -> Unreadable:
    cart_id = fields.get("cart_id")
    return Unreadable(
        reason,
        cart_id=cart_id if isinstance(cart_id, str) else "",
        transaction_ref=reference_or_none(fields, "tran_ref"),
        previous_ref=reference_or_none(fields, "previous_tran_ref"),
    )
