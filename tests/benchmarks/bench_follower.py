"""How many events a second pass through a follower, beside the eventsourcing library's own.

Run `python -m tests.benchmarks.bench_follower`. Both take in the same logs with the same policies:
PaySaga's `Following` in batches, the library's `Follower.pull_and_process` one transaction at a
time. Also shows that a worker's memory does not grow with what it has read.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4, uuid5

import psutil
from eventsourcing.application import ProcessingEvent
from eventsourcing.persistence import InfrastructureFactory
from eventsourcing.postgres import PostgresFactory, PostgresProcessRecorder
from eventsourcing.utils import Environment
from psycopg import Cursor
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow

from application.event_log import EventLog, Work
from application.gateway import Gateway
from application.payments import Payments
from application.rows import fold
from domain.event import EventContext, Metadata, acting, caused_by
from domain.gateway_call import GatewayCall, Operation
from domain.gateway_report import GatewayReport, TransactionKind, TransactionStatus, cart_id_for
from domain.money import money
from domain.payment import Payment
from domain.payment_saga import PaymentSaga
from domain.saga_steps import SagaTimings
from interface.clock import RandomIds, SystemClock
from system.applications import LOG_NAMES
from system.followers.base import BatchFollower
from system.followers.payment_sagas import PaymentSagasFollower
from system.following import Following
from system.persistence.postgres import PostgresPersistence
from system.persistence.row_sql import RowWriter
from system.persistence.tables import TABLES
from system.projections.payments_view import PaymentsView
from tests.benchmarks.kit import durable_database, in_turns, median_ratio, table

CHUNK = 100
"""How many payments get their events in one transaction: those of a payment lie near each other."""

PROVIDER = "paytabs"


ROWS = RowWriter(TABLES)


class LibraryRecorder(PostgresProcessRecorder):
    """The library's recorder, writing rows of views in its transaction as its manual shows."""

    def _insert_events(self, curs: Cursor[DictRow], stored_events: Any, **kwargs: Any) -> None:
        super()._insert_events(curs, stored_events, **kwargs)
        if kwargs.get("rows"):
            ROWS.write(curs.connection, fold(kwargs["rows"]))


class LibraryPersistence:
    """Gives each application the library's own factory on the same database."""

    def __init__(self, database_url: str) -> None:
        known: dict[str, Any] = conninfo_to_dict(database_url)
        self._env = {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": known["dbname"],
            "POSTGRES_HOST": known["host"],
            "POSTGRES_PORT": str(known.get("port", 5432)),
            "POSTGRES_USER": known["user"],
            "POSTGRES_PASSWORD": "",
            "PROCESS_RECORDER_TOPIC": f"{__name__}:LibraryRecorder",
        }

    def factory(self, env: Environment) -> InfrastructureFactory[Any]:
        """See `application.ports.Persistence`. Tables are named apart from PaySaga's."""
        return PostgresFactory(Environment(f"Library{env.name}", {**env, **self._env}))


class OneByOne(BatchFollower):
    """Runs a policy of PaySaga in the library's way: one event, one transaction."""

    clock: Any

    def policy(self, event: Any, processing: ProcessingEvent[UUID]) -> None:
        """Hands over what the policy makes of an event."""
        assert processing.tracking is not None
        work = Work(self, processing.tracking)  # type: ignore[arg-type]
        with acting(caused_by(event, self.name, self.clock.now())):
            super().policy(event, work)
        work.settle()
        processing.events.extend(work.events)
        if work.rows:
            processing.saved_kwargs["rows"] = work.rows


class LibraryPaymentsView(OneByOne, PaymentsView):
    """`PaymentsView` with the library's follower."""

    name = "PaymentsView"


class LibrarySagas(OneByOne, PaymentSagasFollower):
    """`PaymentSagasFollower` with the library's follower."""

    name = "PaymentSagas"


def payment_events(payment_id: UUID, now: datetime) -> list[Any]:
    """What the log of payments holds of one payment that is completed."""
    payment = Payment.initiate(
        payment_id,
        amount=money("149.50", "SAR"),
        description="Tea",
        contract_id=None,
        client=None,
        payment_method="all",
        capture_method="automatic",
        redirect_url=None,
        callback_url=None,
        merchant_metadata={"order": "6735"},
        request_fingerprint="0" * 64,
    )
    ref = f"TST{payment_id.hex[:13]}"
    payment.process(ref, PROVIDER, f"https://gateway.example/{ref}", now + timedelta(minutes=20))
    report = GatewayReport(
        ref, TransactionKind.SALE, TransactionStatus.AUTHORISED, str(payment_id), payment.amount
    )
    payment.complete(payment.amount, report, now)
    return list(payment.collect_events())


def gateway_events(payment_id: UUID, now: datetime) -> list[Any]:
    """What the log of gateway calls holds of a payment whose page was opened."""
    call = GatewayCall.request(
        uuid5(PaymentSaga.create_id(payment_id), "call-1"),
        payment_id=payment_id,
        operation=Operation.OPEN_PAGE,
        cart_id=cart_id_for(payment_id, "a", 1),
        transaction_ref=None,
        amount=money("149.50", "SAR"),
        sent_at=now,
    )
    ref = f"TST{payment_id.hex[:13]}"
    call.succeed(PROVIDER, ref, f"https://gateway.example/{ref}", [])
    return list(call.collect_events())


