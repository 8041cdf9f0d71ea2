"""Breakers of one process kept in step with the recorded ones of the fleet (contract 8)."""

import threading
from collections.abc import Iterable

import structlog
from eventsourcing.persistence import PersistenceError

from application.breaker_values import StateChange
from application.circuit_breaker import EventDrivenCircuitBreaker
from application.operations import Operations
from application.rows import Upsert
from domain.circuit import Circuit
from domain.event import EventContext, Metadata, acting
from system.listener import Listener
from system.persistence.tables import BREAKER_METRICS

log = structlog.get_logger(__name__)

POLL_SECONDS = 2.0
"""How often to show the metrics, and to look at the log although nobody said that it changed."""


class Circuits:
    """Records the changes of this process's breakers and adopts those of other processes.

    A new process starts from the recorded state. Changes are recorded on a thread of their own,
    so that no call waits for the database.
    """

    def __init__(self, operations: Operations, listener: Listener, process: str) -> None:
        self._operations = operations
        self._process = process
        self._breakers: dict[str, EventDrivenCircuitBreaker] = {}
        self._changes: list[StateChange] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="circuits", daemon=True)
        listener.subscribe(f"{operations.name.lower()}_events", lambda _payload: self._wake.set())

    def add(self, breaker: EventDrivenCircuitBreaker) -> None:
        """Keeps a breaker in step from now on, beginning with the recorded state."""
        assert breaker.name is not None
        self._adopt(breaker)
        breaker.add_listener(self._on_change)
        self._breakers[breaker.name] = breaker

    def breakers(self) -> Iterable[EventDrivenCircuitBreaker]:
        """The breakers of this process."""
        return tuple(self._breakers.values())

    def start(self) -> None:
        """Begins to record and to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Records what is left, and stops."""
        self._stopping.set()
        self._wake.set()
        self._thread.join()

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
                for breaker in self.breakers():
                    self._adopt(breaker)
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

    def _show_metrics(self) -> None:
        rows = [
            Upsert(
                BREAKER_METRICS.name,
                (self._process, breaker.name),
                {
                    "metrics": breaker.metrics().as_dict(),
                    "configuration": breaker.config.as_dict(),
                    "shown_at": self._operations.clock.now(),
                },
            )
            for breaker in self.breakers()
        ]
        self._operations.record(rows=rows)

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
