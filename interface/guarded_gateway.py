"""The layers around a payment gateway, from outside in: retry, breaker, bulkhead (contract 8)."""

import random
import threading
from collections.abc import Callable

from application.circuit_breaker import (
    CircuitBreakerConfig,
    CircuitOpenError,
    EventDrivenCircuitBreaker,
)
from application.payment_gateway import (
    FollowUpRequest,
    NotAttempted,
    Outcome,
    PageRequest,
    PaymentGateway,
    Refused,
    Unknown,
)
from application.retrying import Retrying
from interface.clock import COMPUTERS_CLOCK, AnyClock
from interface.coming_back import Jitter, wait_ms

BULKHEAD_WAIT_SECONDS = 0.25
"""How long a call waits for a place, so that work put back and taken again does not go in circles.
It counts as the call's own time."""
SOON_MS = 500
"""How soon to ask again when too many calls are under way."""


class _GatewayFailed(Exception):
    """Carries an unknown outcome through the breaker, which counts it as a failure."""

    def __init__(self, outcome: Unknown) -> None:
        self.outcome = outcome
        self.is_timeout = outcome.is_timeout
        super().__init__(outcome.reason)


class _GatewayRefused(Exception):
    """Carries a refusal through the breaker, which counts nothing: it tells of our request, not
    of the gateway. After "too many requests" the breaker pauses for `retry_after_ms`."""

    def __init__(self, outcome: Refused) -> None:
        self.outcome = outcome
        self.retry_after_ms = outcome.retry_after_ms or 0
        super().__init__(outcome.message)


class _BulkheadFull(Exception):
    """As many calls are under way as may be; the breaker counts nothing."""


class GuardedGateway:
    """A gateway behind a breaker. What the gateway did is a success, a decline among it; an
    unknown outcome is a failure; a refusal is neither. Queries are repeated, everything else is
    left to the saga, which asks after it first.
    A call that is not let through raises `NotAttempted`.

    Args:
        calls_max: how many calls may be under way at once (the bulkhead).
    """

    def __init__(
        self,
        gateway: PaymentGateway,
        breaker: EventDrivenCircuitBreaker,
        retrying: Retrying,
        calls_max: int,
        *,
        jitter: Jitter = random.uniform,
    ) -> None:
        self._gateway = gateway
        self.breaker = breaker
        self._retrying = retrying
        self._jitter = jitter
        self._places = threading.BoundedSemaphore(calls_max)

    @property
    def name(self) -> str:
        """See `PaymentGateway.name`."""
        return self._gateway.name

    def open_page(self, request: PageRequest) -> Outcome:
        """See `PaymentGateway.open_page`."""
        return self._guarded(lambda: self._gateway.open_page(request))

    def query_transaction(self, transaction_ref: str) -> Outcome:
        """See `PaymentGateway.query_transaction`."""
        return self._repeated(lambda: self._gateway.query_transaction(transaction_ref))

    def query_cart(self, cart_id: str) -> Outcome:
        """See `PaymentGateway.query_cart`."""
        return self._repeated(lambda: self._gateway.query_cart(cart_id))

    def refund(self, request: FollowUpRequest) -> Outcome:
        """See `PaymentGateway.refund`."""
        return self._guarded(lambda: self._gateway.refund(request))

    def capture(self, request: FollowUpRequest) -> Outcome:
        """See `PaymentGateway.capture`."""
        return self._guarded(lambda: self._gateway.capture(request))

    def void(self, request: FollowUpRequest) -> Outcome:
        """See `PaymentGateway.void`."""
        return self._guarded(lambda: self._gateway.void(request))

    def _repeated(self, ask: Callable[[], Outcome]) -> Outcome:
        return self._retrying(lambda: self._guarded(ask))

    def _guarded(self, ask: Callable[[], Outcome]) -> Outcome:
        try:
            return self.breaker.call(self._within_bulkhead, ask)
        except (_GatewayFailed, _GatewayRefused) as carrier:
            return carrier.outcome
        except _BulkheadFull:
            raise NotAttempted("too many calls are under way", SOON_MS) from None
        except CircuitOpenError as rejection:
            wait = wait_ms(rejection, self.breaker.config, self._jitter)
            raise NotAttempted(rejection.reason, wait) from None

    def _within_bulkhead(self, ask: Callable[[], Outcome]) -> Outcome:
        if not self._places.acquire(timeout=BULKHEAD_WAIT_SECONDS):
            raise _BulkheadFull
        try:
            return _raising(ask())
        finally:
            self._places.release()


def guard(
    gateway: PaymentGateway,
    config: CircuitBreakerConfig,
    retrying: Retrying,
    calls_max: int,
    *,
    clock: AnyClock = COMPUTERS_CLOCK,
    jitter: Jitter = random.uniform,
) -> GuardedGateway:
    """The gateway behind a breaker of its own, which goes by that clock."""
    breaker = EventDrivenCircuitBreaker(
        config,
        clock=clock.monotonic,
        wall_clock=clock.now,
        is_failure=_GatewayFailed,
        is_neutral=(_GatewayRefused, _BulkheadFull),
        is_timeout=lambda _kind, error: isinstance(error, _GatewayFailed) and error.is_timeout,
    )
    return GuardedGateway(gateway, breaker, retrying, calls_max, jitter=jitter)


def _raising(outcome: Outcome) -> Outcome:
    if isinstance(outcome, Unknown):
        raise _GatewayFailed(outcome)
    if isinstance(outcome, Refused):
        raise _GatewayRefused(outcome)
    return outcome
