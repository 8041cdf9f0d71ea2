"""Writes transactions down in the four shapes PayTabs shows them: answer, list, callback, form."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from interface.simulator.config import SimulatorConfig
from interface.simulator.money import amount_text
from interface.simulator.signing import sign_form
from interface.simulator.transactions import (
    PAGE_KINDS,
    PAYMENT_REQUEST,
    Attempt,
    Channel,
    Transaction,
)

Json = dict[str, Any]

_PAGE_SERVICE, _API_SERVICE, _LIST_SERVICE = 2, 1, 0
_WRONG_BY = Decimal(1)
_THREE_DS = {
    "responseLevel": 0,
    "responseStatus": 0,
    "enrolled": "N",
    "paResStatus": "",
    "eci": "",
    "cavv": "",
    "ucaf": "",
    "threeDSVersion": "Test/Simulation",
}


def compact(value: object) -> bytes:
    """JSON on one line without blanks, UTF-8."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def page_answer(transaction: Transaction, redirect_url: str, config: SimulatorConfig) -> Json:
    """The answer to a page request (section 3.1 of docs/paytabs.md)."""
    order = transaction.order
    urls = {"return": order.return_url, "callback": order.callback, "redirect_url": redirect_url}
    return _present(
        _cart(transaction)
        | urls
        | {"customer_details": order.customer_details or None, "serviceId": _PAGE_SERVICE}
        | _ids(transaction, config)
    )


def full_answer(transaction: Transaction, config: SimulatorConfig) -> Json:
    """A follow-up's answer and a query by ``tran_ref`` (sections 3.2 and 5)."""
    return _present(
        _thin(transaction)
        | {
            "original_tran_type": _original(transaction),
            "shipping_details": transaction.order.shipping_details or None,
            "serviceId": _service(transaction),
            "paymentChannel": transaction.channel.value,
        }
        | _ids(transaction, config)
    )


def list_item(transaction: Transaction) -> Json:
    """One element of a query by ``cart_id`` (section 5)."""
    return _present(_thin(transaction) | {"serviceId": _LIST_SERVICE})


def callback_body(
    transaction: Transaction, ipn_trace: str, config: SimulatorConfig, *, wrong_amount: bool = False
) -> bytes:
    """The bytes of a callback (section 7.1); ``wrong_amount`` adds 1 to what was paid."""
    order = transaction.order
    amount = amount_text(order.amount + (_WRONG_BY if wrong_amount else 0), order.currency)
    body = {
        "tran_ref": transaction.tran_ref,
        "previous_tran_ref": order.previous_tran_ref,
        "merchant_id": config.merchant_id,
        "profile_id": config.profile_id,
        "cart_id": order.cart_id,
        "cart_description": order.cart_description,
        "cart_currency": order.currency,
        "cart_amount": amount,
        "tran_currency": order.currency,
        "tran_total": amount,
        "tran_type": transaction.performed,
        "tran_class": order.tran_class,
        "customer_ref": order.customer_ref,
        "customer_details": order.customer_details or None,
        "shipping_details": order.shipping_details or None,
        "payment_result": _result(transaction, for_callback=True),
        "payment_info": _payment_info(transaction),
        "user_defined": order.user_defined or None,
        "threeDSDetails": _THREE_DS if _used_3ds(transaction) else None,
        "ipn_trace": ipn_trace,
        "paymentChannel": transaction.channel.value,
    }
    return compact(_present(body))


def return_form(transaction: Transaction, key: str) -> dict[str, str]:
    """The ten fields the browser posts back, signed (section 7.3)."""
    short = _return_fields(transaction)
    customer = transaction.order.customer_details or {}
    form = {
        "acquirerMessage": "",
        "acquirerRRN": "",
        "cartId": short["cartId"],
        "customerEmail": customer.get("email", ""),
        "respCode": short["respCode"],
        "respMessage": short["respMessage"],
        "respStatus": short["respStatus"],
        "signature": "",
        "token": "",
        "tranRef": short["tranRef"],
    }
    return form | {"signature": sign_form(key, form)}


