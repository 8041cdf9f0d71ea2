"""When it is a follower's turn to take in more, and what it does with its turn (design 4)."""

import threading
import time
from collections.abc import Sequence
from datetime import datetime
from typing import cast
from uuid import UUID

import structlog
from eventsourcing.persistence import IntegrityError, PersistenceError

from application.event_log import PlainEventStore
from application.ports import Clock
from system.following import INFRASTRUCTURE_ERRORS, FollowerParking, Following
from system.leadership import Leadership
from system.parking import ParkedEvent

log = structlog.get_logger(__name__)

POLL_SECONDS = 2.0
"""How often to look at the logs when nobody says that there is something new."""
TAKE_OVER_SECONDS = 1.0
"""How often to ask whether the process that runs a follower is gone."""
PASSED_OVER_SECONDS = 0.1
"""How long a recorded position may stay behind when a follower passes over what does not concern
it."""
RETRY_DELAY_SECONDS = 0.1
CONFLICT_DELAY_SECONDS = 0.005
RETRY_DELAY_MAX_SECONDS = 30.0
RETRY_DOUBLINGS_MAX = 10


class LogNews:
    """What was heard of a log that a follower follows. Other threads may tell at any time."""

    def __init__(self, following: Following) -> None:
        self._following = following
        self._announced = 0
        self._passed = 0
        self._is_unsure = True

    def hear(self, position: int | None) -> None:
        """The log reaches to a position; None: it may have grown."""
        if position is None:
            self._is_unsure = True
        else:
            self._announced = max(self._announced, position)

    def look_again(self) -> None:
        """The log may have grown unheard. Since a crash of the database it may be shorter, too."""
        if self._following.begins_anew():
            self._announced = self._passed = 0
        self._is_unsure = True

    def is_there(self) -> bool:
        """True when there is, or may be, something that was not taken in."""
        if self._is_unsure:
            return True
        return self._announced > max(self._following.known_position, self._passed)

    def advance(self) -> int:
        """Takes in the next batch; see `Following.advance`. Where nothing could be taken in the
        news are old, until something newer is heard."""
        was_unsure, self._is_unsure, announced = self._is_unsure, False, self._announced
        taken = 0
        try:
            taken = self._following.advance()
        except BaseException:
            self._is_unsure = True
            raise
        if not taken:
            self._passed = announced
        elif was_unsure:
            self._is_unsure = True
        return taken


class FollowerTurns:
    """One follower on all the logs it follows: one batch of each in a turn.

    `take` may be called by one thread at a time; it never waits for anything but the database.
    """

    def __init__(
        self,
        followings: Sequence[Following],
        parking: FollowerParking,
        leadership: Leadership,
        clock: Clock,
    ) -> None:
        follower = followings[0].follower
        self.name = follower.name
        self._store = cast(PlainEventStore, follower.events)
        self.active_at: datetime | None = None
        self.is_taken = threading.Lock()
        """Held by the thread that takes the follower's turn."""
        self._batch_size = followings[0].batch_size
        self._followings = {following.leader.name: following for following in followings}
        self._news = {name: LogNews(each) for name, each in self._followings.items()}
        self._parking = parking
        self._leadership = leadership
        self._clock = clock
        self._leads = False
        self._not_before = 0.0
        self._look_at = 0.0
        self._record_at: float | None = None
        self._rest_seconds = follower.rest_seconds
        self._failures = 0
        self._conflicts = 0

    def hear(self, leader: str, position: int | None) -> bool:
        """Notes what was heard of a log; True when it is the follower's turn because of that."""
        news = self._news[leader]
        news.hear(position)
        return self._leads and news.is_there()

    def look_at_parking(self) -> None:
        """Notes that an operator may have released parked events."""
        self._parking.forget()
        self._look_at = 0.0

    def ask_for_lead(self) -> None:
        """Notes that another process may have handed the follower over."""
        if not self._leads:
            self._not_before = 0.0

    @property
    def log_reaches_to(self) -> int:
        """The position of the newest event that was recorded in the follower's log here."""
        return self._store.reaches_to

    def seconds_to_wait(self, now: float) -> float:
        """How long it is not the follower's turn if nothing is heard; `now` is monotonic."""
        has_news = any(news.is_there() for news in self._news.values())
        wanted_at = 0.0 if self._leads and has_news else self._look_at
        if self._record_at is not None:
            wanted_at = min(wanted_at, self._record_at)
        return max(wanted_at, self._not_before) - now

    def take(self) -> bool:
        """Takes in the next batch of each log of which there are news, when it is the follower's
        turn. True when something was taken in, so that more may be there."""
        now = time.monotonic()
        if self.seconds_to_wait(now) > 0:
            return False
        if not self._leadership.acquire(self.name):
            self._stand_by(now)
            return False
        self._leads = True
        return self._advance(now)

    def _stand_by(self, now: float) -> None:
        self._leads = False
        for following in self._followings.values():
            following.forget_position()
        self._parking.forget()
        self._look_at = 0.0
        self._record_at = None
        self._not_before = now + TAKE_OVER_SECONDS

    def _look_everywhere(self, now: float) -> None:
        """A slow poll covers notifications that were lost."""
        self._look_at = now + POLL_SECONDS
        for news in self._news.values():
            news.look_again()

    def _advance(self, now: float) -> bool:
        try:
            if now >= self._look_at:
                self._look_everywhere(now)
            count = self._take_in_new() + self._take_in_released()
            self._record_positions()
        except IntegrityError as conflict:
            self._conflicts += 1
            log.info("batch_taken_again", follower=self.name, reason=str(conflict))
            self._back_off(CONFLICT_DELAY_SECONDS, self._conflicts)
            return False
        except Exception:
            self._failures += 1
            log.exception("follower_failed", follower=self.name, failures=self._failures)
            self._back_off(RETRY_DELAY_SECONDS, self._failures)
            return False
        self._failures = self._conflicts = 0
        self.active_at = self._clock.now()
        if 0 < count < self._batch_size:
            self._not_before = time.monotonic() + self._rest_seconds
        return count > 0

    def _record_positions(self) -> None:
        """Records the positions of logs of which events were passed over, now and then."""
        now = time.monotonic()
        if self._record_at is not None and now >= self._record_at:
            for following in self._followings.values():
                following.record_position()
        is_ahead = any(following.is_ahead for following in self._followings.values())
        if not is_ahead:
            self._record_at = None
        elif self._record_at is None:
            self._record_at = now + PASSED_OVER_SECONDS

    def finish(self) -> None:
        """Records what is left to be recorded; nobody may take the follower's turn any more."""
        if not self._leads:
            return
        try:
            for following in self._followings.values():
                following.record_position()
        except PersistenceError as error:
            log.info("position_left_behind", follower=self.name, reason=str(error))

    def _back_off(self, base_seconds: float, times: int) -> None:
        delay_seconds = base_seconds * 2 ** min(times, RETRY_DOUBLINGS_MAX)
        self._look_at = 0.0
        self._not_before = time.monotonic() + min(delay_seconds, RETRY_DELAY_MAX_SECONDS)

    def _take_in_new(self) -> int:
        """Takes in the next batch of each log. As long as there is a backlog in one log the logs
        after it are left alone: what is in them may follow from what is still to be read."""
        count = 0
        for leader, following in self._followings.items():
            news = self._news[leader]
            if not (news.is_there() or following.is_early):
                continue
            taken = news.advance()
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
            self.look_at_parking()
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
