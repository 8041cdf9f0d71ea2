"""How many payments a second the single-process test mode takes through the whole system.

Run `python -m tests.benchmarks.bench_test_mode`. Memory, one thread, virtual time: creation, hosted
page, payment, callback, completion and confirmation, with every event through the transcoder.
"""

import argparse
import statistics
import time
from collections.abc import Sequence

from eventsourcing.persistence import StoredEvent

from system.testing import SystemUnderTest
from tests.benchmarks.kit import table

ORDER = ("149.50", "SAR", "Tea")
CALLBACK = "https://merchant.example/paid"


def one_by_one(payments: int) -> tuple[float, float]:
    """Payments a second, each finished before the next; and events of each."""
    with SystemUnderTest(seed=1) as s:
        began = time.perf_counter()
        for _ in range(payments):
            payment_id = s.create_payment(*ORDER, callback_url=CALLBACK)
            s.run()
            s.gateway.pay(payment_id)
            s.run()
        elapsed = time.perf_counter() - began
        check(s, payments)
        return payments / elapsed, len(s.events()) / payments


def all_at_once(payments: int) -> tuple[float, float]:
    """Payments a second when all are under way together."""
    with SystemUnderTest(seed=1) as s:
        began = time.perf_counter()
        ids = [s.create_payment(*ORDER, callback_url=CALLBACK) for _ in range(payments)]
        s.run()
        for payment_id in ids:
            s.gateway.pay(payment_id)
        s.run()
        elapsed = time.perf_counter() - began
        check(s, payments)
        return payments / elapsed, len(s.events()) / payments


def check(s: SystemUnderTest, payments: int) -> None:
    """Raises RuntimeError unless every payment was completed and its merchant told."""
    rows = list(s.persistence.tables.rows["view_payments"].values())
    completed = sum(row["status"] == "completed" for row in rows)
    if (completed, len(s.merchant.messages)) != (payments, payments):
        raise RuntimeError(f"{completed} of {payments} payments were completed")


def transcoding(payments: int) -> list[list[object]]:
    """Microseconds to write and to read an event, over all events of some payments."""
    with SystemUnderTest(seed=1) as s:
        for _ in range(payments):
            payment_id = s.create_payment(*ORDER, callback_url=CALLBACK)
            s.run()
            s.gateway.pay(payment_id)
            s.run()
        mapper = s.applications.payments.mapper
        events = [event for log in s.applications.by_name.values() for event in log.all()]
        began = time.perf_counter()
        stored: list[StoredEvent] = [mapper.to_stored_event(event) for event in events]
        written = time.perf_counter()
        for each in stored:
            mapper.transcoder.decode(each.state)
        read = time.perf_counter()
    size = sum(len(each.state) for each in stored) / len(stored)
    count = len(events) / 1e6
    return [[len(events), size, (written - began) / count, (read - written) / count]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--payments", type=int, default=300, help="of a round")
    options = parser.parse_args(arguments)
    rows: list[list[object]] = []
    for name, measure in (("one by one", one_by_one), ("all at once", all_at_once)):
        figures = [measure(options.payments) for _ in range(options.rounds)]
        rate = statistics.median(rate for rate, _ in figures)
        rows.append([name, rate, rate * figures[0][1], f"{figures[0][1]:.0f}"])
    table("Test mode", ["way", "payments/s", "events/s", "events of a payment"], rows)
    table(
        "Transcoding an event",
        ["events", "bytes", "write µs", "read µs"],
        transcoding(options.payments),
    )


if __name__ == "__main__":
    main()
