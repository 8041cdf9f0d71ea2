"""How long after a commit an idle runner has committed what follows from it.

Run `python -m tests.benchmarks.bench_latency`. The runner is a process of its own, as in
production; this process commits a payment and listens for what the followers commit.
"""

import argparse
import time
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection as Pipe
from uuid import UUID

import psycopg

from application.payments import NewPayment
from domain.event import EventContext, Metadata, acting
from domain.money import money
from interface.bootstrap import build_applications, open_persistence
from interface.settings import load_settings
from system.listener import Listener
from system.runner import Runner
from tests.benchmarks.kit import durable_database, percentile, table

WARM_UP = 20
PAUSE_SECONDS = 0.03
"""Between two payments: long enough for every follower to have nothing to do again."""
HEAR_SECONDS_MAX = 10.0
SAGA, AGENDA = "paymentsagas_events", "agenda"


def run_followers(database_url: str, orders: Pipe) -> None:
    """The runner's process, until it is told to stop."""
    settings = load_settings(database_url=database_url)
    persistence = open_persistence(settings)
    applications = build_applications(settings, persistence)
    listener = Listener(settings.conninfo)
    runner = Runner(applications, persistence, listener, "bench")
    listener.start()
    runner.start()
    orders.send("ready")
    orders.recv()
    runner.stop()
    listener.stop()
    persistence.close()


def measure(database_url: str, payments: int) -> dict[str, list[float]]:
    """The milliseconds from each commit to the news of what two followers made of it."""
    settings = load_settings(database_url=database_url)
    persistence = open_persistence(settings)
    applications = build_applications(settings, persistence)
    found: dict[str, list[float]] = {SAGA: [], AGENDA: []}
    with psycopg.connect(database_url, autocommit=True) as connection:
        for channel in found:
            connection.execute(f"LISTEN {channel}")
        for number in range(WARM_UP + payments):
            time.sleep(PAUSE_SECONDS)
            context = EventContext(Metadata("bench", source="api"), applications.clock.now())
            with acting(context):
                payment, _ = applications.payments.initiate(
                    NewPayment(money("149.50", "SAR"), "Tea")
                )
            committed = time.perf_counter()
            heard = hear(connection, payment.id, set(found))
            if number >= WARM_UP:
                for channel, moment in heard.items():
                    found[channel].append((moment - committed) * 1000)
    persistence.close()
    return found


def hear(connection: psycopg.Connection, payment_id: UUID, channels: set[str]) -> dict[str, float]:
    """When each channel was first heard of.

    Raises:
        TimeoutError: one was not.
    """
    heard: dict[str, float] = {}
    deadline = time.monotonic() + HEAR_SECONDS_MAX
    while channels - heard.keys():
        for notification in connection.notifies(timeout=1.0, stop_after=1):
            heard.setdefault(notification.channel, time.perf_counter())
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing came of payment {payment_id}")
    return heard


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--payments", type=int, default=200)
    options = parser.parse_args(arguments)
    with durable_database("bench_latency") as url:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        runner = context.Process(target=run_followers, args=(url, theirs), daemon=True)
        runner.start()
        ours.recv()
        time.sleep(1.0)
        found = measure(url, options.payments)
        ours.send("stop")
        runner.join()
    names = {SAGA: "payment → its saga", AGENDA: "payment → saga → agenda"}
    table(
        "From a commit to the commit of what follows from it, ms",
        ["way", "payments", "p50", "p99", "max"],
        [
            [
                names[channel],
                len(values),
                percentile(values, 0.50),
                percentile(values, 0.99),
                max(values),
            ]
            for channel, values in found.items()
        ],
    )


if __name__ == "__main__":
    main()
