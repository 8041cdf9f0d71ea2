"""Breakers of one process kept in step with the recorded ones of the fleet (contract 8)."""

import threading
from collections.abc import Iterable
from datetime import datetime, timedelta

import structlog
from eventsourcing.persistence import PersistenceError
from eventsourcing.utils import get_topic

from application.breaker_values import StateChange
from application.circuit_breaker import EventDrivenCircuitBreaker
from application.event_log import NOTIFICATIONS_MAX
from application.operations import Operations
from application.rows import Delete, RowChange, Upsert
from domain.circuit import EVENTS, Circuit
from domain.event import EventContext, Metadata, acting
from system.listener import Listener
from system.persistence.tables import BREAKER_METRICS

log = structlog.get_logger(__name__)

POLL_SECONDS = 2.0
"""How often to show the metrics, and to look at the log although nobody said that it changed."""
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
        self._changes: list[StateChange] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="circuits", daemon=True)
        listener.subscribe(f"{operations.name.lower()}_events", lambda _payload: self._wake.set())

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

    def stop(self) -> None:
        """Records what is left, takes the metrics back, and stops."""
        self._stopping.set()
        self._wake.set()
        self._thread.join()
        own = [Delete(BREAKER_METRICS.name, (self._process, name)) for name in self._shown]
        try:
            self._operations.record(rows=own)
        except PersistenceError as error:
            log.warning("circuits_out_of_step", error=str(error))

    def _on_change(self, change: StateChange) -> None:
        with self._lock:
            self._changes.append(change)
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(POLL_SECONDS)
            self._wake.clear()
            try:
                self._record_changes()
                self._follow_log()
                self._show_metrics()
            except PersistenceError as error:
                log.warning("circuits_out_of_step", error=str(error))
                self._stopping.wait(1.0)
                self._wake.set()

    def _record_changes(self) -> None:
        while self._changes:
            change = self._changes[0]
            metadata = Metadata(str(self._operations.ids.uuid()), source="circuit_breaker")
            with acting(EventContext(metadata, self._operations.clock.now())):
                self._operations.record_change(change)
            log.warning(
                "circuit_changed",
                service=change.service_name,
                state=change.new_state.value,
                error_rate=change.error_rate,
            )
            with self._lock:
                self._changes.pop(0)

    def _follow_log(self) -> None:
        """Adopts what was recorded since the last time. The first time it notes where the log
        ends, and looks at each breaker's own record instead."""
        recorder = self._operations.recorder
        if self._position is None:
            position = recorder.max_notification_id() or 0
            for breaker in self.breakers():
                self._adopt(breaker)
            self._position = position
        while page := recorder.select_notifications(
            self._position, NOTIFICATIONS_MAX, inclusive_of_start=False
        ):
            for notification in page:
                if notification.topic in CHANGES:
                    self._hear(self._operations.mapper.to_domain_event(notification))
            self._position = page[-1].id

    def _hear(self, event: object) -> None:
        if isinstance(event, Circuit.Changed):
            with self._lock:
                breaker = self._breakers.get(event.service_name)
            if breaker is not None:
                breaker.follow(
                    event.state.value,
                    next_retry_time=event.next_retry_time,
                    changed_at=event.changed_at,
                    last_failure_time=event.last_failure_time,
                )

    def _show_metrics(self) -> None:
        with self._lock:
            removed, self._removed = self._removed, set()
        for name in removed:
            self._shown.pop(name, None)
        gone = [Delete(BREAKER_METRICS.name, (self._process, name)) for name in removed]
        shown = [row for breaker in self.breakers() if (row := self._row_to_show(breaker))]
        self._operations.record(rows=[*gone, *shown])

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
                "configuration": breaker.config.as_dict(),
                "shown_at": now,
            },
        )

    def _adopt(self, breaker: EventDrivenCircuitBreaker) -> None:
        circuit = self._operations.circuit(breaker.name or "")
        if circuit is not None and circuit.changed_at is not None:
            follow(breaker, circuit)


def follow(breaker: EventDrivenCircuitBreaker, circuit: Circuit) -> None:
    """Brings a breaker to the recorded state; old news is passed over."""
    breaker.follow(
        circuit.status.value,
        next_retry_time=circuit.next_retry_time,
        changed_at=circuit.changed_at,
        last_failure_time=circuit.last_failure_time,
    )
