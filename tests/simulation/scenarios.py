"""Stories of payments, told to any system that has the commands of `SystemUnderTest`."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

from application.confirmations import Delivery
from application.payment_gateway import Refusal, Refused, Unknown
from domain.client import Address, ClientInfo
from domain.gateway_report import GatewayReport, TransactionKind, TransactionStatus
from domain.money import Money, money
from domain.payment import Payment
from domain.payment_saga import PaymentSaga
from system.testing import GatewayDouble, MerchantDouble

CALLBACK_URL = "https://merchant.example.com/told"
CLIENT = ClientInfo(
    name="Sara Omar",
    email="sara@example.com",
    phone="+966500000000",
    address=Address(street="King Rd 1", city="Riyadh", country="SA"),
)
DUPLICATE = Refused(Refusal.DUPLICATE, "4", "Duplicate Request")
NO_BALANCE = Refused(Refusal.INVALID_REQUEST, "342", "No balance")
PART = money("4.00", "SAR")
INVALID = Refused(Refusal.INVALID_REQUEST, "206", "Invalid currency code")
RATE_LIMITED = Refused(Refusal.RATE_LIMITED, "5", "Too many requests", 500)
TIME_OUT = Unknown("time-out")


class System(Protocol):
    """What a story needs: the commands of `SystemUnderTest` that do not move time."""

    gateway: GatewayDouble
    merchant: MerchantDouble

    def create_payment(self, amount: str, currency: str, description: str, **request: Any) -> UUID:
        """See `SystemUnderTest`."""
        ...

    def cancel_payment(self, payment_id: UUID, reason: str = ...) -> None:
        """See `SystemUnderTest`."""
        ...

    def capture_payment(self, payment_id: UUID, amount: Money | None = None) -> None:
        """See `SystemUnderTest`."""
        ...

    def refund_payment(
        self, payment_id: UUID, amount: Money | None = None, reason: str | None = None
    ) -> UUID:
        """See `SystemUnderTest`."""
        ...

    def retry(self, payment_id: UUID, actor: str = ...) -> None:
        """See `SystemUnderTest`."""
        ...

    def compensate(self, payment_id: UUID, actor: str = ...) -> None:
        """See `SystemUnderTest`."""
        ...

    def receive(self, report: GatewayReport) -> UUID:
        """See `SystemUnderTest`."""
        ...

    def replay_webhook(self, webhook_id: UUID, actor: str = ...) -> None:
        """See `SystemUnderTest`."""
        ...

    def come_back(self, payment_id: UUID) -> None:
        """See `SystemUnderTest`."""
        ...

    def run(self) -> None:
        """See `SystemUnderTest`."""
        ...

    def wait(self, duration: timedelta) -> None:
        """See `SystemUnderTest`."""
        ...

    def payment(self, payment_id: UUID) -> Payment:
        """See `SystemUnderTest`."""
        ...

    def saga(self, payment_id: UUID) -> PaymentSaga:
        """See `SystemUnderTest`."""
        ...


Story = Callable[[System], UUID]
SHORTLY = timedelta(seconds=5)
"""Longer than the first few waits after a lost call or a full gateway."""


def new_payment(s: System, **request: Any) -> UUID:
    """A payment of 10.00 SAR whose merchant and client are known."""
    return s.create_payment(
        "10.00", "SAR", "Tea", **{"callback_url": CALLBACK_URL, "client": CLIENT, **request}
    )


def opened(s: System, **request: Any) -> UUID:
    """A payment whose page waits for the customer."""
    payment_id = new_payment(s, **request)
    s.run()
    return payment_id


def paid_report(s: System, payment_id: UUID, **changes: Any) -> GatewayReport:
    """What the gateway would say of the newest page if it had been paid, with `changes`."""
    return replace(
        s.gateway.page_of(payment_id),
        **{
            "status": TransactionStatus.AUTHORISED,
            "amount": money("10.00", "SAR"),
            "code": "G12345",
            "message": "Authorised",
            **changes,
        },
    )


def paid(s: System) -> UUID:
    """The seed flow's good path."""
    payment_id = opened(s)
    s.gateway.pay(payment_id)
    s.run()
    return payment_id


