"""Moves the clock over the simulator's books, with references made from a seed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random

import pytest

from interface.simulator.books import (
    Books,
    BooksFullError,
    DuplicateRequestError,
    NotPossibleNowError,
    UnknownTransactionError,
)
from interface.simulator.cards import present
from interface.simulator.guards import DuplicateGuard, RateLimiter
from interface.simulator.identifiers import Identifiers
from interface.simulator.transactions import Kind, Order, Transaction

ORDER = Order(Kind.SALE, "ECom", "ORD-1", "Order 1", "SAR", Decimal("100.00"))
CARD = present("4111111111111111", "12/30", "123", date(2026, 7, 20))


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 7, 20, 9, 15, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def books_at(clock: Clock, seed: int = 1, **settings: object) -> Books:
    return Books(clock=clock, ids=Identifiers(clock, Random(seed)), **settings)  # type: ignore[arg-type]


def test_references_have_the_shapes_of_paytabs(clock: Clock) -> None:
    page = books_at(clock).open_page(ORDER)
    assert page.tran_ref.startswith("TST26201")
    assert len(page.tran_ref) == 16
    assert page.trace.startswith("PMNT0201.6A5DE720.")
    assert page.acquirer_ref.startswith("TRAN0201.")
    assert page.page_token is not None
    assert len(page.page_token) == 56


def test_the_same_seed_gives_the_same_history(clock: Clock) -> None:
    first, second = books_at(clock), books_at(clock)
    for books in (first, second):
        books.pay(books.open_page(ORDER).tran_ref, CARD)
    assert first.all() == second.all()
    assert first.all() != books_at(clock, seed=2).all()


def test_an_unused_page_ends_when_its_time_is_over(clock: Clock) -> None:
    books = books_at(clock)
    short = books.open_page(replace(ORDER, page_ttl_minutes=1))
    usual = books.open_page(replace(ORDER, cart_id="ORD-2"))
    clock.pass_seconds(60)
    ended = books.find(short.tran_ref)
    assert ended.result is not None
    assert (ended.result.status, ended.result.code) == ("X", "355")
    assert ended.result.at == short.page_expires_at
    assert books.find(usual.tran_ref).status is None
    with pytest.raises(NotPossibleNowError, match="has expired"):
        books.pay(short.tran_ref, CARD)
    clock.pass_seconds(19 * 60)
    assert [item.status for item in books.all()] == ["X", "X"]


def test_a_cart_may_be_paid_again_after_the_window(clock: Clock) -> None:
    books = books_at(clock)
    books.open_page(ORDER)
    clock.pass_seconds(119)
    with pytest.raises(DuplicateRequestError):
        books.open_page(ORDER)
    clock.pass_seconds(1)
    books.open_page(ORDER)
    assert len(books.find_by_cart("ORD-1")) == 2


def test_every_change_is_reported_once(clock: Clock) -> None:
    changes: list[Transaction] = []
    books = books_at(clock, on_change=changes.append)
    auth = books.open_page(replace(ORDER, kind=Kind.AUTH)).tran_ref
    books.pay(auth, CARD)
    books.follow_up(replace(ORDER, kind=Kind.VOID, previous_tran_ref=auth, cart_id="v"))
    assert [(item.performed, item.status) for item in changes] == [
        ("Auth", None),
        ("Auth", "A"),
        ("Auth", "V"),
        ("Void", "A"),
    ]


def test_books_read_back_are_the_same_books(clock: Clock) -> None:
    changes: list[Transaction] = []
    books = books_at(clock, on_change=changes.append)
    sale = books.pay(books.open_page(ORDER).tran_ref, CARD).tran_ref
    books.follow_up(replace(ORDER, kind=Kind.REFUND, previous_tran_ref=sale, cart_id="r"))
    again = books_at(clock, seed=2)
    again.load({item.tran_ref: item for item in changes}.values(), [])
    assert again.all() == books.all()
    with pytest.raises(NotPossibleNowError, match="remains"):
        again.refund_in_dashboard(sale, Decimal(1))
    with pytest.raises(DuplicateRequestError):
        again.open_page(ORDER)


def test_a_verified_card_is_no_payment(clock: Clock) -> None:
    books = books_at(clock)
    verified = books.pay(books.open_page(replace(ORDER, kind=Kind.REGISTER)).tran_ref, CARD)
    assert (verified.performed, verified.status) == ("Register", "A")
    with pytest.raises(NotPossibleNowError, match="not possible on Register"):
        books.refund_in_dashboard(verified.tran_ref)


def test_full_books_take_no_more(clock: Clock) -> None:
    books = books_at(clock, transactions_max=1)
    books.open_page(ORDER)
    with pytest.raises(BooksFullError):
        books.open_page(replace(ORDER, cart_id="ORD-2"))


def test_what_is_not_in_the_books_is_unknown(clock: Clock) -> None:
    books = books_at(clock)
    for look in (books.find, books.find_by_page, books.cancel, books.settle):
        with pytest.raises(UnknownTransactionError):
            look("TST0000000000000")


def test_the_duplicate_guard_forgets_in_the_order_of_time() -> None:
    guard = DuplicateGuard(window_seconds=10)
    guard.remember("a", 0)
    guard.remember("b", 1)
    guard.remember("a", 8)
    assert guard.admits("b", 11)
    assert not guard.admits("a", 11)


def test_the_rate_limiter_allows_so_many_in_any_minute() -> None:
    now = [0.0]
    limiter = RateLimiter(2, lambda: now[0])
    assert [limiter.wait_seconds(), limiter.wait_seconds()] == [0, 0]
    now[0] = 45
    assert limiter.wait_seconds() == 15
    now[0] = 60
    assert limiter.wait_seconds() == 0
