"""Delivers callbacks outside the request that caused them, again and again until answered 200."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import urllib3

logger = logging.getLogger(__name__)

ANSWER_BYTES_MAX = 65_536
STOP_TIMEOUT_SECONDS = 5
_DELIVERED = 200


@dataclass(frozen=True, slots=True)
class Delivery:
    """A callback ready to go: signed bytes and how to send them.

    ``delay_seconds`` counts from its hand-over; ``copies`` is how many times it is sent;
    ``awaited`` asks the caller to deliver it before going on; ``tried`` counts the tries so far.
    """

    tran_ref: str
    url: str
    body: bytes
    headers: dict[str, str]
    delay_seconds: float = 0
    copies: int = 1
    awaited: bool = False
    tried: int = 0


OnAttempt = Callable[[str, int | None, str | None], None]
"""Told of every try: tran_ref, HTTP status or None, what went wrong or None."""


class Notifier:
    """A bounded queue of deliveries with due times, worked off by a bounded pool of threads.

    A delivery that is not answered 200 is repeated, with a doubled wait each time, up to
    ``attempts`` tries in all. Source: PayTabs, section 7.4 of docs/paytabs.md.
    """

    def __init__(
        self,
        *,
        attempts: int,
        retry_base_seconds: float,
        timeout_seconds: float,
        workers: int,
        queue_max: int,
        on_attempt: OnAttempt,
    ) -> None:
        self._attempts = attempts
        self._retry_base_seconds = retry_base_seconds
        self._workers = workers
        self._queue_max = queue_max
        self._on_attempt = on_attempt
        self._http = urllib3.PoolManager(
            maxsize=workers, timeout=urllib3.Timeout(total=timeout_seconds), retries=False
        )
        self._queue: list[tuple[float, int, Delivery]] = []
        self._order = itertools.count()
        self._wake = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._stopping = False

    def submit(self, delivery: Delivery) -> None:
        """Queue every copy of a delivery; a full queue refuses it and notes so."""
        for _copy in range(delivery.copies):
            self._enqueue(delivery, delivery.delay_seconds)

    def deliver_now(self, delivery: Delivery) -> None:
        """Make the first try in the calling thread; further ones are queued as usual."""
        time.sleep(delivery.delay_seconds)
        self._try(delivery)

    def start(self) -> None:
        """Start the pool; what was left in the queue goes on."""
        with self._wake:
            self._stopping = False
            missing = self._workers - len(self._threads)
            fresh = [threading.Thread(target=self._work, daemon=True) for _ in range(missing)]
            self._threads += fresh
        for thread in fresh:
            thread.start()

    def stop(self) -> None:
        """Stop the pool; tries in progress end by themselves."""
        with self._wake:
            self._stopping = True
            threads, self._threads = self._threads, []
            self._wake.notify_all()
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._http.clear()

    def _enqueue(self, delivery: Delivery, delay_seconds: float) -> None:
        with self._wake:
            accepted = len(self._queue) < self._queue_max
            if accepted:
                entry = (time.monotonic() + delay_seconds, next(self._order), delivery)
                heapq.heappush(self._queue, entry)
                self._wake.notify()
        if not accepted:
            logger.warning("callback of %s dropped: the queue is full", delivery.tran_ref)
            self._on_attempt(delivery.tran_ref, None, "not sent: the callback queue is full")

    def _work(self) -> None:
        while (delivery := self._next()) is not None:
            try:
                self._try(delivery)
            except Exception:
                logger.exception("callback of %s failed unexpectedly", delivery.tran_ref)

    def _next(self) -> Delivery | None:
        with self._wake:
            while not self._stopping:
                wait_seconds = self._queue[0][0] - time.monotonic() if self._queue else None
                if wait_seconds is not None and wait_seconds <= 0:
                    return heapq.heappop(self._queue)[2]
                self._wake.wait(wait_seconds)
        return None

    def _try(self, delivery: Delivery) -> None:
        status, error = self._post(delivery)
        self._on_attempt(delivery.tran_ref, status, error)
        tried = delivery.tried + 1
        if status != _DELIVERED and tried < self._attempts:
            self._enqueue(
                replace(delivery, tried=tried), self._retry_base_seconds * 2**delivery.tried
            )

    def _post(self, delivery: Delivery) -> tuple[int | None, str | None]:
        try:
            answer = self._http.request(
                "POST",
                delivery.url,
                body=delivery.body,
                headers=delivery.headers,
                preload_content=False,
                redirect=False,
            )
            self._drain(answer)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as problem:
            logger.info("callback of %s not delivered: %s", delivery.tran_ref, problem)
            return None, type(problem).__name__
        return answer.status, None

    def _drain(self, answer: urllib3.BaseHTTPResponse) -> None:
        if len(answer.read(ANSWER_BYTES_MAX)) < ANSWER_BYTES_MAX:
            answer.release_conn()
        else:
            answer.close()
