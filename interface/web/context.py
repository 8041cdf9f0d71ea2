"""What the views of one web process share."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from math import ceil, inf
from uuid import UUID

from flask import current_app

from domain.circuit import Circuit, CircuitStatus
from domain.payment import Payment
from domain.payment_terms import PaymentStatus
from interface.settings import Settings
from interface.web.event_streams import EventStreams
from interface.web.event_tail import Feed
from interface.web.incident_limit import IncidentLimit
from interface.web.key_ring import KeyRing
from system.applications import Applications
from system.listener import Listener
from system.payment_finder import PaymentFinder
from system.persistence.contract_queries import ContractQueries
from system.persistence.log_function import Announcement
from system.persistence.payment_queries import PaymentQueries
from system.persistence.postgres import PostgresPersistence
from system.persistence.rate_limits import RateLimits
from system.persistence.saga_queries import SagaQueries
from system.persistence.webhook_queries import WebhookQueries
from system.pulse import Pulse
from system.runner import channel_of

POLL_SECONDS = 0.5
"""How often to look at a payment although nobody said that it changed."""

READ_AGAIN_SECONDS = 5.0
"""How often to look at a breaker although nobody said that it changed."""


class PageWaiter:
    """Waits until payments get their hosted page, woken by the events that other processes
    record."""

    def __init__(self, applications: Applications, listener: Listener) -> None:
        self._payments = applications.payments
        self._lock = threading.Lock()
        self._waiting: defaultdict[str, list[threading.Event]] = defaultdict(list)
        listener.subscribe(channel_of(applications.payments), self._hear)

    @contextmanager
    def watch(self, payment_id: UUID) -> Iterator[Callable[[Payment, float], Payment]]:
        """Hears of the payment from now on, even before it is recorded. Gives a function that
        returns the payment as soon as it is not `initiated` any more, and that is on the disk, or
        as it is after a time-out in seconds."""
        name, changed = str(payment_id), threading.Event()
        with self._lock:
            self._waiting[name].append(changed)
        try:
            yield partial(self._wait, changed)
        finally:
            with self._lock:
                self._waiting[name].remove(changed)
                if not self._waiting[name]:
                    del self._waiting[name]

    def _wait(self, changed: threading.Event, payment: Payment, timeout_seconds: float) -> Payment:
        end = time.monotonic() + timeout_seconds
        while payment.status is PaymentStatus.INITIATED and time.monotonic() < end:
            changed.wait(min(end - time.monotonic(), POLL_SECONDS))
            changed.clear()
            payment = self._payments.get_kept(payment.id)
        return payment

    def _hear(self, payload: str) -> None:
        changed = Announcement.read(payload).changed_ids
        with self._lock:
            names = list(self._waiting) if changed is None else changed
            events = [event for name in names for event in self._waiting.get(name, ())]
        for event in events:
            event.set()


class CircuitBoard:
    """The recorded breakers, read again when something was recorded, and now and then in case
    that was not heard."""

    def __init__(
        self,
        applications: Applications,
        listener: Listener,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._operations = applications.operations
        self._clock = clock
        self._known: dict[str, tuple[float, Circuit.Changed | None]] = {}
        listener.subscribe(channel_of(applications.operations), self._forget)

    def retry_after_seconds(self, name: str) -> int | None:
        """For how long a service is left alone; None when calls are let through, or one may be
        as a trial."""
        latest = self._latest_change(name)
        if latest is None or latest.state is not CircuitStatus.OPEN:
            return None
        if latest.next_retry_time is None:
            return None
        wait = latest.next_retry_time - self._operations.clock.now()
        seconds = ceil(wait.total_seconds())
        return seconds if seconds > 0 else None

    def _latest_change(self, name: str) -> Circuit.Changed | None:
        """What was read before a piece of news goes into the dictionary that the news did away
        with."""
        known, now = self._known, self._clock()
        read_at, latest = known.get(name, (-inf, None))
        if now - read_at >= READ_AGAIN_SECONDS:
            latest = self._operations.latest_change(name)
            known[name] = (now, latest)
        return latest

    def _forget(self, payload: str) -> None:
        if Announcement.read(payload).may_change:
            self._known = {}


@dataclass(frozen=True)
class WebContext:
    """The parts that views use."""

    settings: Settings
    persistence: PostgresPersistence
    applications: Applications
    queries: PaymentQueries
    webhook_queries: WebhookQueries
    finder: PaymentFinder
    saga_queries: SagaQueries
    contract_queries: ContractQueries
    waiter: PageWaiter
    circuits: CircuitBoard
    rate_limits: RateLimits
    key_ring: KeyRing
    secret: bytes
    """The installation's secret: ids derived from idempotency keys cannot be guessed."""
    listener: Listener
    feed: Feed
    streams: EventStreams
    pulse: Pulse
    incident_limit: IncidentLimit = field(default_factory=IncidentLimit)
    """Of notifications that nobody signed."""
    key_incident_limit: IncidentLimit = field(default_factory=IncidentLimit)
    """Of API keys that may not be used."""

    def close(self) -> None:
        """Lets go of the thread and the connections; the app answers no more."""
        self.pulse.stop()
        self.listener.stop()
        self.streams.stop()
        self.applications.close()
        self.persistence.close()


def web() -> WebContext:
    """The context of the app that serves the current request."""
    context = current_app.extensions["paysaga"]
    assert isinstance(context, WebContext)
    return context
