"""What the benchmarks share: a PostgreSQL that waits for its disk, fair rounds, plain tables."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier, BrokenBarrierError, Thread

import psycopg

from interface.embedded_postgres import EmbeddedPostgres

DURABLE: Mapping[str, str] = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
}
"""As one would run it with money in it: a commit is answered when it is on the disk."""

SHOWN = ("server_version", *DURABLE)
BARRIER_TIMEOUT_SECONDS = 120.0
PROBE_COMMITS = 300


@contextmanager
def durable_postgres() -> Iterator[EmbeddedPostgres]:
    """A server of its own in a temporary folder, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="paysaga-bench-", ignore_cleanup_errors=True) as name:
        server = EmbeddedPostgres(Path(name) / "postgres", options=DURABLE)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def durable_database(name: str) -> Iterator[str]:
    """The address of an empty database on a durable server, whose settings are printed."""
    with durable_postgres() as server:
        url = server.ensure_database(name)
        print(describe(url))
        yield url


def describe(database_url: str) -> str:
    """The server's settings, and what one bare commit costs here at this moment."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        shown = [f"{name} {_setting(connection, name)}" for name in SHOWN]
        connection.execute("CREATE TABLE IF NOT EXISTS probe (n integer)")
        began = time.perf_counter()
        for number in range(PROBE_COMMITS):
            connection.execute("INSERT INTO probe VALUES (%s)", (number,))
        each_ms = (time.perf_counter() - began) * 1000 / PROBE_COMMITS
    return (
        f"PostgreSQL: {', '.join(shown)}\n"
        f"One bare INSERT with its commit: {each_ms:.2f} ms; "
        f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"
    )


def _setting(connection: psycopg.Connection, name: str) -> str:
    row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
    return str(row[0]) if row else ""


def seconds_together(jobs: Sequence[Callable[[], object]]) -> float:
    """The wall time of jobs that threads begin at the same moment.

    Raises:
        Exception: the first error of a job.
    """
    barrier = Barrier(len(jobs) + 1)
    errors: list[Exception] = []

    def run(job: Callable[[], object]) -> None:
        try:
            barrier.wait(BARRIER_TIMEOUT_SECONDS)
            job()
        except Exception as error:
            errors.append(error)
            barrier.abort()
            return
        try:
            barrier.wait(BARRIER_TIMEOUT_SECONDS)
        except BrokenBarrierError as error:
            errors.append(error)

    threads = [Thread(target=run, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    elapsed = 0.0
    try:
        barrier.wait(BARRIER_TIMEOUT_SECONDS)
        began = time.perf_counter()
        barrier.wait(BARRIER_TIMEOUT_SECONDS)
        elapsed = time.perf_counter() - began
    except BrokenBarrierError:
        for thread in threads:
            thread.join(1.0)
    if errors:
        raise errors[0]
    return elapsed


def in_turns(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Measures each contender once a round, the order turned round every time."""
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        names = list(contenders) if number % 2 == 0 else [*contenders][::-1]
        for name in names:
            figures[name].append(contenders[name]())
    return figures


def median_ratio(own: Sequence[float], baseline: Sequence[float]) -> float:
    """The median of the rounds' own ratios: what disturbs a round disturbs both sides of it."""
    return statistics.median(a / b for a, b in zip(own, baseline, strict=True))


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile; `share` is between 0 and 1."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 1e6) * len(ordered) // 10**6) - 1))]


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints rows under their columns, ready to be pasted into a document."""
    cells = [list(columns), *[[_text(value) for value in row] for row in rows]]
    widths = [max(len(row[number]) for row in cells) for number in range(len(columns))]
    print(f"\n{title}\n")
    for number, row in enumerate(cells):
        print(
            "| "
            + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
            + " |"
        )
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
    return str(value)
