"""How fast a view is rebuilt while the service answers, the journal written and proven, and a long
payment replayed; and that memory stays flat meanwhile.

Run `python -m tests.benchmarks.bench_audit`. The events go through the domain: each payment is
authorized, captured and refunded in parts, with the customer's data sealed; a thousand payments
take their steps at the same time.
"""

import argparse
import os
import time
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from itertools import chain
from typing import Any
from uuid import UUID, uuid4

import psutil

from application.vault import Vault
from domain.client import ClientInfo
from domain.event import EventContext, Metadata, acting
from domain.gateway_report import GatewayReport, TransactionKind, TransactionStatus
from domain.money import money
from domain.payment import Payment
from domain.saga_steps import SagaTimings
from interface.clock import RandomIds, SystemClock
from interface.serve.ports import free_port
from system.applications import LOG_NAMES, Applications
from system.following import Following
from system.journal_check import JournalCheck
from system.persistence.postgres import PostgresClientKeys, PostgresPersistence
from system.replay import story_of
from tests.benchmarks.fleet import HOST, SECRET, fleet
from tests.benchmarks.kit import durable_database, percentile, table
from tests.benchmarks.wire import Wire

CHUNK = 1000
"""How many payments get their events in one transaction, all of them one step after another."""
CLIENTS = 1000
"""How many people pay; each has a key."""
AMOUNTS = 10_000
"""How many different amounts are paid."""
READ_EVERY_SECONDS = 0.02
READS_BEFORE = 100
LONG_PAYMENT_REFUNDS = 497


class Setting:
    """A database with the events of so many payments, and what reads them."""

    def __init__(self, database_url: str) -> None:
        self.persistence = PostgresPersistence(database_url, 8)
        self.persistence.prepare(LOG_NAMES)
        vault = Vault(PostgresClientKeys(self.persistence), RandomIds())
        self.persistence.use_vault(vault)
        self.applications = Applications(
            self.persistence,
            clock=SystemClock(),
            ids=RandomIds(),
            vault=vault,
            timings=SagaTimings(),
            gateway_name="paytabs",
        )
        self._sealed = [
            vault.seal_client(uuid4(), ClientInfo(f"Client {n}", f"client{n}@example.com"))
            for n in range(CLIENTS)
        ]

    def fill(self, total: int) -> int:
        """Records the events of so many payments; returns how many events that are."""
        count = 0
        for first in range(0, total, CHUNK):
            now = self.applications.clock.now()
            numbers = range(first, min(first + CHUNK, total))
            with acting(EventContext(Metadata(str(uuid4()), source="api"), now)):
                payments = [self._events(n, uuid4()) for n in numbers]
            made = list(chain.from_iterable(zip(*payments, strict=True)))
            self.applications.payments.events.put(made)
            count += len(made)
        return count

    def _events(self, number: int, payment_id: UUID, refunds: int = 2) -> list[Any]:
        """Five events until the money is taken, two for each refund, one for a refund that is
        under way."""
        amount = money(Decimal(60_000 + number % AMOUNTS) / 100, "SAR")
        part = money("1.00", "SAR")
        now = self.applications.clock.now()
        payment = Payment.initiate(
            payment_id,
            amount=amount,
            description="Tea",
            contract_id=None,
            client=self._sealed[number % CLIENTS],
            payment_method="all",
            capture_method="manual",
            redirect_url=None,
            callback_url=None,
            merchant_metadata={"order": str(number)},
            request_fingerprint="0" * 64,
        )
        ref = f"TST{payment_id.hex[:13]}"
        page = f"https://gateway.example/{ref}"
        payment.process(ref, "paytabs", page, now + timedelta(minutes=20))
        report = GatewayReport(
            ref, TransactionKind.SALE, TransactionStatus.AUTHORISED, str(payment_id), amount
        )
        payment.authorize(report)
        payment.request_capture(amount)
        payment.complete(amount, report, now)
        for _ in range(refunds):
            refund_id = uuid4()
            payment.request_refund(refund_id, part, "part")
            payment.refund(refund_id, f"TST{refund_id.hex[:13]}")
        payment.request_refund(uuid4(), part, "part")
        return list(payment.collect_events())

    def long_payment(self, refunds: int = LONG_PAYMENT_REFUNDS) -> UUID:
        """A payment with about a thousand events, or with so many refunds."""
        payment_id, now = uuid4(), self.applications.clock.now()
        with acting(EventContext(Metadata(str(uuid4()), source="api"), now)):
            events = self._events(0, payment_id, refunds)
        self.applications.payments.events.put(events)
        return payment_id

    def take_for_followed(self) -> None:
        """Tells the live view's follower that it has taken everything in: the rebuild that comes
        next makes its rows."""
        head = self.applications.payments.recorder.max_notification_id() or 0
        with self.persistence.connection() as connection:
            connection.execute(
                "INSERT INTO paymentsview_tracking VALUES ('Payments', %s) "
                "ON CONFLICT (application_name) DO UPDATE SET notification_id = %s",
                (head, head),
            )

    def journal(self, entries: int) -> tuple[float, float]:
        """Lets the journal take in so many events; returns how many a second, and the processor
        time of this process for each, µs."""
        journal, log = self.applications.journal, self.applications.payments
        following = Following(journal, log)
        began, used, count = time.perf_counter(), time.process_time(), 0
        while count < entries and (taken := following.advance()):
            count += taken
        processor = time.process_time() - used
        return count / (time.perf_counter() - began), processor / count * 1e6

    def close(self) -> None:
        """Closes all connections."""
        self.applications.close()
        self.persistence.close()