def return_query(transaction: Transaction, key: str) -> dict[str, str]:
    """The shorter set of fields for a return by GET, signed (section 7.3)."""
    fields = _return_fields(transaction)
    return fields | {"signature": sign_form(key, fields)}


def control_view(
    transaction: Transaction, attempts: Iterable[Attempt], page_url: str | None
) -> Json:
    """Everything a test may want to know about a transaction (contract, section 9)."""
    result = transaction.result
    return {
        "tran_ref": transaction.tran_ref,
        "previous_tran_ref": transaction.order.previous_tran_ref,
        "tran_type": transaction.performed,
        "cart_id": transaction.order.cart_id,
        "cart_amount": amount_text(transaction.order.amount, transaction.order.currency),
        "cart_currency": transaction.order.currency,
        "status": transaction.status,
        "code": result.code if result else None,
        "message": result.message if result else None,
        "created_at": timestamp(transaction.created_at),
        "page_url": page_url,
        "callbacks": [_attempt(attempt) for attempt in attempts],
    }


def timestamp(moment: datetime) -> str:
    """UTC to the second, as PayTabs prints it: 2026-07-20T09:15:12Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _attempt(attempt: Attempt) -> Json:
    return {
        "attempted_at": attempt.attempted_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "status": attempt.status,
        "error": attempt.error,
    }


def _present(fields: Mapping[str, Any]) -> Json:
    return {name: value for name, value in fields.items() if value is not None}


def _ids(transaction: Transaction, config: SimulatorConfig) -> Json:
    return {
        "profileId": config.profile_id,
        "merchantId": config.merchant_id,
        "trace": transaction.trace,
    }


def _cart(transaction: Transaction) -> Json:
    order = transaction.order
    amount = amount_text(order.amount, order.currency)
    used = transaction.result is not None
    return {
        "tran_ref": transaction.tran_ref,
        "previous_tran_ref": order.previous_tran_ref,
        "tran_type": transaction.performed,
        "cart_id": order.cart_id,
        "cart_description": order.cart_description,
        "cart_currency": order.currency,
        "cart_amount": amount,
        "tran_currency": order.currency if used else None,
        "tran_total": amount if used else "0",
    }


def _thin(transaction: Transaction) -> Json:
    used = transaction.result is not None
    return _cart(transaction) | {
        "customer_ref": transaction.order.customer_ref,
        "customer_details": transaction.order.customer_details or None,
        "payment_result": _result(transaction, for_callback=False) if used else None,
        "payment_info": _payment_info(transaction) if used else None,
    }


def _result(transaction: Transaction, *, for_callback: bool) -> Json | None:
    result = transaction.result
    if result is None:
        return None
    acquirer = {
        "acquirer_ref": transaction.acquirer_ref,
        "cvv_result": " ",
        "avs_result": " ",
    }
    return {
        "response_status": result.status,
        "response_code": result.code,
        "response_message": result.message,
        **(acquirer if for_callback else {}),
        "transaction_time": timestamp(result.at),
    }


def _payment_info(transaction: Transaction) -> Json:
    card = transaction.card
    if card is None:
        waits = transaction.performed == PAYMENT_REQUEST
        description = "Deferred payment" if waits else "No Payment"
        return {"card_scheme": "", "payment_description": description}
    return {
        "payment_method": card.scheme,
        "card_type": card.card_type,
        "card_scheme": card.scheme,
        "payment_description": card.masked,
        "expiryMonth": card.expiry_month,
        "expiryYear": card.expiry_year,
    }


def _used_3ds(transaction: Transaction) -> bool:
    return transaction.channel is Channel.PAGE and transaction.card is not None


def _original(transaction: Transaction) -> str | None:
    asked = transaction.order.kind.shown
    return asked if transaction.performed != asked else None


def _service(transaction: Transaction) -> int:
    return _PAGE_SERVICE if transaction.order.kind in PAGE_KINDS else _API_SERVICE


def _return_fields(transaction: Transaction) -> dict[str, str]:
    result = transaction.result
    return {
        "cartId": transaction.order.cart_id,
        "respCode": result.code if result else "",
        "respMessage": result.message if result else "",
        "respStatus": result.status if result else "",
        "tranRef": transaction.tran_ref,
    }
