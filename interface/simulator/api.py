"""PayTabs' API: opening pages, follow-ups and queries, answered as section 3 and 5 describe."""

from __future__ import annotations

import hmac
import math
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, request

from interface.simulator import answers
from interface.simulator.books import (
    BooksFullError,
    CurrencyDiffersError,
    DuplicateRequestError,
    UnknownTransactionError,
)
from interface.simulator.desk import Desk
from interface.simulator.orders import (
    CART_ID_LENGTH_MAX,
    REFERENCE_LENGTH_MAX,
    ApiError,
    Payload,
    invalid,
    optional_text,
    read_json,
    read_order,
)
from interface.simulator.transactions import PAGE_KINDS, Order

CART_QUERY_MAX = 20

_BOOKS_ERRORS: Mapping[type[Exception], tuple[int, int, str | None]] = {
    UnknownTransactionError: (400, 113, "ErrorCode = 2000, ErrorMessage=Transaction not found"),
    DuplicateRequestError: (409, 4, "Duplicate Request"),
    CurrencyDiffersError: (400, 206, "Invalid currency code"),
    BooksFullError: (503, 400, None),
}


def page_address(base_url: str, page_token: str) -> str:
    """The hosted page's link (section 3.1)."""
    return f"{base_url.rstrip('/')}/payment/wr/{page_token}"


def json_response(value: object, status: int = 200) -> Response:
    """A JSON answer, compact, UTF-8."""
    return Response(answers.compact(value), status, content_type="application/json")


def api_blueprint(desk: Desk) -> Blueprint:
    """The two API calls and their error objects."""
    api = Blueprint("api", __name__)

    @api.post("/payment/request")
    def payment_request() -> Response:
        order = read_order(_authenticated(desk), desk.config.currencies)
        if order.kind in PAGE_KINDS:
            return _open_page(desk, order)
        _admit(desk)
        return _follow_up(desk, order)

    @api.post("/payment/query")
    def payment_query() -> Response:
        payload = _authenticated(desk)
        _admit(desk)
        return json_response(_query(desk, payload))

    @api.errorhandler(ApiError)
    def refused(error: ApiError) -> Response:
        return error_response(desk, error)

    for kind, (status, code, message) in _BOOKS_ERRORS.items():
        api.register_error_handler(kind, _refusal(desk, status, code, message))
    return api


def error_response(desk: Desk, error: ApiError) -> Response:
    """An error object: code, message, trace (section 3.3)."""
    body = {"code": error.code, "message": error.message, "trace": desk.trace()}
    response = json_response(body, error.http_status)
    if error.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    return response


def _refusal(desk: Desk, status: int, code: int, message: str | None) -> Any:
    def refused(error: Exception) -> Response:
        return error_response(desk, ApiError(status, code, message or str(error)))

    return refused


def _authenticated(desk: Desk) -> Payload:
    given = request.headers.get("Authorization", "").encode()
    if not hmac.compare_digest(given, desk.config.server_key.encode()):
        raise _not_authenticated()
    payload = read_json(request.get_data(cache=False))
    profile = payload.get("profile_id")
    if isinstance(profile, bool) or str(profile) != str(desk.config.profile_id):
        raise _not_authenticated()
    return payload


def _not_authenticated() -> ApiError:
    return ApiError(401, 1, "Authentication failed. Check authentication header.")


def _admit(desk: Desk) -> None:
    wait_seconds = desk.wait_seconds()
    if wait_seconds > 0:
        raise ApiError(429, 5, "Too many requests, try again later.", math.ceil(wait_seconds))


def _open_page(desk: Desk, order: Order) -> Response:
    with desk.books() as books:
        transaction = books.open_page(order)
    base_url = desk.config.public_url or request.host_url
    url = page_address(base_url, transaction.page_token or "")
    return json_response(answers.page_answer(transaction, url, desk.config))


def _follow_up(desk: Desk, order: Order) -> Response:
    recorded = desk.follow_up(order)
    response = json_response(answers.full_answer(recorded.transaction, desk.config))
    delivery = recorded.delivery
    if delivery and delivery.awaited:
        desk.send(delivery)
    elif delivery:
        response.call_on_close(lambda: desk.send(delivery))
    return response


def _query(desk: Desk, payload: Payload) -> object:
    tran_ref = optional_text(payload, "tran_ref", REFERENCE_LENGTH_MAX)
    cart_id = optional_text(payload, "cart_id", CART_ID_LENGTH_MAX)
    if bool(tran_ref) == bool(cart_id):
        invalid("Give exactly one of tran_ref and cart_id")
    with desk.books() as books:
        if tran_ref:
            return answers.full_answer(books.find(tran_ref), desk.config)
        found = books.find_by_cart(cart_id or "")[:CART_QUERY_MAX]
    return [answers.list_item(transaction) for transaction in found]
