"""The gateway's books: every transaction and the only places where one changes its state."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from interface.simulator.cards import PresentedCard, Verdict
from interface.simulator.guards import DuplicateGuard
from interface.simulator.identifiers import Identifiers
from interface.simulator.rules import Position, refusal
from interface.simulator.transactions import (
    PAYMENT_REQUEST,
    Attempt,
    Channel,
    Kind,
    Order,
    Result,
    Transaction,
)

CANCELLED = Verdict("C", "321", "Cancelled")
EXPIRED = Verdict("X", "355", "Transaction expired")
LOST_IN_3DS = Verdict("D", "345", "3DSecure authentication not completed")
REFUSED_LATER = Verdict("D", "300", "Not authorised")
AUTHORISED = Verdict("A", None, "Authorised")
REFUND_MODES = {
    "succeed": AUTHORISED,
    "pending": Verdict("P", "600", "Pending"),
    "decline": Verdict("D", "342", "Refund balance exceeded"),
}


class BooksError(Exception):
    """The books refuse; the message says why and what would be possible."""


class UnknownTransactionError(BooksError):
    """No transaction has this reference."""


class DuplicateRequestError(BooksError):
    """The same cart, currency, amount and kind were asked for a moment ago."""


class CurrencyDiffersError(BooksError):
    """A follow-up names another currency than the transaction it follows."""


class NotPossibleNowError(BooksError):
    """The transaction is not in a state that allows this."""


class BooksFullError(BooksError):
    """The simulator holds as many transactions as it was told to."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Money that moved, in major units of one currency."""

    charged: Decimal
    refunded: Decimal


