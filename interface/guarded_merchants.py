"""The layers around merchants' endpoints: for each host a share of the places, then a breaker, so
that dead hosts hold up nobody's confirmations but their own (contract 8)."""

import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from application.breaker_values import NAME_LENGTH_MAX
from application.circuit_breaker import (
    CircuitBreakerConfig,
    CircuitOpenError,
    EventDrivenCircuitBreaker,
)
from application.confirmations import Delivery, MerchantNotifier
from application.payment_gateway import NotAttempted
from interface.callback_address import AddressRefused, CallbackAddress
from interface.clock import COMPUTERS_CLOCK, AnyClock
from interface.coming_back import Jitter, wait_ms

PREFIX = "callback:"
HOSTS_MAX = 256
"""How many hosts have a breaker in one process; the one longest not called gives way."""
PROMPT_SECONDS = 2.0
"""Who answers within this is prompt, whatever the answer."""
TARDY_PLACES = 2
"""How many messages may be under way to a host that is not known to be prompt."""
SLOT_SECONDS_MIN = 0.01
SLOT_SECONDS_MAX = 1.0
PAUSE_SECONDS_MAX = 30.0

CIRCUIT_OPEN = "circuit_open"
HOST_BUSY = "host_busy"


class KeepsInStep(Protocol):
    """Records what breakers go through and brings them what others recorded."""

    def add(self, breaker: EventDrivenCircuitBreaker) -> None:
        """Keeps a breaker in step from now on."""
        ...

    def remove(self, breaker: EventDrivenCircuitBreaker) -> None:
        """Lets go of a breaker."""
        ...


class _HostFailed(Exception):
    """Carries an attempt that the breaker counts as a failure: no answer, or a 5xx."""

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        self.retry_after_ms = 0.0
        super().__init__(delivery.error or f"HTTP {delivery.status_code}")


class _HostRefused(_HostFailed):
    """Carries an attempt that says nothing about the host's health: it answers, but does not take
    the message. After a 429 with `Retry-After` the breaker pauses for `retry_after_ms`."""

    def __init__(self, delivery: Delivery) -> None:
        super().__init__(delivery)
        if delivery.status_code == 429 and delivery.retry_after:
            self.retry_after_ms = delivery.retry_after / timedelta(milliseconds=1)


@dataclass
class _Host:
    """One host. `free_at` is when the next message that is turned away may come back: they come
    back one by one, at the pace at which the host answers."""

    breaker: EventDrivenCircuitBreaker
    under_way: int = 0
    is_prompt: bool = False
    answer_seconds: float = 0.0
    free_at: float = 0.0


