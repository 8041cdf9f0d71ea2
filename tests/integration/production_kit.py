"""PaySaga as it runs in production, in one process: PostgreSQL, runner, dispatcher; only the
gateway and the merchant are doubles."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from threading import RLock
from typing import Any
from uuid import UUID, uuid4

import psycopg

from application.envelope import public_value
from application.payment_gateway import GatewayNotification
from application.payments import NewPayment
from application.vault import Vault
from domain.event import EventContext, Metadata, acting
from domain.gateway_report import GatewayReport
from domain.money import Money, money
from domain.payment import Payment
from domain.payment_saga import PaymentSaga
from domain.saga_steps import SagaTimings
from interface.bootstrap import build_finder
from interface.clock import RandomIds, SystemClock
from system.agenda_store import PostgresAgendaStore
from system.applications import LOG_NAMES, Applications
from system.dispatcher import Dispatcher
from system.handlers import handlers
from system.listener import Listener
from system.parking import list_parked
from system.persistence.postgres import PostgresClientKeys, PostgresPersistence
from system.persistence.tables import AGENDA
from system.runner import Runner
from system.testing import GatewayDouble, MerchantDouble
from system.work_item import WorkKind

PATIENCE_SECONDS = 30.0
"""More than enough on the busiest machine; nothing waits so long unless it is broken."""
AHEAD_MAX = timedelta(seconds=1)
QUICK = SagaTimings(retry_base=timedelta(milliseconds=20), retry_max=timedelta(milliseconds=100))


def until(condition: Callable[[], bool], what: str = "it") -> None:
    """Returns as soon as the condition holds.

    Raises:
        TimeoutError: it did not in `PATIENCE_SECONDS`.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen in {PATIENCE_SECONDS} s")
        time.sleep(0.01)


@contextmanager
def store(url: str, pool_size: int = 6) -> Iterator[PostgresPersistence]:
    """The database with all its tables."""
    persistence = PostgresPersistence(url, pool_size)
    persistence.prepare(LOG_NAMES)
    try:
        yield persistence
    finally:
        persistence.close()


def applications_on(persistence: PostgresPersistence) -> Applications:
    """All applications on a database."""
    vault = Vault(PostgresClientKeys(persistence), RandomIds())
    persistence.use_vault(vault)
    return Applications(
        persistence,
        clock=SystemClock(),
        ids=RandomIds(),
        vault=vault,
        timings=QUICK,
        gateway_name=GatewayDouble.name,
    )


def context() -> Any:
    """A context for commands."""
    return acting(EventContext(Metadata(str(uuid4()), source="test"), SystemClock().now()))


LOCKED = frozenset(
    {
        *("open_page", "query_cart", "query_transaction", "refund", "capture", "void"),
        *("pay", "decline", "cancel", "refund_in_dashboard", "fall_ill"),
    }
)
"""What touches the books of the gateway's double."""


class OneAtATime(GatewayDouble):
    """The double's books are kept by one thread at a time."""

    def __init__(self, clock: SystemClock, notify: Callable[[GatewayReport], None]) -> None:
        super().__init__(clock, notify)
        self._lock = RLock()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in LOCKED:
            return found

        def locked(*arguments: Any, **options: Any) -> Any:
            with self._lock:
                return found(*arguments, **options)

        return locked


