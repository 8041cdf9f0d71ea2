"""What people do in a simulated run: customers, merchants, operators, the gateway's own people."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from eventsourcing.application import AggregateNotFoundError

from application.payments import NewPayment
from domain.errors import DomainError, InvalidTransition
from domain.gateway_report import TransactionKind, TransactionStatus
from domain.keyed_request import IdempotencyKeyReused
from domain.money import Money, minor_units, money
from domain.payment import Payment
from tests.simulation import faults
from tests.simulation.contract_kit import AGREED
from tests.simulation.invariants import Broken, require
from tests.simulation.script import Action
from tests.simulation.world import World

LATE_3DS = timedelta(minutes=61)
"""So late at the earliest does the gateway say that nobody came back from 3-D Secure."""
ON_ANY_PAGE = "_any_page"
"""How the names of actions end that may concern a page opened earlier."""


class PeopledWorld(World):
    """A world in which people do what the script says."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.commands: dict[UUID, Callable[[], None]] = {}
        self.requests: dict[UUID, NewPayment] = {}

    # What merchants and operators do

    def act(self, action: Action) -> None:
        """Does what an action says, if it makes sense by now."""
        if action.kind == "create":
            self._create(action)
        elif action.kind == "gateway":
            faults.GATEWAY[action.how](self, action)
        elif action.payment in self.ids:
            try:
                self._do(action, self.ids[action.payment])
            except DomainError as refusal:
                self._check_refusal(refusal, action)
            except (AggregateNotFoundError, LookupError, ValueError):
                return

    def _check_refusal(self, refusal: DomainError, action: Action) -> None:
        if isinstance(refusal, InvalidTransition):
            status = self.system.payment(self.ids[action.payment]).status
            if refusal.current_status != status or status in refusal.allowed_statuses:
                raise Broken(f"a refusal speaks of the wrong statuses: {refusal}")

    def _create(self, action: Action) -> None:
        currency, capture, told = action.how.split()
        decimals = minor_units(currency)
        amount = Decimal(1 + int(action.share * 9999)).scaleb(-decimals)
        request = NewPayment(
            money(str(amount), currency),
            "Tea",
            capture_method=capture,
            callback_url="https://merchant.example.com/told" if told == "told" else None,
            contract_id=AGREED,
            fingerprint="the request's body",
        )
        payment_id = self.ids[action.payment] = self.system.ids.uuid()
        self.requests[payment_id] = request
        self._initiate(payment_id, request)

    def _initiate(self, payment_id: UUID, request: NewPayment) -> tuple[Payment, bool]:
        with self.system.acting("test"):
            return self.system.applications.payments.initiate(request, payment_id)

    def _do_create_again(self, payment_id: UUID, action: Action) -> None:
        """The request comes again with the same idempotency key: it is the same payment. Another
        request with that key is refused."""
        before, request = self.system.payment(payment_id), self.requests[payment_id]
        payment, is_replayed = self._initiate(payment_id, request)
        require(is_replayed and payment.id == payment_id, "a repeated request made a new payment")
        other = replace(request, amount=request.amount * 2, fingerprint="another body")
        with suppress(IdempotencyKeyReused):
            self._initiate(payment_id, other)
            raise Broken("an idempotency key was used for something else")
        is_unchanged = self.system.payment(payment_id).version == before.version
        require(is_unchanged, "a repeated request changed something")

    def _do(self, action: Action, payment_id: UUID) -> None:
        if faults.strike(self, action, payment_id):
            return
        doing = getattr(self, f"_do_{action.kind.removesuffix(ON_ANY_PAGE)}")
        doing(payment_id, action)

    def _command(self, payment_id: UUID, command: Callable[[], None]) -> None:
        """Gives a command; one that is not refused can be repeated later."""
        command()
        self.commands[payment_id] = command

    def _do_cancel(self, payment_id: UUID, action: Action) -> None:
        self._command(payment_id, lambda: self.system.cancel_payment(payment_id))

    def _do_capture(self, payment_id: UUID, action: Action) -> None:
        self._command(payment_id, lambda: self.system.capture_payment(payment_id))

    def _do_capture_part(self, payment_id: UUID, action: Action) -> None:
        amount = part(self.system.payment(payment_id).amount, action.share)
        self._command(payment_id, lambda: self.system.capture_payment(payment_id, amount))

    def _do_refund(self, payment_id: UUID, action: Action) -> None:
        amount = self.system.payment(payment_id).amount_refundable
        self._refund(payment_id, amount if amount.amount else None)

    def _do_refund_part(self, payment_id: UUID, action: Action) -> None:
        self._refund(payment_id, part(self.system.payment(payment_id).amount, action.share))

    def _do_refund_same(self, payment_id: UUID, action: Action) -> None:
        for _ in range(2):
            self._refund(payment_id, part(self.system.payment(payment_id).amount, action.share / 2))

    def _refund(self, payment_id: UUID, amount: Money | None) -> None:
        refund_id = self.system.refund_payment(payment_id, amount)

        def again() -> None:
            with self.system.acting("test"):
                self.system.applications.payments.refund(payment_id, refund_id, amount, None)

        self.commands[payment_id] = again

    def _do_again(self, payment_id: UUID, action: Action) -> None:
        """The newest command that was obeyed comes once more: it is not refused, and it changes
        nothing. Only a capture that came to nothing may be refused, or asked for anew."""
        if payment_id not in self.commands:
            return
        before = self.system.payment(payment_id)
        history = self.system.applications.payments.history(payment_id)
        asked = [e.amount for e in history if isinstance(e, Payment.CaptureRequested)]
        is_in_vain = asked and before.amount_captured != asked[-1] and not before.capture_pending
        try:
            self.commands[payment_id]()
        except DomainError as refusal:
            require(is_in_vain, f"a command that had been obeyed was refused: {refusal}")
        is_new = self.system.payment(payment_id).version != before.version
        require(is_in_vain or not is_new, "a repeated command changed something")

    def _do_retry(self, payment_id: UUID, action: Action) -> None:
        self.system.retry(payment_id)

    def _do_compensate(self, payment_id: UUID, action: Action) -> None:
        self.system.compensate(payment_id)

    def _do_come_back(self, payment_id: UUID, action: Action) -> None:
        self.system.come_back(payment_id)

    def _do_replay_webhook(self, payment_id: UUID, action: Action) -> None:
        rows = self.system.persistence.tables.rows["view_webhooks"]
        known = [id for (id,), row in rows.items() if row["payment_id"] == payment_id]
        if known:
            self.system.replay_webhook(known[int(action.share * len(known))])

    # What customers and the gateway's people do

    def _use(self, doing: Callable[..., None], action: Action, payment_id: UUID) -> None:
        """A customer does something on the newest page, or on any of them. The callback gets
        lost if the page is known to be watched; otherwise somebody is told."""
        pages = self.gateway.pages_of(payment_id)
        is_any = action.kind.endswith(ON_ANY_PAGE)
        ref = pages[int(action.share * len(pages)) if is_any else -1].transaction_ref
        silently = self._is_watched(payment_id) and self._is_silent(action, payment_id)
        doing(payment_id, silently=silently, transaction_ref=ref)

    def _is_silent(self, action: Action, payment_id: UUID) -> bool:
        return action.how == "silently" and self._leave_untold(payment_id)

    def _do_pay(self, payment_id: UUID, action: Action) -> None:
        self._use(self.gateway.pay, action, payment_id)

    def _do_decline(self, payment_id: UUID, action: Action) -> None:
        self._use(self.gateway.decline, action, payment_id)

    def _do_cancel_page(self, payment_id: UUID, action: Action) -> None:
        self._use(self.gateway.cancel, action, payment_id)

    def _do_expire_page(self, payment_id: UUID, action: Action) -> None:
        self._use(self.gateway.expire, action, payment_id)

    def _do_lose_in_3ds(self, payment_id: UUID, action: Action) -> None:
        if payment_id not in self.untold:
            self.out_of_sight.add(payment_id)
            after = LATE_3DS + action.share * LATE_3DS / 2
            self.gateway.lose_in_3ds(payment_id, after)

    def _do_hold(self, payment_id: UUID, action: Action) -> None:
        self._use(self.gateway.hold, action, payment_id)

    def _do_defer(self, payment_id: UUID, action: Action) -> None:
        self._use(self.gateway.defer, action, payment_id)

    def _do_release(self, payment_id: UUID, action: Action) -> None:
        self.gateway.release(payment_id, silently=self._is_silent(action, payment_id))

    def _do_release_part(self, payment_id: UUID, action: Action) -> None:
        amount = part(self.system.payment(payment_id).amount, action.share)
        self.gateway.release(payment_id, amount, silently=self._is_silent(action, payment_id))

    def _do_settle_deferred(self, payment_id: UUID, action: Action) -> None:
        self.gateway.settle_deferred(payment_id, silently=self._is_silent(action, payment_id))

    def _do_expire_deferred(self, payment_id: UUID, action: Action) -> None:
        self.gateway.expire_deferred(payment_id, silently=self._is_silent(action, payment_id))

    def _do_dashboard_refund(self, payment_id: UUID, action: Action) -> None:
        amount = self.system.payment(payment_id).amount
        self.gateway.refund_in_dashboard(payment_id, part(amount, action.share))

    def _do_dashboard_void(self, payment_id: UUID, action: Action) -> None:
        self.gateway.void_in_dashboard(payment_id, self.system.payment(payment_id).amount)

    def _do_dashboard_void_part(self, payment_id: UUID, action: Action) -> None:
        amount = self.system.payment(payment_id).amount
        self.gateway.void_in_dashboard(payment_id, part(amount, action.share))

    def _do_dashboard_capture(self, payment_id: UUID, action: Action) -> None:
        self.gateway.capture_in_dashboard(payment_id, self.system.payment(payment_id).amount)

    def _do_dashboard_capture_part(self, payment_id: UUID, action: Action) -> None:
        amount = part(self.system.payment(payment_id).amount, action.share)
        self.gateway.capture_in_dashboard(payment_id, amount)

    def _do_lapse(self, payment_id: UUID, action: Action) -> None:
        self.gateway.lapse(payment_id)

    def _do_approve(self, payment_id: UUID, action: Action) -> None:
        self._decide(payment_id, action, is_done=True)

    def _do_disapprove(self, payment_id: UUID, action: Action) -> None:
        self._decide(payment_id, action, is_done=False)

    def _decide(self, payment_id: UUID, action: Action, *, is_done: bool) -> None:
        for report in self.gateway.of(payment_id):
            is_pending = report.status is TransactionStatus.PENDING
            if is_pending and report.kind is not TransactionKind.PAYMENT_REQUEST:
                silently = self._is_silent(action, payment_id)
                self.gateway.decide(report.transaction_ref, is_done=is_done, silently=silently)


def part(whole: Money, share: float) -> Money:
    """A part of an amount, at least one minor unit."""
    step = Decimal(1).scaleb(-minor_units(whole.currency.code))
    amount = (whole.amount * Decimal(str(share))).quantize(step)
    return money(max(amount, step), whole.currency.code)