def paid_without_callback_url(s: System) -> UUID:
    """Nobody wants to be told."""
    payment_id = opened(s, callback_url=None, client=None)
    s.gateway.pay(payment_id)
    s.run()
    return payment_id


def declined(s: System) -> UUID:
    """The seed flow's bad path."""
    payment_id = opened(s)
    s.gateway.decline(payment_id)
    s.run()
    return payment_id


def cancelled_by_customer(s: System) -> UUID:
    """The customer presses Cancel on the page."""
    payment_id = opened(s)
    s.gateway.cancel(payment_id)
    s.run()
    return payment_id


def cancelled_before_paying(s: System) -> UUID:
    """The merchant cancels while the page waits for the customer."""
    payment_id = opened(s)
    s.cancel_payment(payment_id)
    s.run()
    return payment_id


def cancelled_before_the_page(s: System) -> UUID:
    """The merchant cancels before the gateway was asked for anything."""
    payment_id = new_payment(s)
    s.cancel_payment(payment_id)
    s.run()
    return payment_id


def paid_after_cancelling(s: System) -> UUID:
    """The customer still had the page of a cancelled payment."""
    payment_id = cancelled_before_paying(s)
    s.gateway.pay(payment_id)
    s.run()
    return payment_id


def refused_by_the_gateway(s: System) -> UUID:
    """The gateway will not open a page."""
    s.gateway.fall_ill(outcome=INVALID)
    return opened(s)


def hanging_gateway(s: System) -> UUID:
    """The page was made, but the answer was lost."""
    s.gateway.fall_ill(outcome=TIME_OUT, is_done=True)
    payment_id = opened(s)
    s.wait(SHORTLY)
    s.gateway.pay(payment_id)
    s.run()
    return payment_id


def duplicate_request(s: System) -> UUID:
    """The gateway says that it has just been asked the same."""
    s.gateway.fall_ill(outcome=DUPLICATE)
    payment_id = opened(s)
    s.wait(SHORTLY)
    s.gateway.pay(payment_id)
    s.run()
    return payment_id


def rate_limited(s: System) -> UUID:
    """The gateway wants to be asked later."""
    s.gateway.fall_ill(outcome=RATE_LIMITED)
    payment_id = opened(s)
    s.wait(SHORTLY)
    s.gateway.pay(payment_id)
    s.run()
    return payment_id


def told_twice(s: System) -> UUID:
    """The same bytes come twice, and the same fact once more in other words."""
    payment_id = paid(s)
    s.receive(s.gateway.page_of(payment_id))
    s.run()
    s.receive(replace(s.gateway.page_of(payment_id), message="Approved"))
    s.run()
    return payment_id


def wrong_amount(s: System) -> UUID:
    """A signed notification speaks of less money than was asked for; then the customer pays."""
    payment_id = opened(s)
    s.receive(paid_report(s, payment_id, amount=money("1.00", "SAR")))
    s.run()
    s.gateway.pay(payment_id)
    s.run()
    return payment_id


def merchant_gone(s: System) -> UUID:
    """The merchant answers 410."""
    s.merchant.answers.append(Delivery(410))
    return paid(s)


def merchant_failing(s: System) -> UUID:
    """The merchant's endpoint fails once; the next attempt is not due yet."""
    s.merchant.answers.append(Delivery(500))
    return paid(s)


def unknown_payment(s: System) -> UUID:
    """A signed notification names a payment that nobody asked for."""
    stranger = UUID("11111111-1111-4111-8111-111111111111")
    payment_id = paid(s)
    page = s.gateway.page_of(payment_id)
    s.receive(replace(page, cart_id=f"{stranger}-a1", transaction_ref="TST9999999999998"))
    s.run()
    return payment_id


def told_too_early(s: System) -> UUID:
    """A notification without a cart comes before its payment, and again when that is known."""
    early = GatewayReport(
        f"TST{len(s.gateway.transactions) + 1:013}",
        TransactionKind.SALE,
        TransactionStatus.DECLINED,
        cart_id="",
        message="Declined",
    )
    s.receive(early)
    s.run()
    payment_id = opened(s)
    s.receive(early)
    s.run()
    return payment_id


