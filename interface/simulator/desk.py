"""The gateway's front desk: one lock around the books, and the callback that follows a change."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import SystemRandom
from urllib.parse import urlsplit

from interface.simulator import answers
from interface.simulator.behaviour import Behaviour
from interface.simulator.books import Books
from interface.simulator.config import SimulatorConfig
from interface.simulator.guards import RateLimiter
from interface.simulator.identifiers import Identifiers
from interface.simulator.notifier import Delivery, Notifier
from interface.simulator.signing import sign_body
from interface.simulator.store import Store
from interface.simulator.transactions import Attempt, Kind, Order, Transaction

_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A change in the books and the callback that has to follow it, if any."""

    transaction: Transaction
    delivery: Delivery | None


class Desk:
    """Serialises access to the books and plans callbacks; holds no lock while it talks or waits."""

    def __init__(
        self,
        config: SimulatorConfig,
        clock: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self.clock = clock
        self.behaviour = Behaviour()
        self.notifier = Notifier(
            attempts=config.callback_attempts,
            retry_base_seconds=config.callback_retry_base_seconds,
            timeout_seconds=config.callback_timeout_seconds,
            workers=config.callback_workers,
            queue_max=config.callback_queue_max,
            on_attempt=self._note_attempt,
        )
        self._lock = threading.Lock()
        self._store = Store(config.data_path) if config.data_path else None
        self._ids = Identifiers(clock, SystemRandom())
        self._limiter = RateLimiter(config.rate_limit_per_minute, monotonic)
        self._books = Books(
            clock=clock,
            ids=self._ids,
            duplicate_window_seconds=config.duplicate_window_seconds,
            page_ttl_minutes=config.page_ttl_minutes,
            transactions_max=config.transactions_max,
            on_change=self._store.save if self._store else lambda _transaction: None,
        )
        if self._store:
            self._books.load(self._store.transactions(), self._store.attempts())

    @contextmanager
    def books(self) -> Iterator[Books]:
        """The books, locked. Nothing slow may happen inside."""
        with self._lock:
            yield self._books

    def wait_seconds(self) -> float:
        """Count a query or follow-up; above 0 it comes too soon (see RateLimiter)."""
        with self._lock:
            return self._limiter.wait_seconds()

    def trace(self) -> str:
        """A trace for an answer that belongs to no transaction."""
        return self._ids.trace()

    def follow_up(self, order: Order) -> Recorded:
        """Perform a follow-up; its callback is handed back, to be sent before or after answering.

        Raises what Books.follow_up raises.
        """
        with self._lock:
            mode = self.behaviour.take_refund() if order.kind is Kind.REFUND else "succeed"
            return self._planned(self._books.follow_up(order, mode))

    def change(self, work: Callable[[Books], Transaction], *, notify: bool = True) -> Transaction:
        """Change the books and send the callback, if wanted. Raises what ``work`` raises."""
        with self._lock:
            transaction = work(self._books)
            delivery = self._planned(transaction).delivery if notify else None
        self.send(delivery)
        return transaction

    def send(self, delivery: Delivery | None) -> None:
        """Deliver at once when the delivery is awaited, else in the background."""
        if delivery is None:
            return
        if delivery.awaited:
            self.notifier.deliver_now(delivery)
        else:
            self.notifier.submit(delivery)

    def close(self) -> None:
        """Close the data file; the desk cannot be used afterwards."""
        if self._store:
            self._store.close()

    def _planned(self, transaction: Transaction) -> Recorded:
        if not transaction.order.callback:
            return Recorded(transaction, None)
        return Recorded(transaction, self._plan(transaction, transaction.order.callback))

    def _plan(self, transaction: Transaction, url: str) -> Delivery | None:
        plan = self.behaviour.take_outcome()
        if plan.mode == "lost" or not self._is_deliverable(transaction, url):
            return None
        body = self._body(transaction, url, wrong_amount=plan.mode == "wrong_amount")
        return Delivery(
            tran_ref=transaction.tran_ref,
            url=url,
            body=body,
            headers=self._headers(body, wrong_signature=plan.mode == "wrong_signature"),
            delay_seconds=plan.delay_ms / 1000,
            copies=2 if plan.mode == "duplicate" else 1,
            awaited=plan.mode == "before_answer",
        )

    def _body(self, transaction: Transaction, url: str, *, wrong_amount: bool) -> bytes:
        if not (self.config.allow_plain_http_callbacks or url.startswith("https:")):
            return b""
        trace = self._ids.trace("IPNS")
        return answers.callback_body(transaction, trace, self.config, wrong_amount=wrong_amount)

    def _headers(self, body: bytes, *, wrong_signature: bool) -> dict[str, str]:
        key = self.config.server_key + ("-wrong" if wrong_signature else "")
        return {
            "User-Agent": "IPN/1.0",
            "Content-Type": "application/json",
            "Signature": sign_body(key, body),
            "Client-Key": self.config.client_key,
            "Accept-Encoding": "gzip",
        }

    def _is_deliverable(self, transaction: Transaction, url: str) -> bool:
        if self.config.allow_plain_http_callbacks:
            return True
        parts = urlsplit(url)
        if parts.port is None and parts.hostname not in _LOCAL_HOSTS:
            return True
        why = "not sent: PayTabs delivers to public hosts without a port only"
        self._keep(Attempt(transaction.tran_ref, self.clock(), None, why))
        return False

    def _note_attempt(self, tran_ref: str, status: int | None, error: str | None) -> None:
        attempt = Attempt(tran_ref, self.clock(), status, error)
        with self._lock:
            self._keep(attempt)

    def _keep(self, attempt: Attempt) -> None:
        self._books.record_attempt(attempt)
        if self._store:
            self._store.save_attempt(attempt)


def with_public_url(config: SimulatorConfig, url: str) -> SimulatorConfig:
    """The same settings, with ``url`` as the public address unless one is set."""
    return config if config.public_url else replace(config, public_url=url)