class Production:
    """The same commands as `SystemUnderTest`, for a process of the real system."""

    def __init__(
        self,
        persistence: PostgresPersistence,
        *,
        gateway: GatewayDouble | None = None,
        merchant: MerchantDouble | None = None,
        name: str = "worker-1",
    ) -> None:
        self.persistence = persistence
        self.applications = applications_on(persistence)
        self.gateway = gateway or OneAtATime(SystemClock(), self._notify)
        self.merchant = merchant or MerchantDouble()
        self.agenda = PostgresAgendaStore(persistence)
        self.listener = Listener(persistence.conninfo)
        self.runner = Runner(self.applications, persistence, self.listener, name)
        self.finder = build_finder(self.applications, persistence)
        self.dispatcher = Dispatcher(
            self.agenda,
            handlers(
                self.applications,
                gateway=self.gateway,
                notifier=self.merchant,
                to_json=_to_json,
                public_url="https://paysaga.example",
                finder=self.finder,
            ),
            SystemClock(),
            threads=dict.fromkeys(WorkKind, 2),
            worker=name,
            lease=timedelta(seconds=2),
        )
        self.listener.subscribe(AGENDA.channel or "", lambda _: self.dispatcher.wake())

    def start(self) -> None:
        """Starts the process."""
        self.listener.start()
        self.runner.start()
        self.dispatcher.start()

    def stop(self) -> None:
        """Stops the process in good order."""
        self.dispatcher.stop()
        self.runner.stop()
        self.listener.stop()
        self.applications.close()

    def create_payment(self, amount: str, currency: str, description: str, **request: Any) -> UUID:
        """See `SystemUnderTest`."""
        with context():
            new = NewPayment(money(amount, currency), description, **request)
            return self.applications.payments.initiate(new)[0].id

    def cancel_payment(self, payment_id: UUID, reason: str = "requested_by_merchant") -> None:
        """See `SystemUnderTest`."""
        with context():
            self.applications.payments.cancel(payment_id, reason)

    def capture_payment(self, payment_id: UUID, amount: Money | None = None) -> None:
        """See `SystemUnderTest`."""
        with context():
            self.applications.payments.capture(payment_id, amount)

    def refund_payment(
        self, payment_id: UUID, amount: Money | None = None, reason: str | None = None
    ) -> UUID:
        """See `SystemUnderTest`."""
        refund_id = uuid4()
        with context():
            self.applications.payments.refund(payment_id, refund_id, amount, reason)
        return refund_id

    def retry(self, payment_id: UUID, actor: str = "operator") -> None:
        """See `SystemUnderTest`."""
        with context():
            self.applications.sagas.retry(PaymentSaga.create_id(payment_id), actor)

    def compensate(self, payment_id: UUID, actor: str = "operator") -> None:
        """See `SystemUnderTest`."""
        with context():
            self.applications.sagas.compensate(PaymentSaga.create_id(payment_id), actor)

    def receive(self, report: GatewayReport) -> UUID:
        """See `SystemUnderTest`."""
        payload = _to_json(public_value(report, lambda sealed: None))
        payment = self.finder.find(report)
        notification = GatewayNotification(
            self.gateway.name, report, json.loads(payload), {}, "0" * 64, SystemClock().now()
        )
        with context():
            return self.applications.webhooks.receive(
                notification,
                body=payload,
                headers={},
                ip_address="203.0.113.9",
                payment=payment,
            )

    def replay_webhook(self, webhook_id: UUID, actor: str = "operator") -> None:
        """See `SystemUnderTest`."""
        webhooks = self.applications.webhooks
        report = webhooks.get(webhook_id).report
        payment = self.finder.find(report) if report else None
        with context():
            webhooks.replay(webhook_id, actor, payment.id if payment else None)

    def come_back(self, payment_id: UUID) -> None:
        """See `SystemUnderTest`."""
        with context():
            self.applications.sagas.hurry(PaymentSaga.create_id(payment_id), "customer_returned")

    def _notify(self, report: GatewayReport) -> None:
        self.receive(report)

    def run(self) -> None:
        """Waits until nothing is left to do now."""
        until(self.is_quiet, "quiet")

    def wait(self, duration: timedelta) -> None:
        """Waits until nothing is left to do within `duration`."""
        until(lambda: self.is_quiet(duration), "quiet")

    def is_quiet(self, ahead: timedelta = timedelta(0)) -> bool:
        """True when, at one moment, all followers were up to date and nothing was due. The time is
        the database's at that moment: by an earlier one, new work would seem to be for later."""
        due = (
            "SELECT count(*) FROM agenda WHERE due_at <= clock_timestamp() + %s"
            " OR claimed_by IS NOT NULL"
        )
        with self.persistence.connection() as connection:
            query = f"SELECT ({due}) + {self._lag_sql()} AS left_to_do"
            row = connection.execute(query.encode(), (min(ahead, AHEAD_MAX),)).fetchone()
        return row is not None and row["left_to_do"] == 0

    def lag(self) -> int:
        """How many events followers have still to take in."""
        with self.persistence.connection() as connection:
            row = connection.execute(f"SELECT {self._lag_sql()} AS lag".encode()).fetchone()
        assert row is not None
        return int(row["lag"])

    def _lag_sql(self) -> str:
        return " + ".join(
            f"coalesce((SELECT max(notification_id) FROM {leader.name.lower()}_events), 0) - "
            f"coalesce((SELECT notification_id FROM {follower.name.lower()}_tracking "
            f"WHERE application_name = '{leader.name}'), 0)"
            for follower, leaders in self.applications.followers()
            for leader in leaders
        )

    def payment(self, payment_id: UUID) -> Payment:
        """See `SystemUnderTest`."""
        return self.applications.payments.get(payment_id)

    def saga(self, payment_id: UUID) -> PaymentSaga:
        """See `SystemUnderTest`."""
        return self.applications.sagas.get(PaymentSaga.create_id(payment_id))


