"""A gateway in memory with honest books, and switches that make it ill."""

from collections.abc import Callable
from dataclasses import dataclass, replace
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

Notify = Callable[[GatewayReport], None]


@dataclass
class Illness:
    """For the next `calls` calls: what is answered, and whether the thing is done all the same."""

    calls: int
    outcome: Outcome
    is_done: bool


class GatewayDouble:
    """Behind the `PaymentGateway` port as the real one is; `notify` delivers its callbacks."""

    name = "paytabs"

    def __init__(self, clock: Clock, notify: Notify) -> None:
        self._clock = clock
        self._notify = notify
        self._illnesses: list[Illness] = []
        self.transactions: dict[str, GatewayReport] = {}
        self.asked: dict[str, Money] = {}

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
        found = self.transactions.get(transaction_ref)
        return self._unless_ill(lambda: Succeeded(reports=(found,) if found else ()))

    def query_cart(self, cart_id: str) -> Outcome:
        """See `PaymentGateway.query_cart`."""
        found = [r for r in self.transactions.values() if r.cart_id == cart_id]
        return self._unless_ill(lambda: Succeeded(reports=tuple(reversed(found))))

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
        left = self._left_of(request.transaction_ref, kind)
        is_possible = left is not None and request.amount <= left
        report = self._record(
            request.cart_id,
            kind,
            TransactionStatus.AUTHORISED if is_possible else TransactionStatus.ERROR,
            request.amount,
            request.transaction_ref,
        )
        return Succeeded(reports=(report,))

    def _left_of(self, transaction_ref: str, kind: TransactionKind) -> Money | None:
        parent = self.transactions.get(transaction_ref)
        parents = PARENTS[kind]
        if parent is None or parent.amount is None or parent.kind not in parents:
            return None
        if parent.status is not TransactionStatus.AUTHORISED:
            return None
        moved = [
            child.amount
            for child in self.transactions.values()
            if child.previous_ref == transaction_ref
            and child.status is TransactionStatus.AUTHORISED
            and child.amount is not None
        ]
        return parent.amount - sum(moved, start=parent.amount * 0)

    # What the customer does

    def pay(self, payment_id: UUID, *, silently: bool = False) -> None:
        """The customer pays on the page; `silently` loses the callback."""
        self._settle(payment_id, TransactionStatus.AUTHORISED, "G12345", "Authorised", silently)

    def decline(self, payment_id: UUID, *, silently: bool = False) -> None:
        """The customer's card is declined."""
        text = "3DSecure authentication rejected"
        self._settle(payment_id, TransactionStatus.DECLINED, "310", text, silently)

    def cancel(self, payment_id: UUID, *, silently: bool = False) -> None:
        """The customer presses Cancel."""
        self._settle(payment_id, TransactionStatus.CANCELLED, "321", "Cancelled", silently)

    def page_of(self, payment_id: UUID) -> GatewayReport:
        """The newest page of a payment.

        Raises:
            LookupError: it has none.
        """
        for report in reversed(self.transactions.values()):
            if payment_id_of(report.cart_id) == payment_id and report.previous_ref is None:
                return report
        raise LookupError(f"payment {payment_id} has no page")

    def refund_in_dashboard(self, payment_id: UUID, amount: Money) -> None:
        """Somebody at the merchant's gives money back in the gateway's dashboard."""
        page = self.page_of(payment_id)
        report = self._record(
            page.cart_id,
            TransactionKind.REFUND,
            TransactionStatus.AUTHORISED,
            amount,
            page.transaction_ref,
        )
        self._notify(report)

    # What a test does

    def fall_ill(
        self,
        calls: int = 1,
        outcome: Outcome = Unknown("time-out"),  # noqa: B008
        *,
        is_done: bool = False,
    ) -> None:
        """Answers the next `calls` calls with `outcome`, doing what was asked only if `is_done`."""
        self._illnesses.append(Illness(calls, outcome, is_done))

    def net_of(self, payment_id: UUID) -> Decimal:
        """What the customer has paid in the end: sales less refunds."""
        mine = [r for r in self.transactions.values() if payment_id_of(r.cart_id) == payment_id]
        moved = [r for r in mine if r.status is TransactionStatus.AUTHORISED and r.amount]
        signs = {TransactionKind.SALE: 1, TransactionKind.CAPTURE: 1, TransactionKind.REFUND: -1}
        amounts = (r.amount.amount * signs.get(r.kind, 0) for r in moved if r.amount)
        return sum(amounts, Decimal(0))

    def _unless_ill(self, do: Callable[[], Outcome]) -> Outcome:
        if not self._illnesses:
            return do()
        illness = self._illnesses[0]
        illness.calls -= 1
        if illness.calls == 0:
            self._illnesses.pop(0)
        if illness.is_done:
            do()
        return illness.outcome

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

    def _settle(
        self, payment_id: UUID, status: TransactionStatus, code: str, text: str, silently: bool
    ) -> None:
        page = self.page_of(payment_id)
        if page.status is not TransactionStatus.OPEN:
            raise ValueError(f"the page of payment {payment_id} was used before")
        report = replace(
            page,
            status=status,
            code=code,
            message=text,
            amount=self.asked[page.transaction_ref],
            occurred_at=self._clock.now(),
        )
        self.transactions[page.transaction_ref] = report
        if not silently:
            self._notify(report)
