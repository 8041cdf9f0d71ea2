"""A hosted page is handed out when it is on the disk: one that a crash took back would be opened
anew, and a customer who has the first one might pay twice."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from eventsourcing.persistence import IntegrityError, Tracking

from interface.embedded_postgres import EmbeddedPostgres
from tests.e2e.house import House, house
from tests.integration.production_kit import Node, context, node
from tests.integration.test_epoch import (
    FAR_AHEAD,
    NEVER_ON_ITS_OWN,
    is_on_the_disk,
    put_down_without_waiting,
)
from tests.postgres_kit import postgres_of_its_own

PAGE_URL = "https://pay.example.com/1"


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that writes nothing to the disk for which nobody waits."""
    with postgres_of_its_own(NEVER_ON_ITS_OWN) as server:
        yield server


@pytest.fixture(scope="module")
def at(server: EmbeddedPostgres) -> Iterator[Node]:
    """Followers that are moved by hand."""
    with node(server.ensure_database(f"pages_{uuid4().hex}")) as one:
        yield one


@pytest.fixture(scope="module")
def home(at: Node) -> Iterator[House]:
    """The web process beside them."""
    with house(at.persistence.conninfo, with_worker=False) as home:
        yield home


def open_page(at: Node, payment_id: UUID) -> None:
    """What a follower records when the gateway has opened the page; nothing waits for that."""
    payments = at.applications.payments
    payment = payments.get(payment_id)
    with context():
        payment.process("TST1", "paytabs", PAGE_URL, FAR_AHEAD)
    payments.events.put(payment.collect_events(), tracking=Tracking(str(payment_id), 1))


def created(home: House, key: str) -> UUID:
    headers = {"Prefer": "respond-async", "Idempotency-Key": key}
    return UUID(home.api.create(headers).json()["paymentId"])


def test_who_asks_again_gets_a_page_that_was_opened_meanwhile_when_it_is_on_the_disk(
    home: House, at: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is opened just after the repetition has waited for what it is in conflict with."""
    key = str(uuid4())
    payment_id = created(home, key)
    recorder: Any = home.context.applications.payments.recorder
    insert, said = recorder.insert_events, []

    def insert_and_open_page(*events: Any, **options: Any) -> Any:
        try:
            return insert(*events, **options)
        except IntegrityError:
            open_page(at, payment_id)
            said.append(put_down_without_waiting(at))
            raise

    monkeypatch.setattr(recorder, "insert_events", insert_and_open_page)
    again = home.api.create({"Idempotency-Key": key}).json()
    assert again["nextAction"]["url"] == PAGE_URL
    assert is_on_the_disk(at, said[0])