class GuardedMerchants:
    """Sends through a breaker per host. A message that is not let through raises `NotAttempted`.

    A host that was prompt the last time may use half of all places. One that was not, or was not
    called yet, may use `TARDY_PLACES`, and all such hosts together half: the other half of the
    places is always there for hosts that work.

    Args:
        config_for: the settings of a breaker by its name.
        places: how many messages may be under way at once (the threads of the dispatcher).
        clock: monotonic seconds, by which it is judged who is prompt.
        breakers_clock: what the breakers go by.
    """

    def __init__(
        self,
        notifier: MerchantNotifier,
        config_for: Callable[[str], CircuitBreakerConfig],
        circuits: KeepsInStep,
        *,
        places: int,
        clock: Callable[[], float] = time.monotonic,
        breakers_clock: AnyClock = COMPUTERS_CLOCK,
        jitter: Jitter = random.uniform,
    ) -> None:
        self._notifier = notifier
        self._config_for = config_for
        self._circuits = circuits
        self._half = max(places // 2, 1)
        self._clock = clock
        self._breakers_clock = breakers_clock
        self._jitter = jitter
        self._lock = threading.Lock()
        self._hosts: OrderedDict[str, _Host] = OrderedDict()
        self._tardy_under_way = 0

    def send(self, url: str, message_id: str, body: bytes, sent_at: datetime) -> Delivery:
        """See `application.confirmations.MerchantNotifier.send`.

        Raises:
            NotAttempted: the host's breaker is open, or too many messages to it are under way.
        """
        try:
            name = breaker_name(CallbackAddress.of(url).host)
        except AddressRefused as refusal:
            return Delivery(None, str(refusal))
        host = self._host(name)
        with self._place(host):
            return self._guarded(host, lambda: self._notifier.send(url, message_id, body, sent_at))

    def _guarded(self, host: _Host, send: Callable[[], Delivery]) -> Delivery:
        try:
            return host.breaker.call(self._timed, host, send)
        except _HostFailed as carrier:
            return carrier.delivery
        except CircuitOpenError as rejection:
            wait = wait_ms(rejection, host.breaker.config, self._jitter)
            raise NotAttempted(CIRCUIT_OPEN, wait + self._pause_ms(host)) from None

    def _timed(self, host: _Host, send: Callable[[], Delivery]) -> Delivery:
        began = self._clock()
        delivery = send()
        seconds = self._clock() - began
        with self._lock:
            host.answer_seconds = (host.answer_seconds + seconds) / 2
            host.is_prompt = delivery.status_code is not None and seconds <= PROMPT_SECONDS
        return _raising(delivery)

    @contextmanager
    def _place(self, host: _Host) -> Iterator[None]:
        with self._lock:
            is_tardy = not host.is_prompt
            is_free = self._has_place(host)
            if is_free:
                host.under_way += 1
                self._tardy_under_way += is_tardy
        if not is_free:
            raise NotAttempted(HOST_BUSY, self._pause_ms(host))
        try:
            yield
        finally:
            with self._lock:
                host.under_way -= 1
                self._tardy_under_way -= is_tardy

    def _has_place(self, host: _Host) -> bool:
        if host.is_prompt:
            return host.under_way < self._half
        return host.under_way < min(TARDY_PLACES, self._half) and self._tardy_under_way < self._half

    def _pause_ms(self, host: _Host) -> int:
        with self._lock:
            now = self._clock()
            slot = min(max(host.answer_seconds / self._half, SLOT_SECONDS_MIN), SLOT_SECONDS_MAX)
            host.free_at = max(host.free_at, now) + slot
            return round(min(host.free_at - now, PAUSE_SECONDS_MAX) * 1000)

    def _host(self, name: str) -> _Host:
        with self._lock:
            host = self._hosts.get(name)
            if host is not None:
                self._hosts.move_to_end(name)
                return host
            host = self._hosts[name] = _Host(self._breaker(name))
            dropped = self._drop_one() if len(self._hosts) > HOSTS_MAX else None
        self._circuits.add(host.breaker)
        if dropped is not None:
            self._circuits.remove(dropped.breaker)
        return host

    def _breaker(self, name: str) -> EventDrivenCircuitBreaker:
        return EventDrivenCircuitBreaker(
            self._config_for(name),
            clock=self._breakers_clock.monotonic,
            wall_clock=self._breakers_clock.now,
            is_failure=_HostFailed,
            is_neutral=_HostRefused,
        )

    def _drop_one(self) -> _Host | None:
        """The host longest not called; rather one whose breaker is closed. None while all others
        are being called, of which there are never more than places."""
        *idle, _newest = (name for name, host in self._hosts.items() if not host.under_way)
        closed = [name for name in idle if self._hosts[name].breaker.closed]
        return self._hosts.pop((closed or idle)[0]) if idle else None


def breaker_name(host: str) -> str:
    """The name of the breaker before a host; of a very long name the end, which is whose it is."""
    return PREFIX + host[-(NAME_LENGTH_MAX - len(PREFIX)) :]


def _raising(delivery: Delivery) -> Delivery:
    if delivery.status_code is None or delivery.status_code >= 500:
        raise _HostFailed(delivery)
    if not delivery.is_success:
        raise _HostRefused(delivery)
    return delivery
