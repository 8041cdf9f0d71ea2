"""A thread on which some followers take their turns (design 4)."""

import threading
import time
from collections.abc import Callable, Sequence

import structlog

from system.turns import POLL_SECONDS, FollowerTurns

log = structlog.get_logger(__name__)

SLOW_TURN_SECONDS = 0.5
"""A follower whose turn takes longer does not keep the others waiting any longer."""


class Lane:
    """Followers that take their turns on one thread: threads of their own would take Python's
    lock from each other with every event. Only when a turn takes long does another thread go on
    with the other followers.

    Args:
        tell: is told when a turn has made a follower's own log longer: its name, and how far the
            log reaches now.
        linger_seconds: how long to wait for more to come after the lane was woken.
    """

    def __init__(
        self,
        followers: Sequence[FollowerTurns],
        tell: Callable[[str, int], None],
        linger_seconds: float,
    ) -> None:
        self.followers = followers
        self._tell = tell
        self._linger_seconds = linger_seconds
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._turn_began: float | None = None
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begins to take turns."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=self._run, name="followers", daemon=True)
        self._threads.append(thread)
        self._turn_began = None
        thread.start()

    def wake(self) -> None:
        """Says that it may be a follower's turn."""
        self._wake.set()

    def stop(self) -> None:
        """Takes no more turns, once those in hand are over."""
        self._stopping.set()
        self._wake.set()

    def join(self) -> None:
        """Returns when the last turn is over."""
        for thread in self._threads:
            thread.join()
        for follower in self.followers:
            follower.finish()

    def relieve(self, now: float) -> None:
        """Lets another thread go on when a turn takes long. The slow one ends with its turn."""
        began = self._turn_began
        if began is not None and now - began > SLOW_TURN_SECONDS:
            log.info("slow_turn", taken=[f.name for f in self.followers if f.is_taken.locked()])
            self.start()
        elif not self._threads[-1].is_alive():
            log.error("followers_began_anew")
            self.start()

    def _is_on_duty(self) -> bool:
        is_newest = threading.current_thread() is self._threads[-1]
        return is_newest and not self._stopping.is_set()

    def _run(self) -> None:
        while self._is_on_duty():
            self._wake.clear()
            if not self._take_turns() and self._is_on_duty():
                self._wake.wait(self._seconds_to_wait())
                self._stopping.wait(self._linger_seconds)
        self._wake.set()

    def _seconds_to_wait(self) -> float:
        now = time.monotonic()
        free = (each for each in self.followers if not each.is_taken.locked())
        return min((each.seconds_to_wait(now) for each in free), default=POLL_SECONDS)

    def _take_turns(self) -> bool:
        """One turn of each follower, except of those whose turn is still taken elsewhere. True
        when one of them took something in."""
        is_busy = False
        for follower in self.followers:
            if not self._is_on_duty():
                break
            if not follower.is_taken.acquire(blocking=False):
                continue
            try:
                is_busy |= self._take_turn(follower)
            finally:
                follower.is_taken.release()
        return is_busy

    def _take_turn(self, follower: FollowerTurns) -> bool:
        reached_before = follower.log_reaches_to
        self._turn_began = time.monotonic()
        has_taken = follower.take()
        if self._is_on_duty():
            self._turn_began = None
        if follower.log_reaches_to > reached_before:
            self._tell(follower.name, follower.log_reaches_to)
        return has_taken