@contextmanager
def running(process: Production) -> Iterator[Production]:
    """Starts a process for the length of the block."""
    process.start()
    try:
        yield process
    finally:
        process.stop()


@contextmanager
def production(url: str, **options: Any) -> Iterator[Production]:
    """The real system on a fresh database, running."""
    with store(url) as persistence, running(Production(persistence, **options)) as process:
        yield process


@dataclass
class Node:
    """The followers of one process, without a dispatcher: no outside work is done."""

    persistence: PostgresPersistence
    applications: Applications
    listener: Listener
    runner: Runner

    def start(self) -> None:
        """Starts to follow."""
        self.listener.start()
        self.runner.start()

    def stop(self) -> None:
        """Stops in good order."""
        self.runner.stop()
        self.listener.stop()

    def create_payment(self, description: str = "Tea", payment_id: UUID | None = None) -> UUID:
        """Records a request for a payment of 10.00 SAR."""
        with context():
            new = NewPayment(money("10.00", "SAR"), description)
            return self.applications.payments.initiate(new, payment_id)[0].id

    def cancel_payment(self, payment_id: UUID) -> None:
        """Cancels a payment."""
        with context():
            self.applications.payments.cancel(payment_id, "test")

    def query(self, statement: str, *parameters: object) -> list[dict[str, object]]:
        """The rows that a statement gives."""
        with self.persistence.connection() as connection:
            return connection.execute(statement.encode(), parameters).fetchall()


@contextmanager
def node(url: str, name: str = "one") -> Iterator[Node]:
    """A node whose runner is not started yet; its connections are closed at the end."""
    with store(url) as persistence:
        applications, listener = applications_on(persistence), Listener(url)
        yield Node(
            persistence, applications, listener, Runner(applications, persistence, listener, name)
        )


class Poison:
    """Makes the view of payments choke on the events of some payments."""

    def __init__(self, at: Node) -> None:
        self.payments: set[UUID] = set()
        self.tasted = 0
        view = at.applications.payments_view
        self._swallow: Callable[[Any], Any] = view.project
        view.project = self._project  # type: ignore[method-assign]

    def _project(self, event: Any) -> Any:
        if event.originator_id in self.payments:
            self.tasted += 1
            raise ValueError("poison")
        return self._swallow(event)


def poisoned_payment(at: Node, poison: Poison) -> UUID:
    """A payment of which two events are parked."""
    payment_id, before = uuid4(), len(list_parked(at.persistence))
    poison.payments.add(payment_id)
    at.create_payment("bad", payment_id)
    at.cancel_payment(payment_id)
    until(lambda: len(list_parked(at.persistence)) == before + 2, "parking")
    return payment_id


def kill_connections(url: str, but: int = 0) -> int:
    """Cuts every other connection to the database; returns how many."""
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE "
            "datname = current_database() AND pid NOT IN (pg_backend_pid(), %s)",
            (but,),
        ).fetchall()
    return len(rows)


def _to_json(value: Any) -> bytes:
    return json.dumps(value, default=str, separators=(",", ":")).encode()
