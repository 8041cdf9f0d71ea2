"""One simulated run: the whole system in one thread, in a random order, among faults."""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache, partial
from itertools import count
from typing import Any
from uuid import UUID

from eventsourcing.persistence import IntegrityError

from application.event_log import EventLog, Work
from application.payment_gateway import NotAttempted
from domain.event import PaySagaAggregate
from domain.gateway_report import (
    GatewayReport,
    TransactionKind,
    payment_id_of,
)
from system.followers.base import BatchFollower
from system.following import Following
from system.testing import SystemUnderTest
from tests.simulation import faults
from tests.simulation.contract_kit import agree_without_instalments
from tests.simulation.faults import ProcessDied
from tests.simulation.invariants import (
    Broken,
    check_at_end,
    check_operator_helped,
    check_replay,
    check_when_quiet,
)
from tests.simulation.script import Action

LEASE = timedelta(seconds=10)
"""After so long the work of a process that died is claimed by another."""
AFTERLIFE = timedelta(days=45)
"""How long a healthy system is left alone before the books are compared."""
STEPS_MAX = 3000
"""More steps than any moment needs: who is not quiet by then is running in circles."""
SEEN_FOR = timedelta(minutes=185)
"""A customer may be busy on a page for so long without anybody being told (late 3-D Secure)."""
SALES = {TransactionKind.SALE, TransactionKind.AUTHORIZATION, TransactionKind.CAPTURE}
"""Forged reports of these must be doubted; others are asked after before they are believed."""
REPLAYED_EVERY = 9
"""So often what was recorded is compared with its replay: each time would take too long."""
Check = Callable[[EventLog[Any], Iterable[PaySagaAggregate]], None]
LONGEST_JUMP = timedelta(seconds=100)
NOBODY_WAITS = timedelta(seconds=1)


