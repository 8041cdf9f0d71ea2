"""What one call of a log's recorder costs this process: processor time, which a busy disk spares.

Run `python -m tests.benchmarks.bench_calls`. No baseline: it is for comparing two states of the
code on one machine, call by call.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import count
from uuid import uuid4

from eventsourcing.persistence import StoredEvent, Tracking

from application.rows import Upsert
from system.applications import LOG_NAMES
from system.persistence.postgres import PostgresPersistence, PostgresRecorder
from system.persistence.tables import SAGAS_VIEW
from tests.benchmarks.bench_append import STATE, TOPIC, write
from tests.benchmarks.kit import durable_database, table

LEADER = "Leader"
EVENTS = 10
PAGE = 200
ROUNDS = 5


class Calls:
    """The calls that a payment's way through the system is made of."""

    def __init__(self, recorder: PostgresRecorder) -> None:
        self._recorder = recorder
        self._positions = count(1)
        self._known = uuid4()
        write(recorder, PAGE, 1)
        events = [StoredEvent(self._known, n, TOPIC, STATE) for n in range(1, EVENTS + 1)]
        recorder.insert_events(events)

    def all(self) -> dict[str, Callable[[], object]]:
        """Each call by its name."""
        read = partial(self._recorder.select_notifications, inclusive_of_start=False)
        return {
            "commit one event": partial(write, self._recorder, 1, 1),
            "commit five events": partial(write, self._recorder, 1, 5),
            "commit a position": self._commit_position,
            "commit a position and one row": partial(self._commit_position, 1),
            "commit a position and 20 rows": partial(self._commit_position, 20),
            f"read an aggregate of {EVENTS}": partial(self._recorder.select_events, self._known),
            "read a log without news": partial(read, 2**40, PAGE),
            f"read {PAGE} events of a log": partial(read, 0, PAGE),
        }

    def _commit_position(self, rows: int = 0) -> None:
        now = datetime.now(UTC)
        values = {"payment_id": uuid4(), "status": "running", "created_at": now, "updated_at": now}
        self._recorder.insert_events(
            [],
            tracking=Tracking(LEADER, next(self._positions)),
            rows=[Upsert(SAGAS_VIEW.name, (uuid4(),), values) for _ in range(rows)],
        )


def microseconds(call: Callable[[], object], calls: int) -> float:
    """Processor time of this process for one call, the median of some rounds."""
    found = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(calls):
            call()
        found.append((time.process_time() - began) * 1e6 / calls)
    return statistics.median(found)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=100, help="of each kind, five times")
    options = parser.parse_args(arguments)
    with durable_database("bench_calls") as url:
        persistence = PostgresPersistence(url, 2)
        persistence.prepare([*LOG_NAMES, "Bench"])
        recorder = PostgresRecorder(persistence.datastore, persistence.writer, "bench")
        calls = Calls(recorder).all()
        rows = [[name, microseconds(call, options.calls)] for name, call in calls.items()]
        table("Processor time of one call", ["call", "µs"], rows)
        persistence.close()


if __name__ == "__main__":
    main()
