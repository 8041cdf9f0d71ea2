"""How the dispatcher claims, waits and stops, on an agenda that a test holds in its hands."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from application.payment_gateway import NotAttempted
from system.agenda_store import Capacity
from system.dispatcher import Dispatcher, perform
from system.testing import VirtualClock
from system.work_item import WorkItem, WorkKind
from tests.unit.domain_kit import NOW, PAYMENT_ID

CALL, TELL = WorkKind.GATEWAY_CALL, WorkKind.CONFIRMATION
PATIENCE_SECONDS = 20.0
"""More than enough on the busiest machine; nothing waits so long unless it is broken."""


def item(kind: WorkKind = CALL, attempts: int = 1) -> WorkItem:
    """A claimed row."""
    return WorkItem(uuid4(), kind, PAYMENT_ID, PAYMENT_ID, None, NOW, attempts, "c-1", None)


class Agenda:
    """An agenda of one test. `due` is what can be claimed; `next_at` when more falls due."""

    def __init__(self, *due: WorkItem, next_at: datetime | None = None) -> None:
        self.due = list(due)
        self.next_at = next_at
        self.claims = 0
        self.asked: list[dict[WorkKind, int]] = []
        self.renewed = threading.Semaphore(0)
        self.renewals = 0
        self.put: list[tuple[UUID, datetime, bool]] = []
        self.claimed = threading.Condition()

    def claim(
        self, now: datetime, capacity: Capacity, worker: str, lease: timedelta
    ) -> list[WorkItem]:
        """See `AgendaStore`."""
        with self.claimed:
            self.claims += 1
            self.asked.append(dict(capacity))
            self.claimed.notify_all()
            mine = [due for kind in capacity for due in self._of(kind)[: capacity[kind]]]
            self.due = [due for due in self.due if due not in mine]
            return mine

    def add(self, due: WorkItem) -> None:
        """Puts something on it while a dispatcher looks at it."""
        with self.claimed:
            self.due.append(due)

    def _of(self, kind: WorkKind) -> list[WorkItem]:
        return [due for due in self.due if due.kind is kind]

    def renew(self, work_ids: Sequence[UUID], worker: str, until: datetime) -> None:
        """See `AgendaStore`."""
        self.renewals += 1
        self.renewed.release()

    def put_back(self, item: WorkItem, due_at: datetime, *, was_begun: bool) -> None:
        """See `AgendaStore`."""
        self.put.append((item.work_id, due_at, was_begun))

    def next_due_at(self, after: datetime) -> datetime | None:
        """See `AgendaStore`."""
        return self.next_at if self.next_at is not None and self.next_at > after else None

    def await_claims(self, count: int) -> None:
        """Returns when it was asked so often."""
        with self.claimed:
            assert self.claimed.wait_for(lambda: self.claims >= count, PATIENCE_SECONDS)


@contextmanager
def dispatching(
    agenda: Agenda,
    handler: Callable[[WorkItem], None],
    clock: VirtualClock | None = None,
    threads: int = 2,
    lease: timedelta = timedelta(seconds=30),
) -> Iterator[Dispatcher]:
    """A dispatcher that runs for the length of the block."""
    kinds = (CALL, TELL)
    dispatcher = Dispatcher(
        agenda,
        dict.fromkeys(kinds, handler),
        clock or VirtualClock(NOW),
        threads=dict.fromkeys(kinds, threads),
        worker="w-1",
        lease=lease,
    )
    dispatcher.start()
    try:
        yield dispatcher
    finally:
        dispatcher.stop()


def held_by(release: threading.Event) -> Callable[[WorkItem], None]:
    """A handler that is busy until it is released."""

    def handler(_: WorkItem) -> None:
        release.wait(PATIENCE_SECONDS)

    return handler


def test_work_that_fell_due_while_it_was_being_looked_for_is_not_left_waiting() -> None:
    clock = VirtualClock(NOW)
    agenda = Agenda(next_at=NOW + timedelta(microseconds=2))
    with dispatching(agenda, lambda _: None, clock):
        agenda.await_claims(2)


def test_an_empty_agenda_is_not_asked_over_and_over() -> None:
    agenda, heard = Agenda(), threading.Event()
    with dispatching(agenda, lambda _: None):
        agenda.await_claims(1)
        assert not heard.wait(0.3)
        assert agenda.claims <= 2


def test_work_that_waits_for_a_free_thread_is_not_asked_for_over_and_over() -> None:
    release, heard = threading.Event(), threading.Event()
    agenda = Agenda(*(item() for _ in range(6)), next_at=NOW)
    with dispatching(agenda, held_by(release)):
        agenda.await_claims(2)
        assert not heard.wait(0.3)
        assert agenda.claims <= 3
        release.set()
        agenda.await_claims(4)


def test_no_more_is_claimed_than_there_are_free_threads_of_each_kind() -> None:
    running, peak, lock = {CALL: 0, TELL: 0}, {CALL: 0, TELL: 0}, threading.Lock()
    done = threading.Semaphore(0)

    def handler(work: WorkItem) -> None:
        with lock:
            running[work.kind] += 1
            peak[work.kind] = max(peak[work.kind], running[work.kind])
        with lock:
            running[work.kind] -= 1
        done.release()

    agenda = Agenda(*(item(kind) for kind in (CALL, TELL) for _ in range(20)))
    with dispatching(agenda, handler, threads=3):
        for _ in range(40):
            assert done.acquire(timeout=PATIENCE_SECONDS)
    assert max(peak.values()) <= 3
    assert all(0 <= free <= 3 for asked in agenda.asked for free in asked.values())


def test_slow_confirmations_do_not_starve_gateway_calls() -> None:
    release, called = threading.Event(), threading.Event()

    def handler(work: WorkItem) -> None:
        called.set() if work.kind is CALL else release.wait(PATIENCE_SECONDS)

    agenda = Agenda(*(item(TELL) for _ in range(8)))
    with dispatching(agenda, handler) as dispatcher:
        agenda.await_claims(1)
        agenda.add(item(CALL))
        dispatcher.wake()
        assert called.wait(PATIENCE_SECONDS)
        release.set()


def test_the_leases_of_long_work_are_renewed() -> None:
    release = threading.Event()
    agenda = Agenda(item())
    with dispatching(agenda, held_by(release), lease=timedelta(milliseconds=60)):
        for _ in range(3):
            assert agenda.renewed.acquire(timeout=PATIENCE_SECONDS)
        release.set()


def test_stopping_finishes_the_work_in_hand_and_renews_its_lease_meanwhile() -> None:
    begun, release, finished = threading.Event(), threading.Event(), threading.Event()

    def handler(_: WorkItem) -> None:
        begun.set()
        release.wait(PATIENCE_SECONDS)
        finished.set()

    agenda = Agenda(item())
    with dispatching(agenda, handler, lease=timedelta(milliseconds=300)) as dispatcher:
        assert begun.wait(PATIENCE_SECONDS)
        stopper = threading.Thread(target=dispatcher.stop)
        stopper.start()
        for _ in range(2):
            assert agenda.renewed.acquire(timeout=PATIENCE_SECONDS)
        assert agenda.renewals < 50
        assert not finished.is_set()
        release.set()
        stopper.join(PATIENCE_SECONDS)
        assert finished.is_set()


def test_an_unreachable_agenda_is_tried_again() -> None:
    class Broken(Agenda):
        def claim(self, *arguments: object) -> list[WorkItem]:
            super().claim(*arguments)  # type: ignore[arg-type]
            if self.claims == 1:
                raise ConnectionError("gone")
            return []

    agenda = Broken()
    with dispatching(agenda, lambda _: None):
        agenda.await_claims(2)


def test_work_that_was_not_attempted_goes_back_without_being_counted() -> None:
    def refuse(_: WorkItem) -> None:
        raise NotAttempted("open", 2_000)

    agenda, work = Agenda(), item()
    perform(refuse, work, agenda, VirtualClock(NOW))
    [(work_id, due_at, was_begun)] = agenda.put
    assert (work_id, was_begun) == (work.work_id, False)
    assert timedelta(seconds=2) <= due_at - NOW < timedelta(seconds=3)


def test_work_that_went_wrong_goes_back_as_begun_and_waits_longer_each_time() -> None:
    def fail(_: WorkItem) -> None:
        raise RuntimeError("boom")

    agenda = Agenda()
    for attempts in (1, 3, 500):
        perform(fail, item(attempts=attempts), agenda, VirtualClock(NOW))
    assert [was_begun for _, _, was_begun in agenda.put] == [True] * 3
    waits = [round((due_at - NOW).total_seconds()) for _, due_at, _ in agenda.put]
    assert waits == [2, 8, 60]
