"""The hosted page a customer pays on, and the way back to the merchant afterwards."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit, urlunsplit

from flask import Blueprint, Response, redirect, render_template, request
from werkzeug.wrappers import Response as BaseResponse

from interface.simulator import answers, cards
from interface.simulator.books import (
    Books,
    BooksFullError,
    NotPossibleNowError,
    UnknownTransactionError,
)
from interface.simulator.config import SimulatorConfig
from interface.simulator.desk import Desk
from interface.simulator.money import amount_text
from interface.simulator.transactions import Transaction

_FIELDS = ("card-number", "expiry", "cvv", "name")
_FIELD_LENGTH_MAX = 100


@dataclass(frozen=True, slots=True)
class WayBack:
    """How the browser returns to the merchant: a POST of ``fields``, or a GET of ``url``."""

    url: str
    method: str
    fields: dict[str, str]

    def shown(self) -> answers.Json:
        """The same as JSON, for a test that plays the browser."""
        return {"url": self.url, "method": self.method, "fields": self.fields}


def way_back(transaction: Transaction, config: SimulatorConfig) -> WayBack | None:
    """Where the browser goes after an outcome; None when the merchant gave no ``return``.

    Plain http gets an empty GET unless the simulator allows it (section 2.2 of docs/paytabs.md).
    """
    url = transaction.order.return_url
    if url is None or transaction.result is None:
        return None
    if not (config.allow_plain_http_callbacks or url.startswith("https:")):
        return WayBack(url, "GET", {})
    if transaction.order.return_using_get:
        fields = answers.return_query(transaction, config.server_key)
        return WayBack(_with_query(url, fields), "GET", fields)
    return WayBack(url, "POST", answers.return_form(transaction, config.server_key))


def pages_blueprint(desk: Desk) -> Blueprint:
    """The page's link: GET shows it, POST pays, POST /cancel cancels."""
    pages = Blueprint("pages", __name__, url_prefix="/payment/wr")

    @pages.get("/<page_token>")
    def show(page_token: str) -> BaseResponse:
        with desk.books() as books:
            transaction = books.find_by_page(page_token)
        return _used() if transaction.result else _card_form(desk, transaction, {}, {})

    @pages.post("/<page_token>")
    def pay(page_token: str) -> BaseResponse:
        typed = {name: request.form.get(name, "")[:_FIELD_LENGTH_MAX] for name in _FIELDS}
        with desk.books() as books:
            transaction = books.find_by_page(page_token)
        if transaction.result:
            return _used()
        try:
            presented = _presented(desk, typed)
        except cards.CardRefusedError as refused:
            return _card_form(desk, transaction, typed, refused.problems)
        return _finish(desk, lambda books: books.pay(transaction.tran_ref, presented))

    @pages.post("/<page_token>/cancel")
    def cancel(page_token: str) -> BaseResponse:
        return _finish(desk, lambda books: books.cancel(books.find_by_page(page_token).tran_ref))

    _add_errors(pages)
    return pages


def _add_errors(pages: Blueprint) -> None:
    @pages.errorhandler(NotPossibleNowError)
    def used(_error: NotPossibleNowError) -> BaseResponse:
        return _used()

    @pages.errorhandler(UnknownTransactionError)
    def unknown(_error: UnknownTransactionError) -> BaseResponse:
        text = "Check the link, or go back to the shop and start the payment again."
        return _page("message.html", 404, title="There is no such payment page", text=text)

    @pages.errorhandler(BooksFullError)
    def full(error: BooksFullError) -> BaseResponse:
        return _page("message.html", 503, title="The simulator is full", text=str(error))


def _presented(desk: Desk, typed: dict[str, str]) -> cards.PresentedCard:
    today = desk.clock().date()
    return cards.present(typed["card-number"], typed["expiry"], typed["cvv"], today)


def _finish(desk: Desk, work: Callable[[Books], Transaction]) -> BaseResponse:
    transaction = desk.change(work)
    back = way_back(transaction, desk.config)
    if back is None:
        return _page("result.html", transaction=transaction, amount=_amount(transaction))
    if back.method == "GET":
        return redirect(back.url, 303)
    return _page("return.html", back=back)


def _card_form(
    desk: Desk, transaction: Transaction, typed: dict[str, str], problems: dict[str, str]
) -> BaseResponse:
    return _page(
        "card.html",
        422 if problems else 200,
        transaction=transaction,
        amount=_amount(transaction),
        typed=typed if problems else {},
        problems=problems,
        test_cards=cards.TEST_CARDS,
        test_expiry=cards.default_expiry(desk.clock().date()),
    )


def _used() -> BaseResponse:
    text = "Nothing more can be paid here. To try again, go back to the shop and start over."
    return _page("message.html", 410, title="This page has been used or has expired", text=text)


def _page(template: str, status: int = 200, **values: object) -> Response:
    nonce = secrets.token_urlsafe(16)
    response = Response(render_template(template, nonce=nonce, **values), status)
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}';"
        " base-uri 'none'"
    )
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _amount(transaction: Transaction) -> str:
    order = transaction.order
    return f"{amount_text(order.amount, order.currency)} {order.currency}"


def _with_query(url: str, fields: dict[str, str]) -> str:
    parts = urlsplit(url)
    query = "&".join(filter(None, [parts.query, urlencode(fields)]))
    return urlunsplit(parts._replace(query=query))
