"""Breakers of one process kept in step with the recorded ones of the fleet (contract 8)."""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from eventsourcing.persistence import InterfaceError, OperationalError, PersistenceError
from eventsourcing.utils import get_topic

from application.breaker_values import StateChange
from application.circuit_breaker import CircuitState, EventDrivenCircuitBreaker
from application.event_log import NOTIFICATIONS_MAX
from application.operations import Operations
from application.rows import Delete, RowChange, Upsert
from domain.circuit import EVENTS, Circuit
from domain.event import EventContext, Metadata, acting
from system.listener import Listener
from system.persistence.log_function import Announcement
from system.persistence.tables import BREAKER_METRICS
from system.runner import channel_of

log = structlog.get_logger(__name__)

POLL_SECONDS = 2.0
"""How often to show the metrics, and to look at the log although nobody said that it changed."""
AGAIN_SECONDS = 1.0
"""How long to wait after something went wrong."""
CHANGES_MAX = 100
"""How many changes wait to be recorded while the database is away; the oldest give way."""
SHOW_AGAIN_AFTER = timedelta(seconds=5)
"""How old the metrics of a breaker become that was not called since they were shown."""


CHANGES = frozenset(map(get_topic, EVENTS.values()))
"""The topics of the events that say what a breaker went through."""


