"""The log of payments and the commands that clients give to them."""

from dataclasses import dataclass, field
from uuid import UUID

from eventsourcing.persistence import IntegrityError

from application.event_log import EventLog
from application.ports import Clock, Ids, Persistence
from application.vault import Vault
from domain.client import ClientInfo
from domain.keyed_request import IdempotencyKeyReused
from domain.money import Money
from domain.payment import Payment


@dataclass(frozen=True)
class NewPayment:
    """A request for a payment, validated. `fingerprint` is a digest of the request's body."""

    amount: Money
    description: str
    contract_id: str | None = None
    client: ClientInfo | None = None
    payment_method: str = "all"
    capture_method: str = "automatic"
    redirect_url: str | None = None
    callback_url: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    fingerprint: str | None = None


class Payments(EventLog[Payment]):
    """Holds `Payment`."""

    name = "Payments"

    def __init__(self, persistence: Persistence, clock: Clock, ids: Ids, vault: Vault) -> None:
        super().__init__(persistence, clock)
        self.ids = ids
        self.vault = vault

    def initiate(self, request: NewPayment, payment_id: UUID | None = None) -> tuple[Payment, bool]:
        """Records a request for a payment; the saga does the rest.

        A `payment_id` derived from an idempotency key meets the payment that was recorded first.
        Returns the payment, and True when it had been recorded before: then nothing is sealed, so
        that a repeat leaves no trace of a client who was erased meanwhile.

        Raises:
            IdempotencyKeyReused: that payment was asked for with another request.
        """
        if payment_id is not None and request.client is not None and self.history(payment_id):
            return self._recorded_before(payment_id, request), True
        new_id = payment_id or self.ids.uuid()
        payment = Payment.initiate(
            new_id,
            amount=request.amount,
            description=request.description,
            contract_id=request.contract_id,
            client=self.vault.seal_client(new_id, request.client) if request.client else None,
            payment_method=request.payment_method,
            capture_method=request.capture_method,
            redirect_url=request.redirect_url,
            callback_url=request.callback_url,
            merchant_metadata=request.metadata,
            request_fingerprint=request.fingerprint,
        )
        try:
            self.record(payment)
        except IntegrityError:
            return self._recorded_before(new_id, request), True
        return payment, False

    def _recorded_before(self, payment_id: UUID, request: NewPayment) -> Payment:
        payment = self.get_kept(payment_id)
        if payment.request_fingerprint != request.fingerprint:
            raise IdempotencyKeyReused
        return payment

    def cancel(self, payment_id: UUID, reason: str) -> Payment:
        """Cancels a payment; its saga undoes what was done.

        Raises:
            AggregateNotFoundError: there is no such payment.
            InvalidTransition: it is completed, failed or refunded.
        """
        return self.change(payment_id, lambda payment: payment.cancel(reason))

    def capture(self, payment_id: UUID, amount: Money | None) -> Payment:
        """Asks for authorized money to be taken, all of it unless an amount is given.

        Raises:
            AggregateNotFoundError: there is no such payment.
            InvalidTransition: it is not authorized.
            CaptureExceedsAuthorized, CapturePending: see `Payment.request_capture`.
        """
        return self.change(
            payment_id,
            lambda payment: payment.request_capture(payment.amount if amount is None else amount),
        )

    def refund(
        self, payment_id: UUID, refund_id: UUID, amount: Money | None, reason: str | None
    ) -> Payment:
        """Asks for captured money to be given back, all that is left unless an amount is given.

        Raises:
            AggregateNotFoundError: there is no such payment.
            InvalidTransition: nothing of it can be refunded.
            RefundExceedsCaptured: more than is left.
        """

        def ask(payment: Payment) -> None:
            money = payment.amount_refundable if amount is None else amount
            payment.request_refund(refund_id, money, reason)

        return self.change(payment_id, ask)
