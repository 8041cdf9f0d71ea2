"""Runs the system's followers in production: catches up, is woken, survives errors (design 4)."""

import threading
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import structlog
from eventsourcing.persistence import IntegrityError

from application.event_log import EventLog
from application.ports import Clock
from system.applications import Applications
from system.following import Following
from system.leadership import Leadership
from system.listener import Listener

log = structlog.get_logger(__name__)

POLL_SECONDS = 2.0
"""How often to look at the logs when nobody says that there is something new."""
TAKE_OVER_SECONDS = 1.0
"""How often to ask whether the process that runs a follower is gone."""
HEARTBEAT_SECONDS = 2.0
FIRST_HEARTBEAT_SECONDS = 0.2
RETRY_DELAY_MAX_SECONDS = 30.0


class FollowerThread:
    """Runs one follower on all the logs it follows, one batch after another."""

    def __init__(
        self,
        followings: Sequence[Following],
        leadership: Leadership,
        clock: Clock,
        stopping: threading.Event,
    ) -> None:
        self.name = followings[0].follower.name
        self.active_at: datetime | None = None
        self._followings = followings
        self._leadership = leadership
        self._clock = clock
        self._stopping = stopping
        self._wake = threading.Event()
        self._failures = 0
        self.thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    def wake(self, _payload: str = "") -> None:
        """Says that there may be something new in a log."""
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            if not self._leadership.acquire(self.name):
                self._stand_by()
                continue
            wait_seconds = self._advance()
            if wait_seconds:
                self._wake.wait(wait_seconds)

    def _stand_by(self) -> None:
        for following in self._followings:
            following.forget_position()
        self._stopping.wait(TAKE_OVER_SECONDS)

    def _advance(self) -> float:
        """Takes in the next batch of each log; returns how long to wait before the next ones."""
        try:
            count = sum(following.advance() for following in self._followings)
        except IntegrityError as conflict:
            log.info("batch_taken_again", follower=self.name, reason=str(conflict))
            return 0.0
        except Exception:
            self._failures += 1
            log.exception("follower_failed", follower=self.name, failures=self._failures)
            self._stopping.wait(min(0.1 * 2**self._failures, RETRY_DELAY_MAX_SECONDS))
            return 0.0
        self._failures = 0
        self.active_at = self._clock.now()
        return 0.0 if count else POLL_SECONDS


class Runner:
    """All followers of a process, each on its own thread. `process` names it for operators."""

    def __init__(
        self, applications: Applications, conninfo: str, listener: Listener, process: str
    ) -> None:
        self._clock = applications.clock
        self._stopping = threading.Event()
        self._leadership = Leadership(conninfo, process)
        self._followers = [
            self._follower_thread([Following(follower, leader) for leader in leaders], listener)
            for follower, leaders in applications.followers()
        ]
        self._heartbeat = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def _follower_thread(
        self, followings: Sequence[Following], listener: Listener
    ) -> FollowerThread:
        thread = FollowerThread(followings, self._leadership, self._clock, self._stopping)
        for following in followings:
            listener.subscribe(channel_of(following.leader), thread.wake)
        return thread

    def start(self) -> None:
        """Starts all followers; each first catches up from its recorded position."""
        for follower in self._followers:
            follower.thread.start()
        self._heartbeat.start()

    def stop(self) -> None:
        """Stops after the batches in hand, and hands the followers over at once."""
        self._stopping.set()
        for follower in self._followers:
            follower.wake()
        for follower in self._followers:
            follower.thread.join()
        self._heartbeat.join()
        self._leadership.close()

    def _beat(self) -> None:
        wait_seconds = FIRST_HEARTBEAT_SECONDS
        while not self._stopping.wait(wait_seconds):
            wait_seconds = HEARTBEAT_SECONDS
            active = {f.name: f.active_at for f in self._followers if f.active_at is not None}
            self._leadership.report(active)


def channel_of(log_: EventLog[Any]) -> str:
    """The channel on which a log's new events are announced."""
    return f"{log_.name.lower()}_events"
