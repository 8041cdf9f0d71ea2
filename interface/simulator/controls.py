"""The levers for tests and developers under ``/_simulator`` (contract, section 9)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal

from flask import Blueprint, Response, request

from interface.simulator import answers, cards
from interface.simulator.api import json_response, page_address
from interface.simulator.behaviour import InvalidBehaviourError
from interface.simulator.books import (
    Books,
    BooksFullError,
    NotPossibleNowError,
    UnknownTransactionError,
    totals,
)
from interface.simulator.desk import Desk
from interface.simulator.money import InvalidAmountError, amount_text, parse_amount
from interface.simulator.orders import ApiError, Payload, read_json
from interface.simulator.pages import way_back
from interface.simulator.transactions import Attempt, Transaction

Work = Callable[[Books], Transaction]


class InvalidControlError(ValueError):
    """A control was called with a field or value it does not know."""


_STATUS_OF_ERRORS: dict[type[Exception], int] = {
    InvalidControlError: 400,
    InvalidBehaviourError: 400,
    InvalidAmountError: 400,
    cards.CardRefusedError: 400,
    ApiError: 400,
    UnknownTransactionError: 404,
    NotPossibleNowError: 409,
    BooksFullError: 503,
}


def controls_blueprint(desk: Desk) -> Blueprint:
    """All controls; register it only where they are enabled."""
    controls = Blueprint("controls", __name__, url_prefix="/_simulator")
    _add_listing(controls, desk)
    _add_actions(controls, desk)
    _add_behaviour(controls, desk)
    for kind, status in _STATUS_OF_ERRORS.items():
        controls.register_error_handler(kind, _refusal(status))
    return controls


def _refusal(status: int) -> Callable[[Exception], Response]:
    return lambda error: json_response({"error": str(error)}, status)


def _add_listing(controls: Blueprint, desk: Desk) -> None:
    @controls.get("/transactions")
    def transactions() -> Response:
        with desk.books() as books:
            found = [(item, books.attempts(item.tran_ref)) for item in _selected(books)]
        return json_response({"data": [_view(desk, *pair) for pair in found]})

    @controls.get("/transactions/<tran_ref>")
    def transaction(tran_ref: str) -> Response:
        with desk.books() as books:
            found = books.find(tran_ref), books.attempts(tran_ref)
        return json_response(_view(desk, *found))

    @controls.get("/books")
    def money() -> Response:
        with desk.books() as books:
            chain = _chain(books.all())
        return json_response(_totals(chain))


def _add_actions(controls: Blueprint, desk: Desk) -> None:
    @controls.post("/transactions/<tran_ref>/<action>")
    def act(tran_ref: str, action: str) -> Response:
        if action not in _ACTIONS:
            raise InvalidControlError(f"{action!r} is unknown; known are {', '.join(_ACTIONS)}")
        fields, plan = _ACTIONS[action]
        payload = _payload(fields)
        notify = action != "expire" or _expiry_is_told(desk, tran_ref, payload)
        transaction = desk.change(plan(desk, tran_ref, payload), notify=notify)
        return _outcome(desk, transaction)


def _add_behaviour(controls: Blueprint, desk: Desk) -> None:
    @controls.get("/behaviour")
    def behaviour() -> Response:
        return json_response(desk.behaviour.shown())

    @controls.put("/behaviour")
    def misbehave() -> Response:
        desk.behaviour.replace(read_json(request.get_data(cache=False)))
        return json_response(desk.behaviour.shown())

    @controls.delete("/behaviour")
    def behave() -> Response:
        desk.behaviour.clear()
        return json_response(desk.behaviour.shown())


def _pay(desk: Desk, tran_ref: str, payload: Payload) -> Work:
    today = desk.clock().date()
    presented = cards.present(
        _text(payload, "card", None),
        _text(payload, "expiry", cards.default_expiry(today)),
        _text(payload, "cvv", None),
        today,
    )
    return lambda books: books.pay(tran_ref, presented)


def _cancel(_desk: Desk, tran_ref: str, _payload: Payload) -> Work:
    return lambda books: books.cancel(tran_ref)


def _abandon(_desk: Desk, tran_ref: str, _payload: Payload) -> Work:
    return lambda books: books.abandon(tran_ref)


def _expire(_desk: Desk, tran_ref: str, _payload: Payload) -> Work:
    return lambda books: books.expire(tran_ref)


def _release(_desk: Desk, tran_ref: str, payload: Payload) -> Work:
    return lambda books: books.release_hold(tran_ref, _amount(books, tran_ref, payload))


def _refund(_desk: Desk, tran_ref: str, payload: Payload) -> Work:
    return lambda books: books.refund_in_dashboard(tran_ref, _amount(books, tran_ref, payload))


def _settle(_desk: Desk, tran_ref: str, payload: Payload) -> Work:
    outcome = _text(payload, "outcome", "succeed")
    if outcome not in ("succeed", "decline"):
        raise InvalidControlError("outcome must be succeed or decline")
    return lambda books: books.settle(tran_ref, accepted=outcome == "succeed")


_ACTIONS: dict[str, tuple[frozenset[str], Callable[[Desk, str, Payload], Work]]] = {
    "pay": (frozenset({"card", "cvv", "expiry"}), _pay),
    "cancel": (frozenset(), _cancel),
    "expire": (frozenset({"notify"}), _expire),
    "abandon": (frozenset(), _abandon),
    "release": (frozenset({"amount"}), _release),
    "settle": (frozenset({"outcome"}), _settle),
    "refund": (frozenset({"amount"}), _refund),
}


def _payload(known: frozenset[str]) -> Payload:
    body = request.get_data(cache=False)
    payload = read_json(body) if body.strip() else {}
    unknown = sorted(payload.keys() - known)
    if unknown:
        allowed = ", ".join(sorted(known)) or "none"
        raise InvalidControlError(f"{unknown[0]!r} is unknown; known are: {allowed}")
    return payload


def _expiry_is_told(desk: Desk, tran_ref: str, payload: Payload) -> bool:
    """PayTabs is not known to tell of an unused page's end; it does of a pending payment's."""
    notify = payload.get("notify")
    if notify is not None and not isinstance(notify, bool):
        raise InvalidControlError("notify must be true or false")
    with desk.books() as books:
        pending = books.find(tran_ref).status is not None
    return pending if notify is None else notify


def _text(payload: Payload, name: str, default: str | None) -> str:
    value = payload.get(name, default)
    if not isinstance(value, str):
        raise InvalidControlError(f"{name} must be given as a string")
    return value


def _amount(books: Books, tran_ref: str, payload: Payload) -> Decimal | None:
    if payload.get("amount") is None:
        return None
    return parse_amount(payload["amount"], books.find(tran_ref).order.currency)


def _outcome(desk: Desk, transaction: Transaction) -> Response:
    with desk.books() as books:
        attempts = books.attempts(transaction.tran_ref)
    back = way_back(transaction, desk.config)
    view = _view(desk, transaction, attempts)
    return json_response(view | {"return": back.shown() if back else None})


def _view(desk: Desk, transaction: Transaction, attempts: Iterable[Attempt]) -> answers.Json:
    token = transaction.page_token
    base_url = desk.config.public_url or request.host_url
    page_url = page_address(base_url, token) if token else None
    return answers.control_view(transaction, attempts, page_url)


def _selected(books: Books) -> list[Transaction]:
    cart_id, prefix = request.args.get("cart_id"), request.args.get("cart_prefix", "")
    found = books.all() if cart_id is None else books.find_by_cart(cart_id)
    return [item for item in found if item.order.cart_id.startswith(prefix)]


def _chain(transactions: Iterable[Transaction]) -> list[Transaction]:
    """The transactions whose own cart, or the cart they began with, is asked for."""
    cart_id, prefix = request.args.get("cart_id"), request.args.get("cart_prefix", "")
    currency = request.args.get("currency")

    def wanted(transaction: Transaction) -> bool:
        carts = (transaction.order.cart_id, transaction.root_cart_id)
        in_cart = any(cart_id in (None, cart) and cart.startswith(prefix) for cart in carts)
        return in_cart and currency in (None, transaction.order.currency)

    return list(filter(wanted, transactions))


def _totals(transactions: list[Transaction]) -> answers.Json:
    currencies = sorted({item.order.currency for item in transactions})
    if len(currencies) > 1:
        raise InvalidControlError(f"add currency=, one of {', '.join(currencies)}")
    currency = currencies[0] if currencies else None
    money = totals(transactions)
    sums = {
        "charged": money.charged,
        "refunded": money.refunded,
        "net": money.charged - money.refunded,
    }
    texts = {name: _sum_text(amount, currency) for name, amount in sums.items()}
    return texts | {"currency": currency}


def _sum_text(amount: Decimal, currency: str | None) -> str:
    return amount_text(amount, currency) if currency else "0.00"
