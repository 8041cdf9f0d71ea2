"""Writes the request bodies of PayTabs, within PayTabs' limits."""

from collections.abc import Mapping
from typing import Any

import simplejson

from application.payment_gateway import FollowUpRequest, PageRequest
from domain.client import Address, ClientInfo
from domain.money import Money
from interface.paytabs.amounts import json_amount

CART_ID_LENGTH_MAX = 64
DESCRIPTION_LENGTH_MAX = 128
URL_LENGTH_MAX = 255
"""Limits of PayTabs, sections 2.1 and 2.2 of docs/paytabs.md, in characters."""


class UnsendableRequest(ValueError):
    """The request breaks a limit of the gateway, so it is not sent; the message says which."""


def page_body(profile_id: int, request: PageRequest) -> bytes:
    """The body that asks for a hosted page (PayTabs, sections 2.1 to 2.5).

    Raises:
        UnsendableRequest: see there.
    """
    body = {
        **_transaction(profile_id, "sale" if request.capture else "auth"),
        **_cart(request.cart_id, request.amount, request.description),
        **_url("return", request.return_url),
        **_url("callback", request.callback_url),
        "paypage_ttl": max(1, request.page_ttl_minutes),
        "payment_methods": [request.payment_method],
        "hide_shipping": True,
        **_customer(request.client),
    }
    return _json(body)


def follow_up_body(profile_id: int, tran_type: str, request: FollowUpRequest) -> bytes:
    """The body that asks for a refund, a capture or a void (PayTabs, section 6).

    Raises:
        UnsendableRequest: see there.
    """
    body = {
        **_transaction(profile_id, tran_type),
        "tran_ref": request.transaction_ref,
        **_cart(request.cart_id, request.amount, request.description),
        **_url("callback", request.callback_url),
    }
    return _json(body)


def query_body(profile_id: int, key: str, value: str) -> bytes:
    """The body that asks after a transaction: `key` is `tran_ref` or `cart_id`, exactly one of
    them (PayTabs, section 5)."""
    return _json({"profile_id": profile_id, key: value})


def _transaction(profile_id: int, tran_type: str) -> dict[str, Any]:
    return {"profile_id": profile_id, "tran_type": tran_type, "tran_class": "ecom"}


def _cart(cart_id: str, amount: Money, description: str) -> dict[str, Any]:
    if not 1 <= len(cart_id) <= CART_ID_LENGTH_MAX:
        raise UnsendableRequest(f"the cart id must have 1 to {CART_ID_LENGTH_MAX} characters")
    try:
        exact = json_amount(amount)
    except ValueError as error:
        raise UnsendableRequest(str(error)) from None
    return {
        "cart_id": cart_id,
        "cart_description": description.strip()[:DESCRIPTION_LENGTH_MAX] or cart_id,
        "cart_currency": amount.currency.code,
        "cart_amount": exact,
    }


def _url(name: str, url: str) -> dict[str, str]:
    if len(url) > URL_LENGTH_MAX:
        raise UnsendableRequest(
            f"the {name} address has {len(url)} characters; at most {URL_LENGTH_MAX} are allowed"
        )
    return {name: url} if url else {}


def _customer(client: ClientInfo | None) -> dict[str, dict[str, str]]:
    if client is None:
        return {}
    address = client.address or Address()
    details = {
        "name": client.name,
        "email": client.email,
        "phone": client.phone,
        "street1": address.street,
        "city": address.city,
        "state": address.state,
        "country": address.country,
        "zip": address.zip and _ascii_digits(address.zip),
    }
    given = {name: value for name, value in details.items() if value}
    return {"customer_details": given} if given else {}


def _ascii_digits(text: str) -> str:
    """Arabic and other digits as 0 to 9: the gateway takes no others in `zip` (section 2.3)."""
    return "".join(str(int(c)) if c.isdecimal() else c for c in text)


def _json(body: Mapping[str, Any]) -> bytes:
    return simplejson.dumps(body, use_decimal=True, separators=(",", ":")).encode()