def told_again_by_an_operator(s: System) -> UUID:
    """An operator has the saga told again what it knows."""
    payment_id = opened(s)
    s.gateway.pay(payment_id, silently=True)
    webhook_id = s.receive(s.gateway.page_of(payment_id))
    s.run()
    s.replay_webhook(webhook_id)
    s.run()
    return payment_id


def back_before_the_callback(s: System) -> UUID:
    """The customer's browser comes back before the gateway has told us anything."""
    payment_id = opened(s)
    s.come_back(payment_id)
    s.gateway.pay(payment_id)
    s.run()
    return payment_id


def refund_notified(s: System) -> UUID:
    """The gateway notifies of a refund while the page still waits."""
    payment_id = opened(s)
    page = s.gateway.page_of(payment_id)
    s.receive(
        paid_report(
            s,
            payment_id,
            kind=TransactionKind.REFUND,
            previous_ref=page.transaction_ref,
            transaction_ref="TST9999999999999",
        )
    )
    s.run()
    return payment_id


def authorized(s: System) -> UUID:
    """The customer has authorized the amount; the merchant has not taken it."""
    payment_id = opened(s, capture_method="manual")
    s.gateway.pay(payment_id)
    s.run()
    return payment_id


def captured(s: System) -> UUID:
    """The merchant takes all of what was authorized."""
    payment_id = authorized(s)
    s.capture_payment(payment_id)
    s.run()
    return payment_id


def captured_in_part(s: System) -> UUID:
    """The merchant takes less than was authorized; the rest is let go."""
    payment_id = authorized(s)
    s.capture_payment(payment_id, PART)
    s.run()
    return payment_id


def capture_refused(s: System) -> UUID:
    """The gateway will not take the money, and does when it is asked again."""
    payment_id = authorized(s)
    s.gateway.fall_ill(outcome=INVALID)
    s.capture_payment(payment_id)
    s.run()
    s.capture_payment(payment_id)
    s.run()
    return payment_id


def cancelled_when_authorized(s: System) -> UUID:
    """The merchant lets an authorization go."""
    payment_id = authorized(s)
    s.cancel_payment(payment_id)
    s.run()
    return payment_id


def refunded(s: System) -> UUID:
    """The merchant gives everything back."""
    payment_id = paid(s)
    s.refund_payment(payment_id, reason="broken")
    s.run()
    return payment_id


def refunded_in_part(s: System) -> UUID:
    """The merchant gives a part of a captured payment back."""
    payment_id = captured(s)
    s.refund_payment(payment_id, PART)
    s.run()
    return payment_id


def refund_refused(s: System) -> UUID:
    """The gateway will not give the money back."""
    payment_id = paid(s)
    s.gateway.fall_ill(outcome=NO_BALANCE)
    s.refund_payment(payment_id)
    s.run()
    return payment_id


def refunded_in_dashboard(s: System) -> UUID:
    """Somebody gives money back in the gateway's dashboard."""
    payment_id = paid(s)
    s.gateway.refund_in_dashboard(payment_id, PART)
    s.run()
    return payment_id


def parked(s: System) -> UUID:
    """Late money that the gateway will not give back; a person has to look."""
    payment_id = cancelled_before_paying(s)
    s.gateway.fall_ill(outcome=NO_BALANCE)
    s.gateway.pay(payment_id)
    s.run()
    return payment_id


def resumed(s: System) -> UUID:
    """An operator lets a parked saga try again, and the money goes back."""
    payment_id = parked(s)
    s.retry(payment_id)
    s.run()
    return payment_id


SEED_STORIES: tuple[Story, ...] = (
    paid,
    paid_without_callback_url,
    declined,
    cancelled_by_customer,
    cancelled_before_paying,
    cancelled_before_the_page,
    paid_after_cancelling,
    refused_by_the_gateway,
    told_twice,
    wrong_amount,
    merchant_gone,
    merchant_failing,
    unknown_payment,
    told_too_early,
    told_again_by_an_operator,
    back_before_the_callback,
    refund_notified,
    captured,
    captured_in_part,
    capture_refused,
    cancelled_when_authorized,
    refunded,
    refunded_in_part,
    refund_refused,
    refunded_in_dashboard,
    resumed,
)
"""Stories in which no time has to pass."""

SLOW_STORIES: tuple[Story, ...] = (hanging_gateway, duplicate_request, rate_limited)
"""Stories in which the saga waits a few seconds."""
