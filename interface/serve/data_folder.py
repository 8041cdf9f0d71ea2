"""The folder that one `serve` owns while it runs, and what it tells other commands there."""

import errno
import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from interface.settings import PREFIX, InvalidSettings

LOCK_FILE = "serve.lock"
RUNNING_FILE = "serve.json"
RUNNING_BYTES_MAX = 65_536


@dataclass(frozen=True)
class Running:
    """Where a running `serve` has put things; None: not started by it."""

    pid: int
    url: str
    database_url: str | None
    gateway_url: str | None


class DataFolder:
    """The data folder, locked from `open` to `close`; the lock ends with the process.

    `was_killed` tells that the last `serve` in it had no time to end what it had started.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.was_killed = False
        self._lock: int | None = None

    def __enter__(self) -> Self:
        """Makes and locks the folder.

        Raises:
            InvalidSettings: it cannot be used, or another `serve` uses it.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _lock_file(self.path / LOCK_FILE, fcntl.LOCK_EX)
            self.was_killed = (self.path / RUNNING_FILE).exists()
        except OSError as error:
            raise InvalidSettings([_problem(self.path, error)]) from None
        return self

    def __exit__(self, *_error: object) -> None:
        """Says that nothing runs any more, and unlocks."""
        (self.path / RUNNING_FILE).unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def tell(self, running: Running) -> None:
        """Writes what runs, for other commands of the same user."""
        fresh = self.path / f".{RUNNING_FILE}"
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(asdict(running)))
        fresh.replace(self.path / RUNNING_FILE)


def running_serve(path: Path) -> Running | None:
    """What the `serve` that runs on this folder told; None when there is none.

    Raises:
        InvalidSettings: the folder cannot be read.
    """
    try:
        if not (path / LOCK_FILE).exists() or not _is_locked(path / LOCK_FILE):
            return None
        text = (path / RUNNING_FILE).read_text()[:RUNNING_BYTES_MAX]
        return Running(**json.loads(text))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    except OSError as error:
        raise InvalidSettings([_problem(path, error)]) from None


def _is_locked(path: Path) -> bool:
    try:
        os.close(_lock_file(path, fcntl.LOCK_SH))
    except BlockingIOError:
        return True
    return False


def _lock_file(path: Path, kind: int) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _problem(path: Path, error: OSError) -> str:
    if error.errno == errno.EWOULDBLOCK:
        return (
            f"{PREFIX}DATA_DIR: '{path}' is in use by another `paysaga serve`: stop that one, "
            "or set another folder"
        )
    return (
        f"{PREFIX}DATA_DIR: '{error.filename or path}' cannot be used: {error.strerror}; "
        "give this user the right to write there, or set another folder"
    )
