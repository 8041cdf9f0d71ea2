"""Finds the payment that a gateway's message speaks of."""

from collections.abc import Callable, Collection
from uuid import UUID

from eventsourcing.application import AggregateNotFoundError

from application.payment_gateway import Unreadable
from application.payments import Payments
from domain.gateway_report import GatewayReport, payment_id_of
from domain.payment import Payment

ByReference = Callable[[Collection[str]], UUID | None]
"""Tells whose payment's transaction at the gateway has one of these references."""


class PaymentFinder:
    """Goes by the cart, or else by a transaction: some methods send no cart, and refunds made in
    the dashboard may bear any (PayTabs, section 10)."""

    def __init__(self, payments: Payments, by_reference: ByReference) -> None:
        self._payments = payments
        self._by_reference = by_reference

    def find(self, said: GatewayReport | Unreadable) -> Payment | None:
        """The payment; None when none is known so far."""
        payment = self._payment(payment_id_of(said.cart_id))
        references = {ref for ref in (said.transaction_ref, said.previous_ref) if ref}
        if payment is not None or not references:
            return payment
        return self._payment(self._by_reference(references))

    def _payment(self, payment_id: UUID | None) -> Payment | None:
        try:
            return self._payments.get(payment_id) if payment_id else None
        except AggregateNotFoundError:
            return None