class Books:
    """State machine of transactions: no I/O, no lock, no clock of its own.

    ``on_change`` is told of every new or changed transaction, before the method returns.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], datetime],
        ids: Identifiers,
        duplicate_window_seconds: float = 120,
        page_ttl_minutes: int = 20,
        transactions_max: int = 1_000_000,
        on_change: Callable[[Transaction], None] = lambda _transaction: None,
    ) -> None:
        self._clock = clock
        self._ids = ids
        self._page_ttl_minutes = page_ttl_minutes
        self._transactions_max = transactions_max
        self._on_change = on_change
        self._recent = DuplicateGuard(duplicate_window_seconds)
        self._transactions: dict[str, Transaction] = {}
        self._by_cart: defaultdict[str, list[str]] = defaultdict(list)
        self._by_page: dict[str, str] = {}
        self._followers: defaultdict[str, list[str]] = defaultdict(list)
        self._attempts: defaultdict[str, list[Attempt]] = defaultdict(list)

    def load(self, transactions: Iterable[Transaction], attempts: Iterable[Attempt]) -> None:
        """Take over what an earlier run wrote down, oldest first; nothing is reported."""
        for transaction in transactions:
            self._enter(transaction)
            self._recent.remember(_key(transaction.order), transaction.created_at.timestamp())
        for attempt in attempts:
            self.record_attempt(attempt)

    def open_page(self, order: Order) -> Transaction:
        """A new transaction with a hosted page, waiting for its customer.

        Raises DuplicateRequestError, BooksFullError.
        """
        self._refuse_duplicate(order)
        minutes = order.page_ttl_minutes or self._page_ttl_minutes
        return self._record(
            self._new(
                order,
                Channel.PAGE,
                page_token=self._ids.page_token(),
                page_expires_at=self._clock() + timedelta(minutes=minutes),
            )
        )

    def follow_up(self, order: Order, refund_mode: str = "succeed") -> Transaction:
        """Refund, capture, void or release; a refusal by the rules is a transaction too.

        ``refund_mode``: a key of REFUND_MODES. Raises UnknownTransactionError,
        CurrencyDiffersError, DuplicateRequestError, BooksFullError.
        """
        previous = self.find(order.previous_tran_ref or "")
        if previous.order.currency != order.currency:
            raise CurrencyDiffersError("Invalid currency code")
        self._refuse_duplicate(order)
        return self._follow(previous, order, Channel.API, REFUND_MODES[refund_mode])

    def pay(self, tran_ref: str, presented: PresentedCard) -> Transaction:
        """Use the page with a card. Raises UnknownTransactionError, NotPossibleNowError."""
        transaction = self._unused(tran_ref)
        verdict = presented.verdict
        performed = _performed(transaction.order.kind, verdict.status)
        card = None if verdict.status == "P" else presented.info
        return self._record(
            replace(transaction, result=self._result(verdict), performed=performed, card=card)
        )

    def cancel(self, tran_ref: str) -> Transaction:
        """Press Cancel on the page. Raises UnknownTransactionError, NotPossibleNowError."""
        return self._settle_with(self._unused(tran_ref), CANCELLED)

    def abandon(self, tran_ref: str) -> Transaction:
        """The customer got lost inside 3-D Secure: D 345, found out by the gateway much later."""
        return self._settle_with(self._unused(tran_ref), LOST_IN_3DS)

    def expire(self, tran_ref: str) -> Transaction:
        """End an unused page or a pending payment as if its time were over (X 355)."""
        transaction = self.find(tran_ref)
        if transaction.status is None or self._is_open_payment_request(transaction):
            return self._settle_with(transaction, EXPIRED)
        raise NotPossibleNowError(f"{tran_ref} has the result {transaction.status} already")

    def release_hold(self, tran_ref: str, amount: Decimal | None = None) -> Transaction:
        """The merchant accepts a held payment: a Capture of all of it, or of ``amount``."""
        held = self.find(tran_ref)
        if held.status != "H":
            raise NotPossibleNowError(f"{tran_ref} is not on hold")
        cleared = replace(held, result=self._result(AUTHORISED, held))
        order = _again(held, Kind.CAPTURE, held.order.amount if amount is None else amount)
        if order.amount > held.order.amount:
            raise NotPossibleNowError(f"only {held.order.amount} can be released")
        self._record(cleared)
        return self._follow(cleared, order, Channel.DASHBOARD, AUTHORISED)

    def settle(self, tran_ref: str, *, accepted: bool = True) -> Transaction:
        """End a pending payment (a new Sale follows it) or a pending refund (it changes itself)."""
        pending = self.find(tran_ref)
        if self._is_open_payment_request(pending):
            return self._pay_request(pending) if accepted else self._refuse_request(pending)
        if pending.status == "P" and pending.order.kind is Kind.REFUND:
            verdict = AUTHORISED if accepted else REFUND_MODES["decline"]
            return self._settle_with(pending, verdict)
        raise NotPossibleNowError(f"{tran_ref} is not pending")

    def refund_in_dashboard(self, tran_ref: str, amount: Decimal | None = None) -> Transaction:
        """A refund made by hand, of all that remains or of ``amount``."""
        previous = self.find(tran_ref)
        position = self._position(previous)
        wanted = position.remaining(Kind.REFUND) if amount is None else amount
        objection = refusal(position, Kind.REFUND, wanted)
        if objection or wanted <= 0:
            raise NotPossibleNowError(objection.message if objection else "nothing remains")
        order = _again(previous, Kind.REFUND, wanted)
        return self._follow(previous, order, Channel.DASHBOARD, AUTHORISED)

    def find(self, tran_ref: str) -> Transaction:
        """One transaction by reference. Raises UnknownTransactionError."""
        transaction = self._transactions.get(tran_ref)
        if transaction is None:
            raise UnknownTransactionError(f"There is no transaction {tran_ref}")
        return self._aged(transaction)

    def find_by_page(self, page_token: str) -> Transaction:
        """The transaction behind a page's link. Raises UnknownTransactionError."""
        return self.find(self._by_page.get(page_token, ""))

    def find_by_cart(self, cart_id: str) -> list[Transaction]:
        """All transactions of a cart, newest first."""
        return [self.find(tran_ref) for tran_ref in reversed(self._by_cart.get(cart_id, ()))]

    def all(self) -> list[Transaction]:
        """Every transaction, newest first."""
        return [self._aged(transaction) for transaction in reversed([*self._transactions.values()])]

    def attempts(self, tran_ref: str) -> tuple[Attempt, ...]:
        """The tries to deliver callbacks of a transaction, oldest first."""
        return tuple(self._attempts.get(tran_ref, ()))

    def record_attempt(self, attempt: Attempt) -> None:
        """Note one try to deliver a callback."""
        self._attempts[attempt.tran_ref].append(attempt)

    def _unused(self, tran_ref: str) -> Transaction:
        transaction = self.find(tran_ref)
        if transaction.status is not None or transaction.page_token is None:
            raise NotPossibleNowError(f"The page of {tran_ref} has been used or has expired")
        return transaction

    def _aged(self, transaction: Transaction) -> Transaction:
        until = transaction.page_expires_at
        if transaction.result is not None or until is None or self._clock() < until:
            return transaction
        result = Result(EXPIRED.status, EXPIRED.code or "", EXPIRED.message, until)
        return self._record(replace(transaction, result=result))

    def _pay_request(self, pending: Transaction) -> Transaction:
        paid = self._new(_again(pending, Kind.SALE, pending.order.amount), pending.channel)
        return self._record(replace(paid, result=self._result(AUTHORISED, pending)))

    def _refuse_request(self, pending: Transaction) -> Transaction:
        return self._settle_with(pending, REFUSED_LATER)

    def _is_open_payment_request(self, transaction: Transaction) -> bool:
        return (
            transaction.performed == PAYMENT_REQUEST
            and transaction.status == "P"
            and not self._followers.get(transaction.tran_ref)
        )

    def _follow(
        self, previous: Transaction, order: Order, channel: Channel, verdict: Verdict
    ) -> Transaction:
        position = self._position(previous)
        objection = refusal(position, order.kind, order.amount)
        follower = replace(self._new(order, channel), card=previous.card)
        if objection:
            return self._settle_with(follower, Verdict(*objection))
        if order.kind is Kind.VOID:
            follower = self._void(position, follower)
        applied = verdict if order.kind is Kind.REFUND else AUTHORISED
        return self._settle_with(follower, applied)

    def _void(self, position: Position, follower: Transaction) -> Transaction:
        """A void of the whole ends its auth; a void of a part is performed as a release."""
        previous = position.previous
        if follower.order.amount < previous.order.amount:
            return replace(follower, performed=Kind.RELEASE.shown)
        if previous.result:
            self._record(replace(previous, result=replace(previous.result, status="V")))
        return follower

    def _position(self, previous: Transaction) -> Position:
        followers = [self._transactions[ref] for ref in self._followers.get(previous.tran_ref, ())]
        return Position(
            previous,
            captured=_sum(followers, "Capture"),
            released=_sum(followers, "Release", "Void"),
            refunded=_sum(followers, "Refund"),
        )

    def _new(
        self,
        order: Order,
        channel: Channel,
        page_token: str | None = None,
        page_expires_at: datetime | None = None,
    ) -> Transaction:
        if len(self._transactions) >= self._transactions_max:
            raise BooksFullError("The simulator's books are full; start it with empty ones")
        previous = self._transactions.get(order.previous_tran_ref or "")
        return Transaction(
            tran_ref=next(ref for ref in self._references() if ref not in self._transactions),
            sequence=len(self._transactions) + 1,
            performed=order.kind.shown,
            order=order,
            channel=channel,
            created_at=self._clock(),
            trace=self._ids.trace(),
            acquirer_ref=self._ids.trace("TRAN"),
            root_cart_id=previous.root_cart_id if previous else order.cart_id,
            page_token=page_token,
            page_expires_at=page_expires_at,
        )

    def _references(self) -> Iterator[str]:
        while True:
            yield self._ids.tran_ref()

    def _settle_with(self, transaction: Transaction, verdict: Verdict) -> Transaction:
        return self._record(replace(transaction, result=self._result(verdict)))

    def _result(self, verdict: Verdict, same_code_as: Transaction | None = None) -> Result:
        code = verdict.code
        if same_code_as and same_code_as.result:
            code = same_code_as.result.code
        if code is None:
            pending = verdict.status == "P"
            code = self._ids.agent_reference() if pending else self._ids.approval_code()
        return Result(verdict.status, code, verdict.message, self._clock())

    def _refuse_duplicate(self, order: Order) -> None:
        if not self._recent.admits(_key(order), self._clock().timestamp()):
            raise DuplicateRequestError("Duplicate Request")

    def _record(self, transaction: Transaction) -> Transaction:
        self._enter(transaction)
        self._on_change(transaction)
        return transaction

    def _enter(self, transaction: Transaction) -> None:
        tran_ref, order = transaction.tran_ref, transaction.order
        if tran_ref not in self._transactions:
            self._by_cart[order.cart_id].append(tran_ref)
            if order.previous_tran_ref:
                self._followers[order.previous_tran_ref].append(tran_ref)
            if transaction.page_token:
                self._by_page[transaction.page_token] = tran_ref
        self._transactions[tran_ref] = transaction


def totals(transactions: Iterable[Transaction]) -> Totals:
    """What these transactions took from customers and gave back."""
    lines = list(transactions)
    return Totals(_sum(lines, "Sale", "Capture", statuses="A"), _sum(lines, "Refund", statuses="A"))


def _sum(transactions: Iterable[Transaction], *performed: str, statuses: str = "AP") -> Decimal:
    amounts = (
        item.order.amount
        for item in transactions
        if item.performed in performed and item.status is not None and item.status in statuses
    )
    return sum(amounts, Decimal(0))


def _performed(kind: Kind, status: str) -> str:
    if status == "H":
        return Kind.AUTH.shown
    return PAYMENT_REQUEST if status == "P" else kind.shown


def _again(transaction: Transaction, kind: Kind, amount: Decimal) -> Order:
    return replace(
        transaction.order, kind=kind, amount=amount, previous_tran_ref=transaction.tran_ref
    )


def _key(order: Order) -> tuple[str, str, Decimal, Kind]:
    return (order.cart_id, order.currency, order.amount, order.kind)
