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
    a listener hangs, further ones are dropped, which is logged.

    Nothing in here waits for a lock: the garbage collector may settle a call, and so deliver, in
    the middle of anything.
    """

    def __init__(self, listeners: Iterable[Listener]) -> None:
        self._listeners = list(listeners)
        self._pending: deque[StateChange] = deque()
        self._dropped: deque[StateChange] = deque(maxlen=PENDING_MAX)
        self._turn = Lock()

    def add(self, listener: Listener) -> None:
        """Adds a listener after those there are."""
        self._listeners.append(listener)

    def enqueue(self, change: StateChange) -> None:
        """Notes a change for the next `deliver`."""
        is_full = len(self._pending) >= PENDING_MAX
        (self._dropped if is_full else self._pending).append(change)

    def deliver(self) -> None:
        """Tells the listeners of every pending change, unless another thread is at it."""
        while self._dropped:
            logger.error("A listener hangs: dropped %s", self._dropped.popleft())
        while self._pending and self._turn.acquire(blocking=False):
            try:
                if self._pending:
                    self._tell(self._pending.popleft())
            finally:
                self._turn.release()

    def _tell(self, change: StateChange) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(change)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:
                logger.exception("Listener %r failed on %s", listener, change)
