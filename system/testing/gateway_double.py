"""A gateway in memory with honest books, and switches that make it ill."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from application.payment_gateway import (
    FollowUpRequest,
    HostedPage,
    Outcome,
    PageRequest,
    Succeeded,
    Unknown,
)
from application.ports import Clock
from domain.gateway_report import (
    PROVIDER_PAYTABS,
    GatewayReport,
    TransactionKind,
    TransactionStatus,
    payment_id_of,
)
from domain.money import Money

PARENTS = {
    TransactionKind.REFUND: {TransactionKind.SALE, TransactionKind.CAPTURE},
    TransactionKind.CAPTURE: {TransactionKind.AUTHORIZATION},
    TransactionKind.VOID: {TransactionKind.AUTHORIZATION},
}
"""Whose money each follow-up may move (PayTabs, section 6)."""

MOVED = frozenset({TransactionStatus.AUTHORISED, TransactionStatus.PENDING})
"""Follow-ups whose money is spoken for: done, or waiting to be approved."""

Notify = Callable[[GatewayReport], None]
Meant = Callable[[GatewayReport], bool]
"""Whether a transaction is one of those meant."""
Garble = Callable[[Outcome], Outcome]
"""Turns the true answer into another one."""


@dataclass
class Illness:
    """For the next `calls` calls: what is answered, and whether the thing is done all the same,
    at once or `done_after` a while. `during` runs before the answer comes, and may raise."""

    calls: int
    outcome: Outcome | Garble
    is_done: bool
    done_after: timedelta | None = None
    during: Callable[[], None] | None = None


class GatewayDouble:
    """Behind the `PaymentGateway` port as the real one is; `notify` delivers its callbacks.

    `transactions` are the books, by reference. `follow_up_status` is what becomes of refunds,
    captures and voids that are possible: `AUTHORISED`, or `PENDING` until `decide`, or
    `DECLINED`. `tells_of_follow_ups` sends callbacks for those too, before they are answered.
    """

    name = PROVIDER_PAYTABS

    def __init__(self, clock: Clock, notify: Notify) -> None:
        self._clock = clock
        self.notify = notify
        self._illnesses: list[Illness] = []
        self._later: list[tuple[datetime, Callable[[], object]]] = []
        self._hidden: list[tuple[Meant, datetime]] = []
        self.transactions: dict[str, GatewayReport] = {}
        self.asked: dict[str, Money] = {}
        self.follow_up_status = TransactionStatus.AUTHORISED
        self.tells_of_follow_ups = False

    # What the system does

    def open_page(self, request: PageRequest) -> Outcome:
        """See `PaymentGateway.open_page`."""

        def do() -> Outcome:
            kind = TransactionKind.SALE if request.capture else TransactionKind.AUTHORIZATION
            report = self._record(request.cart_id, kind, TransactionStatus.OPEN, None)
            self.asked[report.transaction_ref] = request.amount
            url = f"https://gateway.example/{report.transaction_ref}"
            return Succeeded(page=HostedPage(report.transaction_ref, url))

        return self._unless_ill(do)

    def query_transaction(self, transaction_ref: str) -> Outcome:
        """See `PaymentGateway.query_transaction`."""

        def do() -> Outcome:
            found = self.transactions.get(transaction_ref)
            return Succeeded(reports=(found,) if found and self._is_shown(found) else ())

        return self._unless_ill(do)

    def query_cart(self, cart_id: str) -> Outcome:
        """See `PaymentGateway.query_cart`."""

        def do() -> Outcome:
            found = [r for r in self.transactions.values() if r.cart_id == cart_id]
            return Succeeded(reports=tuple(r for r in reversed(found) if self._is_shown(r)))

        return self._unless_ill(do)

    def refund(self, request: FollowUpRequest) -> Outcome:
        """See `PaymentGateway.refund`."""
        return self._unless_ill(lambda: self._move(request, TransactionKind.REFUND))

    def capture(self, request: FollowUpRequest) -> Outcome:
        """See `PaymentGateway.capture`."""
        return self._unless_ill(lambda: self._move(request, TransactionKind.CAPTURE))

    def void(self, request: FollowUpRequest) -> Outcome:
        """See `PaymentGateway.void`."""
        return self._unless_ill(lambda: self._move(request, TransactionKind.VOID))

    def _move(self, request: FollowUpRequest, kind: TransactionKind) -> Outcome:
        """Moves money of an earlier transaction, if that has so much left to move."""
        left = self.left_of(request.transaction_ref, kind)
        is_possible = left is not None and request.amount <= left
        report = self._record(
            request.cart_id,
            self._kind_done(request.transaction_ref, kind, request.amount),
            self.follow_up_status if is_possible else TransactionStatus.ERROR,
            request.amount,
            request.transaction_ref,
        )
        if self.tells_of_follow_ups:
            self.notify(report)
        return Succeeded(reports=(report,))

    def _kind_done(
        self, transaction_ref: str, kind: TransactionKind, amount: Money
    ) -> TransactionKind:
        """A void of a part is performed as a release (PayTabs, section 6)."""
        parent = self.transactions.get(transaction_ref)
        is_partial = parent is not None and parent.amount != amount
        return TransactionKind.RELEASE if kind is TransactionKind.VOID and is_partial else kind

    def left_of(self, transaction_ref: str, kind: TransactionKind) -> Money | None:
        """How much of a transaction a follow-up of that kind may still move; None: not at all."""
        parent = self.transactions.get(transaction_ref)
        if parent is None or parent.amount is None or parent.kind not in PARENTS[kind]:
            return None
        if parent.status is not TransactionStatus.AUTHORISED:
            return None
        moved = [
            child.amount
            for child in self.transactions.values()
            if child.previous_ref == transaction_ref
            and child.status in MOVED
            and child.amount is not None
        ]
        return parent.amount - sum(moved, start=parent.amount * 0)

    # What the customer does

    def pay(
        self, payment_id: UUID, *, silently: bool = False, transaction_ref: str | None = None
    ) -> None:
        """The customer pays on the newest page, or on the page `transaction_ref`; `silently`
        loses the callback.

        Raises:
            LookupError: there is no such page.
            ValueError: the page was used before.
        """
        page = self._page(payment_id, transaction_ref)
        status = TransactionStatus.AUTHORISED
        self._settle(page, status, "G12345", "Authorised", silently)

    def decline(
        self, payment_id: UUID, *, silently: bool = False, transaction_ref: str | None = None
    ) -> None:
        """The customer's card is declined; raises as `pay` does."""
        text = "3DSecure authentication rejected"
        page = self._page(payment_id, transaction_ref)
        self._settle(page, TransactionStatus.DECLINED, "310", text, silently)

    def cancel(
        self, payment_id: UUID, *, silently: bool = False, transaction_ref: str | None = None
    ) -> None:
        """The customer presses Cancel; raises as `pay` does."""
        page = self._page(payment_id, transaction_ref)
        self._settle(page, TransactionStatus.CANCELLED, "321", "Cancelled", silently)

    def hold(
        self, payment_id: UUID, *, silently: bool = False, transaction_ref: str | None = None
    ) -> None:
        """The customer pays and the gateway holds it for review: a sale becomes an
        authorization (PayTabs, section 4). Raises as `pay` does."""
        page = self._page(payment_id, transaction_ref)
        page = replace(page, kind=TransactionKind.AUTHORIZATION)
        self._settle(page, TransactionStatus.ON_HOLD, "G12345", "Authorised", silently)

    def defer(
        self, payment_id: UUID, *, silently: bool = False, transaction_ref: str | None = None
    ) -> None:
        """The customer chooses to pay in cash at an agent's; raises as `pay` does."""
        page = self._page(payment_id, transaction_ref)
        page = replace(page, kind=TransactionKind.PAYMENT_REQUEST)
        self._settle(page, TransactionStatus.PENDING, "12624479397955", "Pending", silently)

    def expire(
        self, payment_id: UUID, *, silently: bool = False, transaction_ref: str | None = None
    ) -> None:
        """The page runs out, and the gateway says so; raises as `pay` does."""
        page = self._page(payment_id, transaction_ref)
        self._settle(page, TransactionStatus.EXPIRED, "355", "Transaction expired", silently)

    def lose_in_3ds(
        self, payment_id: UUID, after: timedelta, *, transaction_ref: str | None = None
    ) -> None:
        """The customer gets lost in 3-D Secure: nothing is to be seen until the gateway declines
        it, more than an hour later (PayTabs, section 10). Raises as `pay` does."""
        page = self._page(payment_id, transaction_ref)
        self._require_open(page)
        ref, text = page.transaction_ref, "3DSecure authentication not completed"
        self.hide(lambda report: report.transaction_ref == ref, after)

        def decline() -> None:
            if self.transactions[ref].status is TransactionStatus.OPEN:
                self._settle(page, TransactionStatus.DECLINED, "345", text, silently=False)

        self._later.append((self._clock.now() + after, decline))

    def settle_deferred(self, payment_id: UUID, *, silently: bool = False) -> None:
        """The customer has paid in cash: a new sale that points to the deferred one.

        Raises:
            LookupError: nothing is deferred.
        """
        page = self._waiting(payment_id, TransactionStatus.PENDING)
        sale = self._record_child(page, TransactionKind.SALE, self.asked[page.transaction_ref])
        self._tell(sale, silently)

    def expire_deferred(self, payment_id: UUID, *, silently: bool = False) -> None:
        """The customer never paid in cash; raises as `settle_deferred` does."""
        page = self._waiting(payment_id, TransactionStatus.PENDING)
        self._update(page, TransactionStatus.EXPIRED, "355", "Transaction expired", silently)

    def page_of(self, payment_id: UUID) -> GatewayReport:
        """The newest page of a payment.

        Raises:
            LookupError: it has none.
        """
        pages = self.pages_of(payment_id)
        if not pages:
            raise LookupError(f"payment {payment_id} has no page")
        return pages[-1]

    def pages_of(self, payment_id: UUID) -> list[GatewayReport]:
        """All pages of a payment, oldest first."""
        return [r for r in self.of(payment_id) if r.previous_ref is None]

    def of(self, payment_id: UUID) -> list[GatewayReport]:
        """All transactions of a payment, oldest first."""
        return [r for r in self.transactions.values() if payment_id_of(r.cart_id) == payment_id]

    # What people do in the gateway's dashboard

    def release(
        self, payment_id: UUID, amount: Money | None = None, *, silently: bool = False
    ) -> None:
        """Lets a held payment through, or a part of it: a capture that points to it.

        Raises:
            LookupError: nothing is held.
        """
        held = self._waiting(payment_id, TransactionStatus.ON_HOLD)
        whole = self.asked[held.transaction_ref]
        self._tell(self._record_child(held, TransactionKind.CAPTURE, amount or whole), silently)

    def refund_in_dashboard(self, payment_id: UUID, amount: Money) -> None:
        """Gives money back without PaySaga.

        Raises:
            LookupError: no transaction of the payment has so much left.
        """
        self._move_in_dashboard(payment_id, TransactionKind.REFUND, amount)

    def void_in_dashboard(self, payment_id: UUID, amount: Money) -> None:
        """Lets go of authorized money, or a part of it, without PaySaga; raises as
        `refund_in_dashboard` does."""
        self._move_in_dashboard(payment_id, TransactionKind.VOID, amount)

    def capture_in_dashboard(self, payment_id: UUID, amount: Money) -> None:
        """Takes authorized money, or a part of it, without PaySaga; raises as
        `refund_in_dashboard` does."""
        self._move_in_dashboard(payment_id, TransactionKind.CAPTURE, amount)

    def lapse(self, payment_id: UUID) -> None:
        """The bank lets go of what is still reserved, without a word to anybody."""
        for report in self.of(payment_id):
            if self.left_of(report.transaction_ref, TransactionKind.VOID):
                lapsed = replace(report, status=TransactionStatus.EXPIRED)
                self.transactions[report.transaction_ref] = lapsed

    def _move_in_dashboard(self, payment_id: UUID, kind: TransactionKind, amount: Money) -> None:
        for parent in self.of(payment_id):
            left = self.left_of(parent.transaction_ref, kind)
            if left is not None and amount <= left:
                done = self._kind_done(parent.transaction_ref, kind, amount)
                self.notify(self._record_child(parent, done, amount))
                return
        raise LookupError(f"payment {payment_id} has no {amount} to move")

    def decide(self, transaction_ref: str, *, is_done: bool, silently: bool = False) -> None:
        """Approves or refuses a pending follow-up."""
        status = TransactionStatus.AUTHORISED if is_done else TransactionStatus.DECLINED
        text = "Authorised" if is_done else "Not authorised"
        self._update(self.transactions[transaction_ref], status, "G1", text, silently)

    # What a test does

    def fall_ill(
        self,
        calls: int = 1,
        outcome: Outcome | Garble = Unknown("time-out"),  # noqa: B008
        *,
        is_done: bool = False,
        done_after: timedelta | None = None,
        during: Callable[[], None] | None = None,
    ) -> None:
        """Answers the next `calls` calls with `outcome`, or with what that makes of the true
        answer. What was asked is done only if `is_done`, or later if `done_after`."""
        self._illnesses.append(Illness(calls, outcome, is_done, done_after, during))

    def hide(self, is_meant: Meant, duration: timedelta) -> None:
        """Loses sight of transactions: queries do not find them for a while."""
        self._hidden.append((is_meant, self._clock.now() + duration))

    def recover(self) -> None:
        """Ends every illness."""
        self._illnesses.clear()
        self._hidden.clear()
        self.follow_up_status = TransactionStatus.AUTHORISED

    def next_due_at(self) -> datetime | None:
        """When the next thing happens that was put off by an illness."""
        return min((due_at for due_at, _ in self._later), default=None)

    def catch_up(self) -> None:
        """Does what was put off until now."""
        now = self._clock.now()
        due = [do for due_at, do in self._later if due_at <= now]
        self._later = [(due_at, do) for due_at, do in self._later if due_at > now]
        for do in due:
            do()

    def net_of(self, payment_id: UUID) -> Decimal:
        """What the customer has paid in the end: sales less refunds."""
        moved = [r for r in self.of(payment_id) if r.status is TransactionStatus.AUTHORISED]
        signs = {TransactionKind.SALE: 1, TransactionKind.CAPTURE: 1, TransactionKind.REFUND: -1}
        amounts = (r.amount.amount * signs.get(r.kind, 0) for r in moved if r.amount)
        return sum(amounts, Decimal(0))

    def held_of(self, payment_id: UUID) -> Decimal:
        """What is authorized and neither captured nor let go."""
        refs = [r.transaction_ref for r in self.of(payment_id)]
        left = [self.left_of(ref, TransactionKind.VOID) for ref in refs]
        return sum((money.amount for money in left if money is not None), Decimal(0))

    def _unless_ill(self, do: Callable[[], Outcome]) -> Outcome:
        self.catch_up()
        if not self._illnesses:
            return do()
        illness = self._illnesses[0]
        illness.calls -= 1
        if illness.calls == 0:
            self._illnesses.pop(0)
        if illness.done_after is not None:
            self._later.append((self._clock.now() + illness.done_after, do))
        is_garbled = callable(illness.outcome)
        answer = do() if illness.is_done or is_garbled else None
        if illness.during is not None:
            illness.during()
        if callable(illness.outcome):
            assert answer is not None
            return illness.outcome(answer)
        return illness.outcome

    def _is_shown(self, report: GatewayReport) -> bool:
        now = self._clock.now()
        return not any(now < until and is_meant(report) for is_meant, until in self._hidden)

    def _record(
        self,
        cart_id: str,
        kind: TransactionKind,
        status: TransactionStatus,
        amount: Money | None,
        previous_ref: str | None = None,
    ) -> GatewayReport:
        ref = f"TST{len(self.transactions) + 1:013d}"
        report = GatewayReport(
            transaction_ref=ref,
            kind=kind,
            status=status,
            cart_id=cart_id,
            amount=amount,
            previous_ref=previous_ref,
            occurred_at=self._clock.now(),
        )
        self.transactions[ref] = report
        return report

    def _record_child(
        self, parent: GatewayReport, kind: TransactionKind, amount: Money
    ) -> GatewayReport:
        status = TransactionStatus.AUTHORISED
        return self._record(parent.cart_id, kind, status, amount, parent.transaction_ref)

    def _page(self, payment_id: UUID, transaction_ref: str | None = None) -> GatewayReport:
        if transaction_ref is None:
            return self.page_of(payment_id)
        return self.transactions[transaction_ref]

    def _waiting(self, payment_id: UUID, status: TransactionStatus) -> GatewayReport:
        for report in self.pages_of(payment_id):
            if report.status is status and not self._child_of(report):
                return report
        raise LookupError(f"payment {payment_id} has no page that is still {status}")

    def _child_of(self, parent: GatewayReport) -> GatewayReport | None:
        ref = parent.transaction_ref
        return next((r for r in self.transactions.values() if r.previous_ref == ref), None)

    def _require_open(self, page: GatewayReport) -> None:
        if page.status is not TransactionStatus.OPEN:
            raise ValueError(f"the page {page.transaction_ref} was used before")

    def _settle(
        self, page: GatewayReport, status: TransactionStatus, code: str, text: str, silently: bool
    ) -> None:
        self._require_open(page)
        page = replace(page, amount=self.asked[page.transaction_ref])
        self._update(page, status, code, text, silently)

    def _update(
        self, report: GatewayReport, status: TransactionStatus, code: str, text: str, silently: bool
    ) -> None:
        now = self._clock.now()
        report = replace(report, status=status, code=code, message=text, occurred_at=now)
        self.transactions[report.transaction_ref] = report
        self._tell(report, silently)

    def _tell(self, report: GatewayReport, silently: bool) -> None:
        if not silently:
            self.notify(report)