class Circuits:
    """Records the changes of this process's breakers and adopts those of other processes.

    A new process starts from the recorded state. Changes are recorded on a thread of their own,
    so that no call waits for the database.
    """

    def __init__(self, operations: Operations, listener: Listener, process: str) -> None:
        self._operations = operations
        self._process = process
        self._breakers: dict[str, EventDrivenCircuitBreaker] = {}
        self._removed: set[str] = set()
        self._shown: dict[str, tuple[tuple[int, int], datetime]] = {}
        self._position: int | None = None
        self._epoch: UUID | None = None
        self._changes: deque[StateChange] = deque(maxlen=CHANGES_MAX)
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="circuits", daemon=True)
        listener.subscribe(channel_of(operations), self._hear_of_log)

    def add(self, breaker: EventDrivenCircuitBreaker) -> None:
        """Keeps a breaker in step from now on, beginning with the recorded state."""
        assert breaker.name is not None
        breaker.add_listener(self._on_change)
        with self._lock:
            self._removed.discard(breaker.name)
            self._breakers[breaker.name] = breaker
        self._adopt(breaker)

    def remove(self, breaker: EventDrivenCircuitBreaker) -> None:
        """Lets go of a breaker that is not used any more; what was recorded of it stays."""
        assert breaker.name is not None
        with self._lock:
            if self._breakers.get(breaker.name) is breaker:
                del self._breakers[breaker.name]
                self._removed.add(breaker.name)
        breaker.retire()

    def breakers(self) -> Iterable[EventDrivenCircuitBreaker]:
        """The breakers of this process."""
        with self._lock:
            return tuple(self._breakers.values())

    def start(self) -> None:
        """Begins to record and to follow."""
        self._thread.start()

    def wake(self) -> None:
        """Says that there may be something new."""
        self._wake.set()

    def stop(self) -> None:
        """Stops, records what is left, and takes the metrics back."""
        self._stopping.set()
        self.wake()
        self._thread.join()
        self._attempt(self._record_changes)
        self._attempt(self._take_metrics_back)

    def turn(self) -> None:
        """Records, follows and shows once: what the thread does whenever it is woken.

        Raises:
            PersistenceError: the database is away; nothing is lost, the next turn does it.
        """
        self._record_changes()
        self._follow_log()
        self._show_metrics()

    def _hear_of_log(self, payload: str) -> None:
        """A breaker's record begins with an event that says nothing of its state."""
        if Announcement.read(payload).may_change:
            self.wake()

    def _on_change(self, change: StateChange) -> None:
        if len(self._changes) == CHANGES_MAX:
            log.error("circuit_change_lost", service=change.service_name, waiting=CHANGES_MAX)
        with self._lock:
            self._changes.append(change)
        self.wake()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(POLL_SECONDS)
            self._wake.clear()
            self._attempt(self.turn)

    def _attempt(self, step: Callable[[], None]) -> None:
        """Whatever goes wrong, the thread goes on."""
        try:
            step()
        except PersistenceError as error:
            log.warning("circuits_out_of_step", error=str(error))
        except Exception:
            log.exception("circuits_out_of_step")
        else:
            return
        self._stopping.wait(AGAIN_SECONDS)
        self.wake()

    def _record_changes(self) -> None:
        while self._changes:
            change = self._changes[0]
            try:
                self._record(change)
            except (InterfaceError, OperationalError):
                raise
            except Exception:
                log.exception("circuit_change_lost", service=change.service_name)
            with self._lock:
                if self._changes[0] is change:
                    self._changes.popleft()

    def _record(self, change: StateChange) -> None:
        metadata = Metadata(str(self._operations.ids.uuid()), source="circuit_breaker")
        with acting(EventContext(metadata, self._operations.clock.now())):
            overtaken_by = self._operations.record_change(change)
        if overtaken_by is not None:
            self._hear(overtaken_by, instead_of=change.changed_at)
            return
        write = log.warning if change.new_state is CircuitState.OPEN else log.info
        write(
            "circuit_changed",
            service=change.service_name,
            state=change.new_state.value,
            error_rate=change.error_rate,
        )

    def _follow_log(self) -> None:
        """Adopts what was recorded since the last time. The first time, and after a crash of the
        database, it notes where the log ends, and looks at each breaker's own record instead."""
        recorder, epoch = self._operations.recorder, self._operations.epoch()
        if self._position is None or epoch != self._epoch:
            position = recorder.max_notification_id() or 0
            for breaker in self.breakers():
                self._adopt(breaker)
            self._position, self._epoch = position, epoch
        while page := recorder.select_notifications(
            self._position, NOTIFICATIONS_MAX, inclusive_of_start=False
        ):
            for notification in page:
                if notification.topic in CHANGES:
                    self._hear(self._operations.mapper.to_domain_event(notification))  # type: ignore[arg-type]
            self._position = page[-1].id

    def _hear(self, change: Circuit.Changed, instead_of: datetime | None = None) -> None:
        with self._lock:
            breaker = self._breakers.get(change.service_name)
        if breaker is not None:
            follow(breaker, change, instead_of)

    def _show_metrics(self) -> None:
        with self._lock:
            removed, self._removed = self._removed, set()
        for name in removed:
            self._shown.pop(name, None)
        gone = [Delete(BREAKER_METRICS.name, (self._process, name)) for name in removed]
        shown = [row for breaker in self.breakers() if (row := self._row_to_show(breaker))]
        if gone or shown:
            self._operations.record(rows=[*gone, *shown])

    def _take_metrics_back(self) -> None:
        own = [Delete(BREAKER_METRICS.name, (self._process, name)) for name in self._shown]
        self._operations.record(rows=own)

    def _row_to_show(self, breaker: EventDrivenCircuitBreaker) -> RowChange | None:
        """None when the row that was written last still says it all."""
        metrics, now, name = breaker.metrics(), self._operations.clock.now(), breaker.name or ""
        calls = metrics.total_requests, metrics.rejected_requests
        before = self._shown.get(name)
        if before and before[0] == calls and now - before[1] < SHOW_AGAIN_AFTER:
            return None
        self._shown[name] = (calls, now)
        return Upsert(
            BREAKER_METRICS.name,
            (self._process, name),
            {
                "metrics": metrics.as_dict(),
                "last_failure_time": breaker.last_failure_time,
                "shown_at": now,
            },
        )

    def _adopt(self, breaker: EventDrivenCircuitBreaker) -> None:
        latest = self._operations.latest_change(breaker.name or "")
        if latest is not None:
            follow(breaker, latest)


def follow(
    breaker: EventDrivenCircuitBreaker, change: Circuit.Changed, instead_of: datetime | None = None
) -> None:
    """Brings a breaker to the recorded state; see `EventDrivenCircuitBreaker.follow`."""
    breaker.follow(
        change.state,
        next_retry_time=change.next_retry_time,
        changed_at=change.changed_at,
        last_failure_time=change.last_failure_time,
        by_operator=change.actor is not None,
        instead_of=instead_of,
    )
