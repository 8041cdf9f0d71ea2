"""Keeps one child process alive, and ends it within a time limit."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

import structlog

from interface.serve.backoff import Backoff

log = structlog.get_logger(__name__)

KILL_WAIT_SECONDS = 5.0
_POLL_SECONDS = 0.05


class Child:
    """A process in a session of its own, so that Ctrl-C in the terminal does not reach it.

    Args:
        stop_timeout_seconds: how long it may take to end after SIGTERM.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        stop_timeout_seconds: float,
    ) -> None:
        self.name = name
        self._command = command
        self._environment = environment
        self._stop_timeout_seconds = stop_timeout_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._backoff = Backoff()
        self._start_at = 0.0

    @property
    def pid(self) -> int | None:
        """The process id; None while there is no process."""
        return self._process.pid if self._process else None

    @property
    def ended_early(self) -> int:
        """How many times in a row it ended soon after its start."""
        return self._backoff.ended_early

    def keep_alive(self) -> None:
        """Starts it when it does not run and its time has come. To be called all the time.

        Raises:
            OSError: no process can be made.
        """
        now = time.monotonic()
        if self._process is not None and self._process.poll() is not None:
            self._note_end(self._process, now)
        if self._process is None and now >= self._start_at:
            self._start(now)

    def stop(self, is_hurried: Callable[[], bool]) -> None:
        """Asks it to end; kills it after the time limit, or as soon as somebody is in a hurry."""
        if self._process is None:
            return
        deadline = time.monotonic() + self._stop_timeout_seconds
        self._process.terminate()
        while self._process.poll() is None:
            if is_hurried() or time.monotonic() > deadline:
                log.warning("child_killed", child=self.name, pid=self._process.pid)
                break
            time.sleep(_POLL_SECONDS)
        self._sweep(self._process)
        self._process = None

    def _start(self, now: float) -> None:
        self._process = subprocess.Popen(  # noqa: S603
            self._command,
            env=dict(self._environment),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._backoff.started(now)
        log.info("child_started", child=self.name, pid=self._process.pid)

    def _note_end(self, process: subprocess.Popen[bytes], now: float) -> None:
        self._sweep(process)
        delay_seconds = self._backoff.ended(now)
        log.warning(
            "child_ended",
            child=self.name,
            pid=process.pid,
            exit_code=process.returncode,
            restart_in_seconds=delay_seconds,
        )
        self._process = None
        self._start_at = now + delay_seconds

    def _sweep(self, process: subprocess.Popen[bytes]) -> None:
        """Kills what is left of the child's own process group, so that nothing keeps its port."""
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            log.debug("child_left_nothing", child=self.name)
        process.wait(KILL_WAIT_SECONDS)
