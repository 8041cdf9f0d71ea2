"""Hands due work from the agenda to its handlers on bounded threads, under leases (design 5)."""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from application.payment_gateway import NotAttempted
from application.ports import Clock
from system.agenda_store import AgendaStore, TakesBack
from system.handlers import Handler
from system.work_item import WorkItem, WorkKind

log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=10)
POLL_SECONDS = 5.0
"""How often to look at the agenda when nobody says that there is something new."""
RETRY_DELAY_MAX_SECONDS = 60
WAIT_SECONDS_MIN = 0.005


class Dispatcher:
    """Runs handlers for claimed work. Each kind has its own threads, so that slow confirmations
    cannot starve gateway calls; no more is claimed than there are free threads.

    Args:
        threads: the number of threads per kind.
        worker: a name for this process that no other has, written into its claims.
        lease: how long a claim holds without being renewed; renewed three times in that time.
        speed: how many seconds of `clock` pass in one of the computer's, in which leases count.
    """

    def __init__(
        self,
        store: AgendaStore,
        handlers: Mapping[WorkKind, Handler],
        clock: Clock,
        *,
        threads: Mapping[WorkKind, int],
        worker: str,
        lease: timedelta = LEASE,
        speed: float = 1,
    ) -> None:
        self._store = store
        self._handlers = handlers
        self._clock = clock
        self._threads = threads
        self._worker = worker
        self._lease = lease * speed
        self._speed = speed
        self._lock = threading.Lock()
        self._running: dict[UUID, WorkKind] = {}
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._finished = threading.Event()
        self._pools = {
            kind: ThreadPoolExecutor(count, thread_name_prefix=kind.value)
            for kind, count in threads.items()
        }
        self._loops = [
            threading.Thread(target=self._claim_forever, name="dispatcher", daemon=True),
            threading.Thread(target=self._renew_forever, name="leases", daemon=True),
        ]

    def start(self) -> None:
        """Begins to claim work."""
        for loop in self._loops:
            loop.start()

    def wake(self) -> None:
        """Says that there may be something new on the agenda."""
        self._wake.set()

    def stop(self) -> None:
        """Claims no more, and waits for the work in hand: nothing is left half-done."""
        self._stopping.set()
        self._wake.set()
        self._loops[0].join()
        for pool in self._pools.values():
            pool.shutdown(wait=True)
        self._finished.set()
        self._loops[1].join()

    def _claim_forever(self) -> None:
        while not self._stopping.is_set():
            now = self._clock.now()
            try:
                self._claim(now)
                wait_seconds = self._seconds_to_wait(now)
            except Exception:
                log.exception("agenda_unreachable")
                wait_seconds = 1.0
            self._wake.wait(wait_seconds)
            self._wake.clear()

    def _claim(self, now: datetime) -> None:
        """Claims all that is due, as far as there are free threads."""
        items = self._store.claim(now, self._capacity(), self._worker, self._lease)
        for item in items:
            with self._lock:
                self._running[item.work_id] = item.kind
            self._pools[item.kind].submit(self._run, item)

    def _capacity(self) -> dict[WorkKind, int]:
        with self._lock:
            busy = list(self._running.values())
        return {kind: count - busy.count(kind) for kind, count in self._threads.items()}

    def _seconds_to_wait(self, claimed_at: datetime) -> float:
        """What was due at the last claim and is left waits for a free thread, which wakes us."""
        due_at = self._store.next_due_at(claimed_at)
        if due_at is None:
            return POLL_SECONDS
        seconds = (due_at - self._clock.now()).total_seconds() / self._speed
        return min(max(seconds, WAIT_SECONDS_MIN), POLL_SECONDS)

    def _run(self, item: WorkItem) -> None:
        is_done = False
        try:
            trace = {"trace_id": item.trace_id} if item.trace_id else {}
            with structlog.contextvars.bound_contextvars(
                correlation_id=item.correlation_id, **trace
            ):
                is_done = perform(self._handlers[item.kind], item, self._store, self._clock)
        except Exception:
            log.exception("agenda_row_left_to_its_lease", work_id=str(item.work_id))
        finally:
            with self._lock:
                was_full = not self._has_free_thread(item.kind)
                self._running.pop(item.work_id, None)
            if was_full or not is_done:
                self._wake.set()

    def _has_free_thread(self, kind: WorkKind) -> bool:
        return list(self._running.values()).count(kind) < self._threads[kind]

    def _renew_forever(self) -> None:
        interval = self._lease.total_seconds() / self._speed / 3
        while not self._finished.wait(interval):
            with self._lock:
                work_ids = list(self._running)
            try:
                if work_ids:
                    self._store.renew(work_ids, self._worker, self._clock.now() + self._lease)
            except Exception:
                log.exception("leases_not_renewed", count=len(work_ids))


def perform(handler: Handler, item: WorkItem, store: TakesBack, clock: Clock) -> bool:
    """Runs one piece of work. What was not attempted, or went wrong, goes back on the agenda:
    then False."""
    try:
        handler(item)
        return True
    except NotAttempted as pause:
        due_at = clock.now() + timedelta(milliseconds=max(pause.retry_after_ms, 100))
        store.put_back(item, due_at, was_begun=False)
    except Exception:
        delay = min(2**item.attempts, RETRY_DELAY_MAX_SECONDS)
        log.exception("work_failed", kind=item.kind, work_id=str(item.work_id), retry_s=delay)
        store.put_back(item, clock.now() + timedelta(seconds=delay), was_begun=True)
    return False
