"""Runs the system's followers in production: catches up, is woken, survives errors (design 4)."""

import threading
import time
from collections.abc import Callable
from typing import Any

import structlog

from application.event_log import EventLog
from system.applications import Applications
from system.following import BATCH_SIZE, FollowerParking, Following
from system.leadership import HANDED_OVER, Leadership
from system.listener import Hear, Listener
from system.log_tail import LogTail
from system.parking import ParkedEvents
from system.persistence.log_function import Announcement
from system.persistence.postgres import PostgresPersistence
from system.persistence.tables import PARKED
from system.turns import POLL_SECONDS, FollowerTurns

log = structlog.get_logger(__name__)

HEARTBEAT_SECONDS = 2.0
FIRST_HEARTBEAT_SECONDS = 0.2
SLOW_TURN_SECONDS = 0.5
"""A follower whose turn takes longer does not keep the others waiting any longer."""
WATCH_SECONDS = 0.2


class Runner:
    """All followers of a process, which take their turns on one thread: threads of their own
    would take Python's lock from each other with every event. Only when a turn takes long does
    another thread go on with the other followers.

    Args:
        process: names this process for operators.
        batch_size: the most notifications that a follower takes into one transaction.
        linger_ms: how long to wait for more to come after the followers were woken.
    """

    def __init__(
        self,
        applications: Applications,
        persistence: PostgresPersistence,
        listener: Listener,
        process: str,
        *,
        batch_size: int = BATCH_SIZE,
        linger_ms: int = 0,
    ) -> None:
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._linger_seconds = linger_ms / 1000
        self._leadership = Leadership(persistence.conninfo, process)
        tails = {name: LogTail(log_) for name, log_ in applications.by_name.items()}
        self._followers: list[FollowerTurns] = []
        self._followers_of: dict[str, list[FollowerTurns]] = {name: [] for name in tails}
        for follower, leaders in applications.followers():
            parking = FollowerParking(ParkedEvents(persistence, follower.name))
            turns = FollowerTurns(
                [
                    Following(
                        follower,
                        leader,
                        batch_size,
                        parking,
                        tails[leader.name],
                        defers_positions=True,
                    )
                    for leader in leaders
                ],
                parking,
                self._leadership,
                applications.clock,
            )
            self._followers.append(turns)
            for leader in leaders:
                self._followers_of[leader.name].append(turns)
        self._subscribe(listener, applications.by_name)
        self._turn_began: float | None = None
        self._threads: list[threading.Thread] = []
        self._watch = threading.Thread(target=self._watch_over, name="heartbeat", daemon=True)

    def _subscribe(self, listener: Listener, logs: dict[str, EventLog[Any]]) -> None:
        for name, log_ in logs.items():
            if self._followers_of[name]:
                listener.subscribe(channel_of(log_), self._hearing_of(name))
        listener.subscribe(PARKED.channel or "", self._telling(FollowerTurns.look_at_parking))
        listener.subscribe(HANDED_OVER, self._telling(FollowerTurns.ask_for_lead))

    def _hearing_of(self, leader: str) -> Hear:
        def hear(payload: str) -> None:
            self._tell_of(leader, Announcement.read(payload).position)

        return hear

    def _tell_of(self, leader: str, position: int | None) -> None:
        for follower in self._followers_of[leader]:
            if follower.hear(leader, position):
                self._wake.set()

    def _telling(self, note: Callable[[FollowerTurns], None]) -> Hear:
        def hear(_payload: str) -> None:
            for follower in self._followers:
                note(follower)
            self._wake.set()

        return hear

    def start(self) -> None:
        """Starts all followers; each first catches up from its recorded position."""
        self._start_thread()
        self._watch.start()

    def stop(self) -> None:
        """Stops after the batches in hand, and hands the followers over at once."""
        self._stopping.set()
        self._wake.set()
        self._watch.join()
        for thread in self._threads:
            thread.join()
        for follower in self._followers:
            follower.finish()
        self._leadership.close()

    def _start_thread(self) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=self._run, name="followers", daemon=True)
        self._threads.append(thread)
        self._turn_began = None
        thread.start()

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
        free = (each for each in self._followers if not each.is_taken.locked())
        return min((each.seconds_to_wait(now) for each in free), default=POLL_SECONDS)

    def _take_turns(self) -> bool:
        """One turn of each follower, except of those whose turn is still taken elsewhere. True
        when one of them took something in."""
        is_busy = False
        for follower in self._followers:
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
            self._tell_of(follower.name, follower.log_reaches_to)
        return has_taken

    def _watch_over(self) -> None:
        report_at = time.monotonic() + FIRST_HEARTBEAT_SECONDS
        while not self._stopping.wait(WATCH_SECONDS):
            now = time.monotonic()
            self._relieve(now)
            if now >= report_at:
                report_at = now + HEARTBEAT_SECONDS
                self._report()

    def _relieve(self, now: float) -> None:
        """Lets another thread go on when a turn takes long. The slow one ends with its turn."""
        began = self._turn_began
        if began is not None and now - began > SLOW_TURN_SECONDS:
            log.info("slow_turn", taken=[f.name for f in self._followers if f.is_taken.locked()])
            self._start_thread()
        elif not self._threads[-1].is_alive():
            log.error("followers_began_anew")
            self._start_thread()

    def _report(self) -> None:
        active = {f.name: f.active_at for f in self._followers if f.active_at is not None}
        self._leadership.report(active)
        self._leadership.share(len(self._followers))


def channel_of(log_: EventLog[Any]) -> str:
    """The channel on which a log's new events are announced."""
    return f"{log_.name.lower()}_events"
