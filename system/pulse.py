"""The thread on which a process says now and then how it is."""

import threading
from collections.abc import Callable, Sequence

import structlog
from eventsourcing.persistence import PersistenceError

log = structlog.get_logger(__name__)

PULSE_SECONDS = 5.0


class Pulse:
    """Calls each of `beats` every `PULSE_SECONDS`, and `leave` at the end. What goes wrong is
    logged and tried again with the next beat: a process must not end because it cannot say that
    it lives."""

    def __init__(self, beats: Sequence[Callable[[], object]], leave: Callable[[], None]) -> None:
        self._beats = beats
        self._leave = leave
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        """Begins with a first beat at once."""
        self._thread.start()

    def stop(self) -> None:
        """Stops, and says goodbye. Harmless when it was never started."""
        if self._stopping.is_set() or self._thread.ident is None:
            return
        self._stopping.set()
        self._thread.join()
        self._attempt(self._leave)

    def _run(self) -> None:
        while not self._stopping.is_set():
            for beat in self._beats:
                self._attempt(beat)
            self._stopping.wait(PULSE_SECONDS)

    def _attempt(self, step: Callable[[], object]) -> None:
        try:
            step()
        except PersistenceError as error:
            log.warning("pulse_missed", error=str(error))
        except Exception:
            log.exception("pulse_missed")
