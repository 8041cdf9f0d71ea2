"""Runs the system's followers in production: catches up, is woken, survives errors (design 4)."""

import threading
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from eventsourcing.persistence import IntegrityError

from application.event_log import EventLog
from application.ports import Clock
from system.applications import Applications
from system.following import (
    BATCH_SIZE,
    INFRASTRUCTURE_ERRORS,
    FollowerParking,
    Following,
)
from system.leadership import HANDED_OVER, Leadership
from system.listener import Listener
from system.parking import ParkedEvent, ParkedEvents
from system.persistence.postgres import PostgresPersistence
from system.persistence.tables import PARKED

log = structlog.get_logger(__name__)

POLL_SECONDS = 2.0
"""How often to look at the logs when nobody says that there is something new."""
TAKE_OVER_SECONDS = 1.0
"""How often to ask whether the process that runs a follower is gone."""
HEARTBEAT_SECONDS = 2.0
FIRST_HEARTBEAT_SECONDS = 0.2
RETRY_DELAY_SECONDS = 0.1
CONFLICT_DELAY_SECONDS = 0.005
RETRY_DELAY_MAX_SECONDS = 30.0
RETRY_DOUBLINGS_MAX = 10


class FollowerThread:
    """Runs one follower on all the logs it follows, one batch after another."""

    def __init__(
        self,
        followings: Sequence[Following],
        parking: FollowerParking,
        leadership: Leadership,
        clock: Clock,
        stopping: threading.Event,
        linger_seconds: float,
    ) -> None:
        self.name = followings[0].follower.name
        self.active_at: datetime | None = None
        self._followings = {following.leader.name: following for following in followings}
        self._parking = parking
        self._linger_seconds = linger_seconds
        self._is_patient = followings[0].follower.linger_ms > 0
        self._full_batch = min(following.batch_size for following in followings)
        self._leadership = leadership
        self._clock = clock
        self._stopping = stopping
        self._wake = threading.Event()
        self._failures = 0
        self._conflicts = 0
        self.thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    def wake(self, _payload: str = "") -> None:
        """Says that there may be something new in a log."""
        self._wake.set()

    def look_at_parking(self, _payload: str = "") -> None:
        """Says that an operator may have released parked events."""
        self._parking.forget()
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            if self._stopping.is_set():
                return
            if not self._leadership.acquire(self.name):
                self._stand_by()
                continue
            wait_seconds = self._advance()
            if wait_seconds:
                self._wake.wait(wait_seconds)
                self._stopping.wait(self._linger_seconds)

    def _stand_by(self) -> None:
        for following in self._followings.values():
            following.forget_position()
        self._parking.forget()
        self._wake.wait(TAKE_OVER_SECONDS)

    def _advance(self) -> float:
        """Takes in the next batch of each log; returns how long to wait before the next ones."""
        try:
            count = self._take_in_new() + self._take_in_released()
        except IntegrityError as conflict:
            self._conflicts += 1
            log.info("batch_taken_again", follower=self.name, reason=str(conflict))
            self._back_off(CONFLICT_DELAY_SECONDS, self._conflicts)
            return 0.0
        except Exception:
            self._failures += 1
            log.exception("follower_failed", follower=self.name, failures=self._failures)
            self._back_off(RETRY_DELAY_SECONDS, self._failures)
            return 0.0
        self._failures = self._conflicts = 0
        self.active_at = self._clock.now()
        is_behind = count >= (self._full_batch if self._is_patient else 1)
        return 0.0 if is_behind else POLL_SECONDS

    def _back_off(self, base_seconds: float, times: int) -> None:
        delay_seconds = base_seconds * 2 ** min(times, RETRY_DOUBLINGS_MAX)
        self._stopping.wait(min(delay_seconds, RETRY_DELAY_MAX_SECONDS))

    def _take_in_new(self) -> int:
        """Takes in the next batch of each log. As long as there is a backlog in one log the logs
        after it are left alone: what is in them may follow from what is still to be read."""
        count = 0
        for following in self._followings.values():
            taken = following.advance()
            count += taken
            if taken >= following.batch_size:
                break
        return count

    def _take_in_released(self) -> int:
        """Takes in parked events that an operator released, in order and payment by payment."""
        if not self._parking.payments:
            return 0
        failed: set[UUID] = set()
        released = self._parking.store.ready()
        for parked in released:
            if parked.payment_id not in failed and not self._take_in_parked(parked):
                failed.add(parked.payment_id)
        if released:
            self._parking.forget()
        return len(released)

    def _take_in_parked(self, parked: ParkedEvent) -> bool:
        try:
            self._followings[parked.leader].take_in_parked(parked)
        except (IntegrityError, *INFRASTRUCTURE_ERRORS):
            raise
        except Exception as error:
            log.exception("parked_event_failed_again", parked_id=str(parked.parked_id))
            self._parking.store.hold(parked, f"{type(error).__name__}: {error}")
            return False
        log.info("parked_event_taken_in", parked_id=str(parked.parked_id))
        return True


class Runner:
    """All followers of a process, each on its own thread.

    Args:
        process: names this process for operators.
        batch_size: the most notifications that a follower takes into one transaction.
        linger_ms: how long a woken follower waits for more to come before it reads.
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
        self._clock = applications.clock
        self._stopping = threading.Event()
        self._leadership = Leadership(persistence.conninfo, process)
        self._followers: list[FollowerThread] = []
        for follower, leaders in applications.followers():
            parking = FollowerParking(ParkedEvents(persistence, follower.name))
            followings = [Following(follower, log_, batch_size, parking) for log_ in leaders]
            thread = FollowerThread(
                followings,
                parking,
                self._leadership,
                self._clock,
                self._stopping,
                max(linger_ms, follower.linger_ms) / 1000,
            )
            self._followers.append(thread)
            self._subscribe(thread, leaders, listener)
        self._heartbeat = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def _subscribe(
        self, thread: FollowerThread, leaders: Sequence[EventLog[Any]], listener: Listener
    ) -> None:
        for leader in leaders:
            listener.subscribe(channel_of(leader), thread.wake)
        listener.subscribe(PARKED.channel or "", thread.look_at_parking)
        listener.subscribe(HANDED_OVER, thread.wake)

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
            self._leadership.share(len(self._followers))


def channel_of(log_: EventLog[Any]) -> str:
    """The channel on which a log's new events are announced."""
    return f"{log_.name.lower()}_events"