def fill(payments: Payments, gateway: Gateway, count: int) -> int:
    """Records the events of so many payments; returns how many events that were."""
    events = 0
    clock = SystemClock()
    for _ in range(count // CHUNK):
        context = EventContext(Metadata(str(uuid4()), source="api"), clock.now())
        with acting(context):
            ids = [uuid4() for _ in range(CHUNK)]
            made = [event for each in ids for event in payment_events(each, context.now)]
            called = [event for each in ids for event in gateway_events(each, context.now)]
        payments.events.put(made)
        gateway.events.put(called)
        events += len(made) + len(called)
    return events


class Setting:
    """Leaders with their logs, and followers of both kinds that have read them so far."""

    def __init__(self, database_url: str) -> None:
        self._persistence = PostgresPersistence(database_url, 8)
        self._persistence.prepare(LOG_NAMES)
        library, clock = LibraryPersistence(database_url), SystemClock()
        vault: Any = None
        self.payments = Payments(self._persistence, clock, RandomIds(), vault)
        self.gateway = Gateway(self._persistence, clock)
        timings = SagaTimings()
        self.view = PaymentsView(self._persistence, clock)
        self.sagas = PaymentSagasFollower(self._persistence, clock, timings, PROVIDER)
        self.library_view = LibraryPaymentsView(library, clock)
        self.library_sagas = LibrarySagas(library, clock, timings, PROVIDER)
        leaders_of: list[tuple[OneByOne, list[EventLog[Any]]]] = [
            (self.library_view, [self.payments]),
            (self.library_sagas, [self.payments, self.gateway]),
        ]
        for follower, leaders in leaders_of:
            for leader in leaders:
                follower.follow(leader.name, leader.notification_log)
                follower.mappers[leader.name] = leader.mapper

    def close(self) -> None:
        """Closes all connections."""
        self._persistence.close()
        for application in (self.library_view, self.library_sagas):
            application.close()


def ours(follower: BatchFollower, leaders: Sequence[EventLog[Any]]) -> Callable[[], float]:
    """Events a second of PaySaga's follower, from where it stands to the end of the logs."""
    followings = [Following(follower, leader) for leader in leaders]

    def measure() -> float:
        began, count = time.perf_counter(), 0
        while taken := sum(following.advance() for following in followings):
            count += taken
        return count / (time.perf_counter() - began)

    return measure


def library(follower: OneByOne, leaders: Sequence[EventLog[Any]]) -> Callable[[], float]:
    """Events a second of the library's follower, over all that PaySaga's follower took in."""

    def measure() -> float:
        before = [follower.recorder.max_tracking_id(leader.name) or 0 for leader in leaders]
        began = time.perf_counter()
        for leader in leaders:
            follower.pull_and_process(leader.name)
        elapsed = time.perf_counter() - began
        after = [follower.recorder.max_tracking_id(leader.name) or 0 for leader in leaders]
        return (sum(after) - sum(before)) / elapsed

    return measure


def compare(setting: Setting, rounds: int, payments: int) -> list[list[object]]:
    """A line for the view and one for the sagas; each round has fresh events."""
    pairs = {
        "PaymentsView": (
            ours(setting.view, [setting.payments]),
            library(setting.library_view, [setting.payments]),
        ),
        "PaymentSagas": (
            ours(setting.sagas, [setting.payments, setting.gateway]),
            library(setting.library_sagas, [setting.payments, setting.gateway]),
        ),
    }
    figures: dict[str, dict[str, list[float]]] = {
        name: {"PaySaga": [], "library": []} for name in pairs
    }
    for _ in range(rounds):
        fill(setting.payments, setting.gateway, payments)
        for name, (own, other) in pairs.items():
            found = in_turns({"PaySaga": own, "library": other}, 1)
            for side, values in found.items():
                figures[name][side] += values
    return [
        [
            name,
            statistics.median(sides["library"]),
            statistics.median(sides["PaySaga"]),
            f"{median_ratio(sides['PaySaga'], sides['library']):.1f}",
        ]
        for name, sides in figures.items()
    ]


def memory(setting: Setting, events: int) -> list[list[object]]:
    """The memory of this process while the view and the sagas read so many events."""
    measure = [
        ours(setting.view, [setting.payments]),
        ours(setting.sagas, [setting.payments, setting.gateway]),
    ]
    rows: list[list[object]] = []
    marks = [events // 5, events]
    read = 0
    while marks:
        read += fill(setting.payments, setting.gateway, min(1000, max(CHUNK, events // 50)))
        for take_in in measure:
            take_in()
        if read >= marks[0]:
            marks.pop(0)
            rows.append([read, psutil.Process().memory_info().rss / 2**20])
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--payments", type=int, default=500, help="of a round, 5 events each")
    parser.add_argument("--memory-events", type=int, default=20_000)
    options = parser.parse_args(arguments)
    with durable_database("bench_follower") as url:
        setting = Setting(url)
        compare(setting, 1, CHUNK)
        table(
            "Events a second through a follower",
            ["follower", "library", "PaySaga", "median ratio"],
            compare(setting, options.rounds, options.payments),
        )
        table("Memory while following", ["events", "MiB"], memory(setting, options.memory_events))
        setting.close()


if __name__ == "__main__":
    main()
