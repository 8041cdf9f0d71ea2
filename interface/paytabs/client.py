"""Speaks to PayTabs for PaySaga: the payment gateway behind the port."""

from application.payment_gateway import (
    FollowUpRequest,
    Outcome,
    PageRequest,
    PaymentGateway,
    Refusal,
    Refused,
    Unknown,
)
from domain.gateway_call import FOLLOW_UP_KINDS, Operation
from domain.gateway_report import PROVIDER_PAYTABS
from interface.paytabs.answers import Expected, follow_up_outcome, page_outcome, query_outcome
from interface.paytabs.bodies import UnsendableRequest, follow_up_body, page_body, query_body
from interface.paytabs.config import PayTabsConfig
from interface.paytabs.transport import SessionFactory, Transport

_REQUEST_PATH = "/payment/request"
_QUERY_PATH = "/payment/query"
NOT_SENT = "not_sent"
"""The code of a refusal that is our own: the request breaks a limit of the gateway."""


class PayTabsClient(PaymentGateway):
    """The payment gateway PayTabs. May be shared between threads; never raises for what the
    gateway or the network does."""

    def __init__(
        self, config: PayTabsConfig, *, session_factory: SessionFactory | None = None
    ) -> None:
        self._config = config
        self._transport = Transport(config, session_factory)

    @property
    def name(self) -> str:
        """The provider's name."""
        return PROVIDER_PAYTABS

    def open_page(self, request: PageRequest) -> Outcome:
        """Opens a hosted page (PayTabs, sections 2 and 3.1)."""
        try:
            body = page_body(self._config.profile_id, request)
        except UnsendableRequest as error:
            return _not_sent(error)
        answer = self._transport.post(_REQUEST_PATH, body)
        if isinstance(answer, Unknown):
            return answer
        expected = Expected(cart_id=request.cart_id, amount=request.amount)
        return page_outcome(answer, expected, self._config.is_encrypted)

    def query_transaction(self, transaction_ref: str) -> Outcome:
        """Asks how one transaction stands (PayTabs, section 5)."""
        return self._query("tran_ref", transaction_ref, Expected(transaction_ref=transaction_ref))

    def query_cart(self, cart_id: str) -> Outcome:
        """Asks for all transactions of a cart, newest first (PayTabs, section 5)."""
        return self._query("cart_id", cart_id, Expected(cart_id=cart_id))

    def refund(self, request: FollowUpRequest) -> Outcome:
        """Gives back money of a sale or a capture (PayTabs, section 6)."""
        return self._follow_up(Operation.REFUND, request)

    def capture(self, request: FollowUpRequest) -> Outcome:
        """Takes authorized money (PayTabs, section 6)."""
        return self._follow_up(Operation.CAPTURE, request)

    def void(self, request: FollowUpRequest) -> Outcome:
        """Lets go of authorized money that was not captured (PayTabs, section 6)."""
        return self._follow_up(Operation.VOID, request)

    def close(self) -> None:
        """Closes the connections that are kept open."""
        self._transport.close()

    def _query(self, key: str, value: str, expected: Expected) -> Outcome:
        answer = self._transport.post(_QUERY_PATH, query_body(self._config.profile_id, key, value))
        return answer if isinstance(answer, Unknown) else query_outcome(answer, expected)

    def _follow_up(self, operation: Operation, request: FollowUpRequest) -> Outcome:
        try:
            body = follow_up_body(self._config.profile_id, operation.value, request)
        except UnsendableRequest as error:
            return _not_sent(error)
        answer = self._transport.post(_REQUEST_PATH, body)
        if isinstance(answer, Unknown):
            return answer
        expected = Expected(
            cart_id=request.cart_id,
            amount=request.amount,
            previous_ref=request.transaction_ref,
            kinds=FOLLOW_UP_KINDS[operation],
        )
        return follow_up_outcome(answer, expected)


def _not_sent(error: UnsendableRequest) -> Refused:
    return Refused(Refusal.INVALID_REQUEST, NOT_SENT, str(error))
