"""Turns a request body into an order, refusing what PayTabs would refuse."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn
from urllib.parse import urlsplit

from interface.simulator.money import InvalidAmountError, parse_amount
from interface.simulator.transactions import PAGE_KINDS, Kind, Order

CART_ID_LENGTH_MAX = 64
CART_DESCRIPTION_LENGTH_MAX = 128
URL_LENGTH_MAX = 255
REFERENCE_LENGTH_MAX = 64
TEXT_LENGTH_MAX = 1000
PAGE_TTL_MINUTES_MAX = 7 * 24 * 60

_CLASSES = {"ecom": "ECom", "moto": "Moto", "recurring": "Recurring"}
_ELSEWHERE = ("token", "card_details", "payment_token", "apple_pay_token")
_INVALID = 2
_INVALID_CURRENCY = 206

Payload = Mapping[str, Any]


class ApiError(Exception):
    """An error object of section 3.3 of docs/paytabs.md, with its HTTP status."""

    def __init__(
        self, http_status: int, code: int, message: str, retry_after_seconds: int | None = None
    ) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.code = code
        self.message = message
        self.retry_after_seconds = retry_after_seconds


def read_json(body: bytes) -> Payload:
    """The JSON object in a body, numbers with a point kept exact. Raises ApiError (code 2)."""
    try:
        payload = json.loads(body, parse_float=Decimal, parse_constant=_no_constant)
    except (ValueError, RecursionError, InvalidOperation):
        invalid("The request body must be JSON")
    if not isinstance(payload, dict):
        invalid("The request body must be a JSON object")
    if not _is_unicode(payload):
        invalid("The request body must be valid Unicode, without lone surrogates")
    return payload


def read_order(payload: Payload, currencies: Collection[str]) -> Order:
    """The order in a ``/payment/request``. Raises ApiError: code 206 for the currency, else 2."""
    kind = _kind(payload)
    currency = _currency(payload, currencies)
    return Order(
        kind=kind,
        tran_class=_tran_class(payload),
        cart_id=required_text(payload, "cart_id", CART_ID_LENGTH_MAX),
        cart_description=required_text(payload, "cart_description", CART_DESCRIPTION_LENGTH_MAX),
        currency=currency,
        amount=_amount(payload, currency),
        previous_tran_ref=None if kind in PAGE_KINDS else _tran_ref(payload),
        return_url=_url(payload, "return"),
        return_using_get=_flag(payload, "return_using_get"),
        callback=_url(payload, "callback"),
        page_ttl_minutes=_page_ttl(payload),
        customer_ref=optional_text(payload, "customer_ref", TEXT_LENGTH_MAX),
        customer_details=_texts(payload, "customer_details"),
        shipping_details=_texts(payload, "shipping_details"),
        user_defined=_texts(payload, "user_defined"),
    )


def required_text(payload: Payload, name: str, length_max: int) -> str:
    """A text field that must be there and not empty. Raises ApiError (code 2)."""
    text = optional_text(payload, name, length_max)
    if not text:
        invalid(f"{name} is required")
    return text


def optional_text(payload: Payload, name: str, length_max: int) -> str | None:
    """A text field that may be missing or null. Raises ApiError (code 2)."""
    value = payload.get(name)
    if value is not None and not isinstance(value, str):
        invalid(f"{name} must be a string")
    if value is not None and len(value) > length_max:
        invalid(f"{name} must have at most {length_max} characters")
    return value


def invalid(message: str) -> NoReturn:
    """Refuse a request as malformed."""
    raise ApiError(400, _INVALID, message)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _is_unicode(payload: Payload) -> bool:
    try:
        json.dumps(payload, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(payload: Payload) -> Kind:
    value = payload.get("tran_type")
    if value not in list(Kind):
        invalid("tran_type must be one of " + ", ".join(Kind))
    kind = Kind(value)
    elsewhere = [name for name in _ELSEWHERE if payload.get(name) is not None]
    if elsewhere:
        invalid(f"{elsewhere[0]} is not simulated; leave it out to get a hosted page")
    return kind


def _tran_class(payload: Payload) -> str:
    value = payload.get("tran_class")
    if not isinstance(value, str) or value not in _CLASSES:
        invalid("tran_class must be one of " + ", ".join(_CLASSES))
    return _CLASSES[value]


def _currency(payload: Payload, currencies: Collection[str]) -> str:
    value = payload.get("cart_currency")
    if value is None or value == "":
        invalid("cart_currency is required")
    if not isinstance(value, str) or value not in currencies:
        raise ApiError(400, _INVALID_CURRENCY, "Invalid currency code")
    return value


def _amount(payload: Payload, currency: str) -> Decimal:
    if payload.get("cart_amount") is None:
        invalid("cart_amount is required")
    try:
        return parse_amount(payload["cart_amount"], currency)
    except InvalidAmountError as problem:
        invalid(f"cart_amount {problem}")


def _tran_ref(payload: Payload) -> str:
    return required_text(payload, "tran_ref", REFERENCE_LENGTH_MAX)


def _url(payload: Payload, name: str) -> str | None:
    text = optional_text(payload, name, URL_LENGTH_MAX)
    if not text or text == "none":
        return None
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not text.isprintable():
        invalid(f"{name} must be an http or https address")
    return text


def _flag(payload: Payload, name: str) -> bool:
    value = payload.get(name)
    if value is not None and not isinstance(value, bool):
        invalid(f"{name} must be true or false")
    return bool(value)


def _page_ttl(payload: Payload) -> int | None:
    value = payload.get("paypage_ttl")
    if value is None:
        return None
    if type(value) is not int or not 1 <= value <= PAGE_TTL_MINUTES_MAX:
        invalid(f"paypage_ttl must be a whole number of minutes, 1 to {PAGE_TTL_MINUTES_MAX}")
    return value


def _texts(payload: Payload, name: str) -> dict[str, str] | None:
    value = payload.get(name)
    if value is None:
        return None
    if not isinstance(value, dict):
        invalid(f"{name} must be an object")
    return {key: str(text)[:TEXT_LENGTH_MAX] for key, text in value.items() if _is_plain(text)}


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | Decimal) and not isinstance(value, bool) and value != ""
