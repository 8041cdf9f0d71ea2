"""The production parts on a test's database, without HTTP: applications, runner, listener."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from application.payments import NewPayment
from application.vault import Vault
from domain.event import EventContext, Metadata, acting
from domain.money import money
from domain.saga_steps import SagaTimings
from interface.clock import RandomIds, SystemClock
from system.applications import LOG_NAMES, Applications
from system.listener import Listener
from system.persistence.postgres import PostgresClientKeys, PostgresPersistence
from system.runner import Runner


@dataclass
class Node:
    """One process's worth of PaySaga on the database; `start` runs its followers."""

    persistence: PostgresPersistence
    applications: Applications
    listener: Listener
    runner: Runner

    def start(self) -> None:
        self.listener.start()
        self.runner.start()

    def stop(self) -> None:
        self.runner.stop()
        self.listener.stop()

    def create_payment(self, description: str = "Tea", payment_id: UUID | None = None) -> UUID:
        with self.acting():
            new = NewPayment(money("10.00", "SAR"), description)
            payment, _ = self.applications.payments.initiate(new, payment_id)
        return payment.id

    def cancel_payment(self, payment_id: UUID) -> None:
        with self.acting():
            self.applications.payments.cancel(payment_id, "test")

    @contextmanager
    def acting(self) -> Iterator[None]:
        ids, clock = self.applications.ids, self.applications.clock
        with acting(EventContext(Metadata(str(ids.uuid()), source="test"), clock.now())):
            yield

    def query(self, statement: str, *parameters: object) -> list[dict[str, object]]:
        with self.persistence.connection() as connection:
            return connection.execute(statement.encode(), parameters).fetchall()


@contextmanager
def node(database_url: str, name: str = "one", batch_size: int = 200) -> Iterator[Node]:
    """A node whose runner is not started yet; closed at the end."""
    persistence = PostgresPersistence(database_url)
    persistence.prepare(LOG_NAMES)
    ids = RandomIds()
    vault = Vault(PostgresClientKeys(persistence), ids)
    persistence.use_vault(vault)
    applications = Applications(
        persistence,
        clock=SystemClock(),
        ids=ids,
        vault=vault,
        timings=SagaTimings(),
        gateway_name="paytabs",
    )
    listener = Listener(database_url)
    runner = Runner(applications, persistence, listener, name, batch_size=batch_size)
    try:
        yield Node(persistence, applications, listener, runner)
    finally:
        persistence.close()


def until(condition: Callable[[], bool], timeout_seconds: float = 20.0) -> None:
    """Waits until something holds."""
    end = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"still not so after {timeout_seconds} s")
        time.sleep(0.02)