class World(ABC):
    """Runs a script. `order` decides who is next wherever several could be."""

    def __init__(self, seed: int) -> None:
        self.order = random.Random(f"order {seed}")
        self.system = SystemUnderTest(seed)
        self._read_each_event_once()
        self._compare_with_replays()
        self.gateway = self.system.gateway
        self.gateway.notify = self.post
        self.gateway.tells_of_follow_ups = self.order.random() < 0.5
        self.followings = self._followings()
        self.ids: dict[int, UUID] = {}
        self.mail: list[tuple[datetime, GatewayReport]] = []
        self.post_faults: list[tuple[str, float]] = []
        self.forged: list[GatewayReport] = []
        self.dies_unclaimed = False
        self.is_clock_put_back = False
        self.untold: set[UUID] = set()
        self.out_of_sight: set[UUID] = set()
        self.at_work: UUID | None = None
        agree_without_instalments(self.system)

    @property
    def now(self) -> datetime:
        """The virtual time."""
        return self.system.clock.now()

    def _read_each_event_once(self) -> None:
        """Reading is most of the work of a run, and events never change; `check_replay` reads
        them anew."""
        for log in self.system.applications.by_name.values():
            log.mapper.to_domain_event = cache(log.mapper.to_domain_event)  # type: ignore[method-assign]

    def _compare_with_replays(self) -> None:
        """Looks at what is recorded: the aggregate in hand must be what its stored events give."""
        recorded = count()

        def check(log: EventLog[Any], aggregates: Iterable[PaySagaAggregate]) -> None:
            if next(recorded) % REPLAYED_EVERY == 0:
                for aggregate in aggregates:
                    check_replay(log, aggregate)

        for log in self.system.applications.by_name.values():
            log.record = partial(self._record, log, log.record, check)  # type: ignore[method-assign]
            if isinstance(log, BatchFollower):
                log.record_batch = partial(  # type: ignore[method-assign]
                    self._record_batch, log, log.record_batch, check
                )

    @staticmethod
    def _record(
        log: EventLog[Any], record: Callable[..., None], check: Check, *aggregates: Any, **more: Any
    ) -> None:
        record(*aggregates, **more)
        check(log, aggregates)

    @staticmethod
    def _record_batch(
        log: EventLog[Any], record: Callable[[Work], None], check: Check, work: Work
    ) -> None:
        record(work)
        check(log, work.aggregates.values())  # type: ignore[arg-type]

    def _followings(self) -> list[Following]:
        return [
            Following(f.follower, f.leader, batch_size=self.order.choice((1, 1, 2, 3, 200)))
            for f in self.system.followings
        ]

    @abstractmethod
    def act(self, action: Action) -> None:
        """Does what an action says, if it makes sense by now."""

    # Time

    def play(self, script: list[Action]) -> None:
        """Runs the script, lets a long time pass in good health, and checks everything.

        Raises:
            Broken: an invariant does not hold.
        """
        start = self.now
        for action in script:
            self.pass_time(start + timedelta(seconds=action.at_seconds))
            self.act(action)
            self.bustle()
        self.settle()
        self.gateway.recover()
        self.system.merchant.answers.clear()
        self.post_faults.clear()
        self.pass_time(self.now + AFTERLIFE)
        self.settle()
        check_at_end(self)
        self.call_operator()
        check_at_end(self)
        check_operator_helped(self)

    def call_operator(self) -> None:
        """An operator looks after what is parked, and gives up what is parked again for a report
        that cannot be believed: with a healthy gateway that ends well."""
        for command in (self.system.retry, self.system.compensate):
            for payment_id in self.ids.values():
                command(payment_id)
            self.settle()
            self.pass_time(self.now + timedelta(days=40))
            self.settle()

    def pass_time(self, until: datetime) -> None:
        """Lets time pass; what falls due meanwhile happens at its time."""
        while True:
            if until - self.now > NOBODY_WAITS:
                self.settle()
            due_at = self._next_due_at()
            if due_at is None or due_at > until:
                break
            self.system.clock.move_to(due_at)
            self.gateway.catch_up()
            self._deliver_mail()
            self.bustle()
        self.system.clock.move_to(until)

    def _next_due_at(self) -> datetime | None:
        moments = [due_at for due_at, _ in self.mail]
        if (due_at := self.system.next_due_at()) is not None:
            moments.append(due_at)
        return min(moments, default=None)

    # Work

    def bustle(self) -> None:
        """Some of what could happen now happens, in any order."""
        for _ in range(self.order.choice((0, 1, 2, 5, 20))):
            if not self.step():
                return

    def settle(self) -> None:
        """Everything that is due happens, in any order; then the system must be in order."""
        for _ in range(STEPS_MAX):
            if not self.step():
                check_when_quiet(self)
                return
        raise Broken("the system is not quiet after so many steps")

    def step(self) -> bool:
        """One follower takes in one batch, or one worker does one piece of work."""
        steps: list[Callable[[], None]] = [
            lambda following=following: self._follow(following)  # type: ignore[misc]
            for following in self.followings
            if (following.leader.recorder.max_notification_id() or 0) > following.position
        ]
        steps += [
            lambda work_id=work_id: self._work(work_id)  # type: ignore[misc]
            for work_id in self.system.agenda.due(self.now)
        ]
        if steps:
            self.order.choice(steps)()
        return bool(steps)

    def _follow(self, following: Following) -> None:
        following.advance()

    def _work(self, work_id: UUID) -> None:
        item = self.system.agenda.claim(work_id)
        self.at_work = work_id
        try:
            if self.dies_unclaimed:
                self.dies_unclaimed = False
                raise ProcessDied
            if self.is_clock_put_back:
                self.is_clock_put_back = False
                self.system.clock.jump_back(self.order.random() * LONGEST_JUMP)
            self.system.handlers[item.kind](item)
        except ProcessDied:
            self.system.agenda.put_back(item, self.now + LEASE, was_begun=True)
        except NotAttempted as pause:
            due_at = self.now + timedelta(milliseconds=pause.retry_after_ms)
            self.system.agenda.put_back(item, due_at, was_begun=False)

    def overtake(self) -> None:
        """Another worker claims the work in hand, as if our lease had run out."""
        assert self.at_work is not None
        if (self.at_work,) in self.system.persistence.tables.rows["agenda"]:
            item = self.system.agenda.claim(self.at_work)
            self.system.handlers[item.kind](item)

    def restart(self) -> None:
        """All followers start anew from their recorded positions."""
        self.followings = self._followings()

    def race(self) -> None:
        """A follower that was thought dead takes in a batch from where it stood long ago."""
        following = self.order.choice(self.followings)
        late = Following(following.follower, following.leader, batch_size=3)
        late._position = max(0, following.position - self.order.randint(1, 3))
        try:
            late.advance()
        except IntegrityError:
            return
        following.forget_position()

    # The gateway's callbacks

    def post(self, report: GatewayReport) -> None:
        """A callback sets out; some get lost, are late, come twice, or say something else."""
        how, share = self.post_faults.pop(0) if self.post_faults else ("", 0.0)
        if how == "lost" and self._may_be_lost(report):
            return
        if how == "late":
            self.mail.append((self.now + timedelta(seconds=share**3 * 200_000), report))
            return
        if how == "garbled":
            self.forge(report, self.order.choice(("amount", "currency", "status", "kind")))
        self.system.receive(report)
        if how == "twice":
            again = replace(report, occurred_at=self.now) if share < 0.5 else report
            self.mail.append((self.now + timedelta(seconds=share * 1000), again))

    def forge(self, report: GatewayReport, how: str) -> None:
        """A callback comes, rightly signed, that is not true."""
        forged = faults.garbled(report, how)
        if forged is not None and forged != report:
            if report.kind in SALES and how != "refusal":
                self.forged.append(forged)
            self.system.receive(forged)

    def _may_be_lost(self, report: GatewayReport) -> bool:
        """True for a callback that tells what the gateway is going to be asked about anyway."""
        payment_id = payment_id_of(report.cart_id)
        assert payment_id is not None
        if report.previous_ref is None and not self._is_watched(payment_id):
            return False
        return not faults.is_done_in_dashboard(report) and self._leave_untold(payment_id)

    def _leave_untold(self, payment_id: UUID) -> bool:
        """Loses a callback, unless the gateway has lost sight of the payment, too: nobody could
        tell then what became of it."""
        if payment_id in self.out_of_sight:
            return False
        self.untold.add(payment_id)
        return True

    def lose_sight(self, payment_id: UUID, duration: timedelta) -> None:
        """The gateway's queries find nothing of a payment for a while, though it has told us of
        all that happened. What we asked for ourselves is always found until it has been shown:
        its absence is the proof that it never happened."""
        if payment_id in self.untold:
            return
        self.out_of_sight.add(payment_id)

        def is_meant(report: GatewayReport) -> bool:
            if payment_id_of(report.cart_id) != payment_id:
                return False
            asked = self.system.saga(payment_id).calls.values()
            is_shown = any(call.transaction_ref == report.transaction_ref for call in asked)
            return is_shown or report.cart_id[37] == "a"

        self.gateway.hide(is_meant, duration)

    def _is_watched(self, payment_id: UUID) -> bool:
        """True for every page of a payment that has one to show, until late results are known."""
        saga = self.system.saga(payment_id)
        if saga.page_opened_at is None:
            return False
        return self.now < saga.page_opened_at + SEEN_FOR

    def _deliver_mail(self) -> None:
        now = self.now
        due = [report for due_at, report in self.mail if due_at <= now]
        self.mail = [(due_at, report) for due_at, report in self.mail if due_at > now]
        self.order.shuffle(due)
        for report in due:
            self.system.receive(report)
