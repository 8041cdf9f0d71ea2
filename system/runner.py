"""Runs the system's followers in production: catches up, is woken, survives errors (design 4)."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from application.event_log import EventLog
from system.applications import Applications
from system.followers.base import BatchFollower
from system.following import BATCH_SIZE, FollowerParking, Following
from system.lane import Lane
from system.leadership import HANDED_OVER, Leadership
from system.listener import Hear, Listener
from system.log_tail import LogTail
from system.parking import ParkedEvents
from system.persistence.log_function import Announcement
from system.persistence.postgres import PostgresPersistence
from system.persistence.tables import PARKED
from system.turns import FollowerTurns

HEARTBEAT_SECONDS = 2.0
FIRST_HEARTBEAT_SECONDS = 0.2
WATCH_SECONDS = 0.2


class Runner:
    """All followers of a process, on two lanes: those that customers wait for are not kept
    waiting by those that show and keep what happened.

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
        self._leadership = Leadership(persistence.conninfo, process)
        self._persistence = persistence
        self._clock = applications.clock
        self._batch_size = batch_size
        tails = {name: LogTail(log_) for name, log_ in applications.by_name.items()}
        self._followers_of: dict[str, list[FollowerTurns]] = {name: [] for name in tails}
        urgent: list[FollowerTurns] = []
        others: list[FollowerTurns] = []
        for follower, leaders in applications.followers():
            turns = self._turns_of(persistence, follower, leaders, tails)
            (urgent if follower.is_urgent else others).append(turns)
            for leader in leaders:
                self._followers_of[leader.name].append(turns)
        self._lanes = [Lane(each, self._tell_of, linger_ms / 1000) for each in (urgent, others)]
        self._lane_of = {f.name: lane for lane in self._lanes for f in lane.followers}
        self._subscribe(listener, applications.by_name)
        self._watch = threading.Thread(target=self._watch_over, name="heartbeat", daemon=True)

    def _turns_of(
        self,
        persistence: PostgresPersistence,
        follower: BatchFollower,
        leaders: Sequence[EventLog[Any]],
        tails: Mapping[str, LogTail],
    ) -> FollowerTurns:
        parking = FollowerParking(ParkedEvents(persistence, follower.name))
        followings = [
            Following(
                follower,
                leader,
                self._batch_size,
                parking,
                tails[leader.name],
                defers_positions=True,
            )
            for leader in leaders
        ]
        return FollowerTurns(followings, parking, self._leadership, self._clock)

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
                self._lane_of[follower.name].wake()

    def _telling(self, note: Callable[[FollowerTurns], None]) -> Hear:
        def hear(_payload: str) -> None:
            for lane in self._lanes:
                for follower in lane.followers:
                    note(follower)
                lane.wake()

        return hear

    def start(self) -> None:
        """Starts all followers; each first catches up from its recorded position."""
        for lane in self._lanes:
            lane.start()
        self._watch.start()

    def stop(self) -> None:
        """Stops after the batches in hand, and hands the followers over at once."""
        self._stopping.set()
        for lane in self._lanes:
            lane.stop()
        self._watch.join()
        for lane in self._lanes:
            lane.join()
        self._leadership.close()

    @property
    def led(self) -> frozenset[str]:
        """The names of the followers that this process runs for the whole fleet."""
        return self._leadership.held

    def _watch_over(self) -> None:
        report_at = time.monotonic() + FIRST_HEARTBEAT_SECONDS
        while not self._stopping.wait(WATCH_SECONDS):
            now = time.monotonic()
            for lane in self._lanes:
                lane.relieve(now)
            if now >= report_at:
                report_at = now + HEARTBEAT_SECONDS
                self._report()

    def _report(self) -> None:
        self._persistence.forget_epoch()
        followers = [follower for lane in self._lanes for follower in lane.followers]
        active = {f.name: f.active_at for f in followers if f.active_at is not None}
        self._leadership.report(active)
        self._leadership.share(len(followers))


def channel_of(log_: EventLog[Any]) -> str:
    """The channel on which a log's new events are announced."""
    return f"{log_.name.lower()}_events"
