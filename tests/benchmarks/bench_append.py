"""How many commits a second an event log takes, beside the recorder of the eventsourcing library.

Run `python -m tests.benchmarks.bench_append`. Both recorders write to the same database, each to
tables of its own, through pools of the same size; every round times both in turn.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from typing import Any
from uuid import uuid4

from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg.conninfo import conninfo_to_dict

from system.persistence.postgres import PostgresPersistence, PostgresRecorder
from tests.benchmarks.kit import (
    durable_database,
    in_turns,
    median_ratio,
    seconds_together,
    table,
)

TOPIC = "domain.payment:Payment.Processing"
STATE = b'{"timestamp":"2026-01-01T00:00:00.000000+00:00","note":"' + b"x" * 400 + b'"}'
BATCH_SIZE = 100
WRITER_COUNTS = (1, 4, 8)
PROCESSES = 8
BARRIER_TIMEOUT_SECONDS = 60

Recorder = PostgresApplicationRecorder
MakeRecorder = Callable[[str, int], Recorder]


def library_recorder(database_url: str, pool_size: int) -> Recorder:
    """The recorder that an application gets when nobody chooses another."""
    known: dict[str, Any] = conninfo_to_dict(database_url)
    datastore = PostgresDatastore(
        dbname=known["dbname"],
        host=known["host"],
        port=known.get("port", 5432),
        user=known["user"],
        password="",
        pool_size=pool_size,
    )
    return PostgresApplicationRecorder(datastore, events_table_name="library_events")


def our_recorder(database_url: str, pool_size: int) -> Recorder:
    """PaySaga's recorder of one log."""
    persistence = PostgresPersistence(database_url, pool_size)
    persistence.prepare(())
    return PostgresRecorder(persistence.datastore, persistence.writer, "bench")


CONTENDERS: dict[str, MakeRecorder] = {"library": library_recorder, "PaySaga": our_recorder}


def write(recorder: Recorder, commits: int, size: int) -> None:
    """Commits fresh events, `size` of one aggregate at a time."""
    for _ in range(commits):
        aggregate_id = uuid4()
        recorder.insert_events(
            [StoredEvent(aggregate_id, version, TOPIC, STATE) for version in range(1, size + 1)]
        )


def commits_per_second(recorder: Recorder, writers: int, commits: int, size: int) -> float:
    """Of all writers together, each in a thread of its own."""
    share = max(1, commits // writers)
    jobs = [partial(write, recorder, share, size)] * writers
    return share * writers / seconds_together(jobs)


def _write_in_process(
    kind: str, database_url: str, share: int, begin: Barrier, end: Barrier
) -> None:
    recorder = CONTENDERS[kind](database_url, 1)
    write(recorder, 2, 1)
    begin.wait(BARRIER_TIMEOUT_SECONDS)
    write(recorder, share, 1)
    end.wait(BARRIER_TIMEOUT_SECONDS)
    recorder.datastore.close()


def commits_per_second_of_processes(
    kind: str, database_url: str, processes: int, commits: int
) -> float:
    """Like `commits_per_second`, but no two writers share an interpreter."""
    context = get_context("spawn")
    share = max(1, commits // processes)
    begin, end = context.Barrier(processes + 1), context.Barrier(processes + 1)
    workers = [
        context.Process(
            target=_write_in_process, args=(kind, database_url, share, begin, end), daemon=True
        )
        for _ in range(processes)
    ]
    for worker in workers:
        worker.start()

    begin.wait(BARRIER_TIMEOUT_SECONDS)
    began = time.perf_counter()
    end.wait(BARRIER_TIMEOUT_SECONDS)
    elapsed = time.perf_counter() - began
    for worker in workers:
        worker.join()
    return share * processes / elapsed


def compare(name: str, measures: Mapping[str, Callable[[], float]], rounds: int) -> list[object]:
    """One line of the table."""
    figures = in_turns(measures, rounds)
    own, baseline = figures["PaySaga"], figures["library"]
    return [
        name,
        statistics.median(baseline),
        statistics.median(own),
        f"{median_ratio(own, baseline):.2f}",
        f"{min(a / b for a, b in zip(own, baseline, strict=True)):.2f}",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--commits", type=int, default=1000, help="single events a round")
    parser.add_argument("--batches", type=int, default=40, help=f"batches of {BATCH_SIZE} a round")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="0: leave them out")
    options = parser.parse_args(arguments)
    columns = ["writers", "library", "PaySaga", "median ratio", "worst round"]
    with durable_database("bench_append") as url:
        recorders = {name: make(url, max(WRITER_COUNTS)) for name, make in CONTENDERS.items()}
        for recorder in recorders.values():
            recorder.create_table()
            commits_per_second(recorder, max(WRITER_COUNTS), 80, 1)
        rows = [
            _compare_singles(recorders, writers, options.commits, options.rounds)
            for writers in WRITER_COUNTS
        ]
        if options.processes:
            rows.append(_compare_processes(url, options))
        table("Commits of one event a second", columns, rows)
        rows = [_compare_batches(recorders, writers, options) for writers in (1, 8)]
        table(f"Events a second, {BATCH_SIZE} to a commit", columns, rows)
        for recorder in recorders.values():
            recorder.datastore.close()


def _compare_singles(
    recorders: dict[str, Recorder], writers: int, commits: int, rounds: int
) -> list[object]:
    measures = {
        name: partial(commits_per_second, recorder, writers, commits, 1)
        for name, recorder in recorders.items()
    }
    return compare(f"{writers} threads", measures, rounds)


def _compare_processes(database_url: str, options: argparse.Namespace) -> list[object]:
    count = options.processes
    measures = {
        name: partial(commits_per_second_of_processes, name, database_url, count, options.commits)
        for name in CONTENDERS
    }
    return compare(f"{count} processes", measures, min(3, options.rounds))


def _compare_batches(
    recorders: dict[str, Recorder], writers: int, options: argparse.Namespace
) -> list[object]:
    measures = {
        name: partial(_events_per_second, recorder, writers, options.batches)
        for name, recorder in recorders.items()
    }
    return compare(f"{writers} threads", measures, options.rounds)


def _events_per_second(recorder: Recorder, writers: int, batches: int) -> float:
    return commits_per_second(recorder, writers, batches, BATCH_SIZE) * BATCH_SIZE


if __name__ == "__main__":
    main()
