"""Tells listeners of a breaker's transitions in the order they happened, with no lock held."""

import logging
from collections import deque
from collections.abc import Callable, Iterable
from threading import Lock

from application.breaker_values import StateChange

Listener = Callable[[StateChange], object]

PENDING_MAX = 1000

logger = logging.getLogger(__name__)


class Listeners:
    """The listeners of one breaker and the changes they have not been told of yet.

    One thread delivers at a time, so that the order holds; a change that comes meanwhile, from
    another thread or from a listener, is delivered by that thread after the one it is at. An
    error of a listener is logged and hinders nobody. At most `PENDING_MAX` changes wait: while
    a listener hangs, further ones are logged and dropped.
    """

    def __init__(self, listeners: Iterable[Listener]) -> None:
        self._listeners = tuple(listeners)
        self._pending: deque[StateChange] = deque()
        self._lock = Lock()
        self._delivering = False

    def add(self, listener: Listener) -> None:
        """Adds a listener after those there are."""
        with self._lock:
            self._listeners = (*self._listeners, listener)

    def enqueue(self, change: StateChange) -> None:
        """Notes a change for the next `deliver`."""
        with self._lock:
            if len(self._pending) < PENDING_MAX:
                self._pending.append(change)
                return
        logger.error("A listener hangs: dropped %s", change)

    def deliver(self) -> None:
        """Tells the listeners of every pending change, unless another thread is at it."""
        while (change := self._take()) is not None:
            try:
                self._tell(change)
            finally:
                self._delivering = False

    def _take(self) -> StateChange | None:
        with self._lock:
            if self._delivering or not self._pending:
                return None
            self._delivering = True
            return self._pending.popleft()

    def _tell(self, change: StateChange) -> None:
        for listener in self._listeners:
            try:
                listener(change)
            except Exception:
                logger.exception("Listener %r failed on %s", listener, change)