def rebuild_while_serving(database_url: str, name: str) -> list[object]:
    """Seconds of `paysaga projections rebuild NAME`, reads meanwhile, and its memory."""
    with fleet(database_url) as processes:
        port = free_port(HOST)
        processes.start("web", ["interface.cli", "web"], port)
        processes.wait_for("web", port, "/v1/payments?limit=1")
        wire = Wire(port, {"Authorization": f"Bearer {SECRET}"})
        before: list[float] = []
        quiet = _reads(wire, lambda: len(before) >= READS_BEFORE, before)
        load = os.getloadavg()[0]
        began = time.perf_counter()
        processes.start("rebuild", ["interface.cli", "projections", "rebuild", name], 0)
        rebuild = processes.processes["rebuild"]
        memory: list[float] = []
        processor = [0.0]
        times = _reads(
            wire, lambda: rebuild.poll() is not None, memory, rebuild.pid, processor=processor
        )
        seconds = time.perf_counter() - began
        assert rebuild.returncode == 0, processes.output("rebuild")
        third = max(len(memory) // 3, 1)
        return [
            seconds,
            processor[-1],
            load,
            percentile(quiet, 0.99) * 1000,
            percentile(times, 0.5) * 1000,
            percentile(times, 0.99) * 1000,
            max(memory[third : 2 * third], default=0.0),
            max(memory[2 * third :], default=0.0),
        ]


def _reads(
    wire: Wire,
    is_over: Any,
    memory: list[float],
    pid: int | None = None,
    processor: list[float] | None = None,
) -> list[float]:
    """How long reads took until it is over; notes the memory and the processor time of a process
    now and then."""
    times: list[float] = []
    while not is_over():
        began = time.perf_counter()
        status, _ = wire.call("GET", "/v1/payments?limit=20")
        assert status == 200
        times.append(time.perf_counter() - began)
        memory.append(_memory(pid))
        if processor is not None:
            processor.append(_processor_seconds(pid) or processor[-1])
        time.sleep(READ_EVERY_SECONDS)
    return times


def _memory(pid: int | None) -> float:
    try:
        return psutil.Process(pid).memory_info().rss / 2**20
    except psutil.NoSuchProcess:
        return 0.0


def _processor_seconds(pid: int | None) -> float:
    try:
        used = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(used.user + used.system)


def prove(setting: Setting) -> list[object]:
    """Entries a second of a check, and the memory of this process in its midst and at its end."""
    memory: list[float] = []
    began, used = time.perf_counter(), time.process_time()
    check = JournalCheck(setting.persistence, setting.applications)
    verdict = check.run(lambda _done, _total: memory.append(_memory(None)))
    seconds, processor = time.perf_counter() - began, time.process_time() - used
    assert verdict.is_ok, verdict
    each_us = processor / verdict.entries * 1e6
    return [
        verdict.entries,
        verdict.entries / seconds,
        each_us,
        memory[len(memory) // 2],
        memory[-1],
    ]


def replay(setting: Setting) -> list[object]:
    """Processor milliseconds to rebuild a payment of a thousand events, and to tell its story."""
    payment_id = setting.long_payment()
    log = setting.applications.payments
    began = time.process_time()
    payment = log.get(payment_id)
    state = time.process_time()
    story_of(setting.applications, payment_id)
    end = time.process_time()
    return [payment.version, (state - began) * 1000, (end - state) * 1000]


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--payments", type=int, default=2000, help="10 events each")
    parser.add_argument("--rebuilds", type=int, default=2, help="one after another")
    parser.add_argument("--entries", type=int, default=20_000, help="of the journal")
    options = parser.parse_args(arguments)
    with durable_database("bench_audit") as url:
        setting = Setting(url)
        events = setting.fill(options.payments)
        setting.take_for_followed()
        runs = [rebuild_while_serving(url, "PaymentsView") for _ in range(options.rebuilds)]
        columns = ["lists until the swap", "events", "seconds", "events/s", "processor s"]
        columns += ["load before", "reads before, p99 ms", "during, p50 ms", "p99 ms"]
        columns += ["MiB midway", "MiB at end"]
        rows = [
            ["full" if number else "empty", events, run[0], events / float(str(run[0])), *run[1:]]
            for number, run in enumerate(runs)
        ]
        table("Rebuild of PaymentsView while the service answers", columns, rows)
        written = setting.journal(options.entries)
        columns = ["entries", "written/s", "processor µs each", "checked/s", "processor µs each"]
        columns += ["MiB midway", "MiB at end"]
        entries, *proven = prove(setting)
        table("The journal", columns, [[entries, *written, *proven]])
        columns = ["events", "state, ms", "story, ms"]
        table("Replay of one payment", columns, [replay(setting)])
        setting.close()


if __name__ == "__main__":
    main()
