"""Where the processes of one web role keep their counts, so that a scrape of any shows all."""

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Where prometheus-client expects to be told of the folder."""
PREFIX = "paysaga-metrics-"
SETTLED_SECONDS = 60
"""A folder younger than this may have an owner that has not locked it yet."""


class SharedMetrics:
    """A folder with a file per place. A process that is started in the place of a dead one counts
    on in its file: nothing that was counted is lost, and there are never more files than places.

    The methods named as gunicorn's hooks are to be given to it.
    """

    def __init__(self, parent: Path) -> None:
        _sweep(parent)
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        self._descriptor = os.open(self.folder, os.O_RDONLY)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        os.environ[FOLDER_VARIABLE] = str(self.folder)
        self._places: dict[Any, int] = {}

    def pre_fork(self, _arbiter: Any, worker: Any) -> None:
        """Gives the process that is about to be started the lowest free place."""
        taken = set(self._places.values())
        self._places[worker] = next(n for n in range(len(taken) + 1) if n not in taken)

    def post_fork(self, _arbiter: Any, worker: Any) -> None:
        """In the new process, before any metric is made."""
        from prometheus_client import values

        place = self._places[worker]
        values.ValueClass = values.MultiProcessValue(lambda: place)  # type: ignore[no-untyped-call]

    def child_exit(self, _arbiter: Any, worker: Any) -> None:
        """The process is gone; its place is free."""
        self._places.pop(worker, None)

    def on_exit(self, _arbiter: Any) -> None:
        """All processes have ended."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._descriptor)


def _sweep(parent: Path) -> None:
    """Removes the folders of web roles that were killed. The lock on a folder is held by all
    processes of its role together, and goes with the last."""
    for folder in parent.glob(f"{PREFIX}*"):
        try:
            if time.time() - folder.stat().st_mtime > SETTLED_SECONDS and not _is_owned(folder):
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue


def _is_owned(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
