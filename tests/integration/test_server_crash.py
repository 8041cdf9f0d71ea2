"""PostgreSQL is killed: what was answered is there, and what a follower made is made again."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import psutil
import pytest

from domain.payment_saga import PaymentSaga
from interface.embedded_postgres import EmbeddedPostgres
from system.following import Following
from tests.integration.production_kit import Production, store

UNHURRIED = {"shared_buffers": "32MB", "autovacuum": "off", "wal_writer_delay": "10s"}
"""Nobody writes to the disk but those who wait for it."""


@pytest.fixture
def server(data_dir: Path) -> Iterator[EmbeddedPostgres]:
    """A server that can be killed."""
    server = EmbeddedPostgres(data_dir / "postgres", options=UNHURRIED)
    server.start()
    yield server
    server.stop()


def crash(server: EmbeddedPostgres) -> None:
    """Kills all processes of the server at once, and starts it again."""
    assert server.pid is not None
    main = psutil.Process(server.pid)
    children = main.children(recursive=True)
    os.kill(main.pid, signal.SIGKILL)
    for child in children:
        child.kill()
    psutil.wait_procs([main, *children])
    server.start()


def sagas_of(process: Production, payment_ids: list[UUID]) -> list[bool]:
    """Whether each payment has its saga."""
    return [bool(process.applications.sagas.history(PaymentSaga.create_id(p))) for p in payment_ids]


def test_a_crash_of_the_server_loses_nothing_that_was_answered(server: EmbeddedPostgres) -> None:
    with store(server.ensure_database("answered")) as persistence:
        process = Production(persistence)
        first = process.create_payment("10.00", "SAR", "Tea")
        crash(server)
        assert process.payment(first).id == first


def test_what_a_follower_lost_in_a_crash_it_makes_again(server: EmbeddedPostgres) -> None:
    with store(server.ensure_database("again")) as persistence:
        process = Production(persistence)
        applications = process.applications
        payment_ids = [process.create_payment("10.00", "SAR", "Tea") for _ in range(3)]
        Following(applications.sagas, applications.payments).advance()
        assert sagas_of(process, payment_ids) == [True] * 3
        crash(server)
        assert sagas_of(process, payment_ids) == [False] * 3
        Following(applications.sagas, applications.payments).advance()
        assert sagas_of(process, payment_ids) == [True] * 3


def test_an_answer_that_rests_on_what_another_recorded_survives_with_it(
    server: EmbeddedPostgres,
) -> None:
    with store(server.ensure_database("second")) as persistence:
        process = Production(persistence)
        applications = process.applications
        payment_id = process.create_payment("10.00", "SAR", "Tea")
        Following(applications.sagas, applications.payments).advance()
        applications.sagas.change(PaymentSaga.create_id(payment_id), lambda _saga: None)
        crash(server)
        assert sagas_of(process, [payment_id]) == [True]
