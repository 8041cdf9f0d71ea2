"""When a role must end: on SIGTERM and SIGINT, and when the `serve` that started it is gone."""

import os
import signal
import threading
from types import FrameType

import structlog

from interface.settings import PREFIX, InvalidSettings

log = structlog.get_logger(__name__)

PARENT_VARIABLE = f"{PREFIX}PARENT_PID"
CHECK_SECONDS = 0.5


def expected_parent() -> int | None:
    """The process that started us and without which we must not go on; None: nobody in particular.

    Raises:
        InvalidSettings: the variable holds no process id.
    """
    text = os.environ.get(PARENT_VARIABLE, "")
    if not text:
        return None
    if not text.isdecimal():
        raise InvalidSettings([f"{PARENT_VARIABLE}: '{text}' is wrong: expected a process id"])
    return int(text)


def is_orphaned(parent: int | None) -> bool:
    """True when the expected parent is not our parent any more."""
    return parent is not None and os.getppid() != parent


class Lifetime:
    """Waits for the end, whichever way it is told. Made in the main thread."""

    def __init__(self) -> None:
        self._parent = expected_parent()
        self._ending = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    @property
    def is_ending(self) -> bool:
        """True once the role must end."""
        if not self._ending.is_set() and is_orphaned(self._parent):
            log.warning("parent_is_gone", parent=self._parent)
            self._ending.set()
        return self._ending.is_set()

    def wait(self) -> None:
        """Returns when the role must end."""
        while not self.is_ending:
            self._ending.wait(CHECK_SECONDS)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._ending.set()
