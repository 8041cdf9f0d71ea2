"""What PostgreSQL forgets in a crash is forgotten by the processes too, and made anew."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from eventsourcing.persistence import IntegrityError, StoredEvent, Tracking

from application.payment_gateway import Unknown
from application.payments import NewPayment
from application.rows import Delete, Upsert
from domain.gateway_call import GatewayCall, Operation
from domain.money import money
from domain.payment import Payment
from domain.payment_saga import Call
from interface.clock import SystemClock
from interface.embedded_postgres import EmbeddedPostgres
from system.agenda_store import PostgresAgendaStore
from system.following import Following
from system.handlers import GatewayCallHandler
from system.persistence.log_function import EPOCH_OVER
from system.persistence.postgres import PostgresPersistence
from system.persistence.tables import AGENDA, SAGAS_VIEW
from system.testing import GatewayDouble
from system.work_item import WorkItem, WorkKind
from tests.integration.production_kit import Node, context, node, until
from tests.postgres_kit import FAST_AND_FORGETFUL, postgres_of_its_own

NEVER_ON_ITS_OWN = {
    **FAST_AND_FORGETFUL,
    "synchronous_commit": "on",
    "wal_writer_delay": "10s",
    "wal_writer_flush_after": "1GB",
}
"""What does not wait for the disk reaches it every ten seconds at most."""
COMMITS = 50
ATTEMPTS = 5
FAR_AHEAD = datetime(2100, 1, 1, tzinfo=UTC)
ROW = Upsert(
    SAGAS_VIEW.name,
    (UUID(int=1),),
    {
        "payment_id": UUID(int=1),
        "status": "running",
        "created_at": FAR_AHEAD,
        "updated_at": FAR_AHEAD,
    },
)


def crash(url: str, server: EmbeddedPostgres) -> None:
    """Kills one of PostgreSQL's processes: the others throw their memory away, and recover."""
    with psycopg.connect(url) as connection:
        os.kill(connection.info.backend_pid, signal.SIGKILL)
    server.start()

    def answers() -> bool:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            return False
        return True

    until(answers, "PostgreSQL back from its crash")


def lose_the_epoch(at: Node) -> None:
    """What a crash does to the epoch: a crash in each test would take seconds."""
    with at.persistence.connection() as connection:
        connection.execute("TRUNCATE epoch")


def payment_with_callback(at: Node) -> UUID:
    """A payment whose merchant wants to be told."""
    new = NewPayment(money("10.00", "SAR"), "Tea", callback_url="https://merchant.example.com/")
    with context():
        return at.applications.payments.initiate(new)[0].id


@pytest.fixture(scope="module")
def lazy_server() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that writes nothing to the disk for which nobody waits."""
    with postgres_of_its_own(NEVER_ON_ITS_OWN) as server:
        yield server


@pytest.fixture
def patient(lazy_server: EmbeddedPostgres) -> Iterator[Node]:
    """An idle node on it."""
    with node(lazy_server.ensure_database(f"lazy_{uuid4().hex}")) as one:
        yield one


def test_what_a_follower_recorded_and_a_crash_took_back_is_made_again(
    patient: Node, lazy_server: EmbeddedPostgres
) -> None:
    payment_id = patient.create_payment()
    following = Following(patient.applications.sagas, patient.applications.payments)
    assert following.advance() == 1
    epoch = patient.persistence.epoch()
    crash(patient.persistence.conninfo, lazy_server)
    assert patient.applications.payments.get(payment_id)
    assert patient.query("SELECT * FROM paymentsagas_events") == []
    patient.create_payment()
    with pytest.raises(IntegrityError, match=EPOCH_OVER):
        following.advance()
    while following.advance():
        continue
    assert len(patient.query("SELECT DISTINCT originator_id FROM paymentsagas_events")) == 2
    assert patient.persistence.epoch() != epoch


def test_a_follower_that_slept_through_a_crash_skips_nothing_that_stands_where_lost_events_stood(
    idle: Node,
) -> None:
    """It had passed over events that are gone, without recording how far it was."""
    told = payment_with_callback(idle)
    idle.create_payment()
    follower = Following(
        idle.applications.confirmations, idle.applications.payments, defers_positions=True
    )
    assert follower.advance() == 2
    assert follower.is_ahead
    idle.query("DELETE FROM payments_events WHERE notification_id = 2 RETURNING 1")
    idle.query("SELECT setval('payments_events_notification_id_seq', 1)")
    lose_the_epoch(idle)
    idle.cancel_payment(told)
    assert idle.applications.payments.recorder.max_notification_id() == 2
    with pytest.raises(IntegrityError, match=EPOCH_OVER):
        follower.record_position()
    assert follower.advance() == 2
    assert len(idle.query("SELECT DISTINCT originator_id FROM confirmations_events")) == 1


def test_a_command_that_builds_on_what_a_crash_took_back_is_decided_anew(idle: Node) -> None:
    payments, payment_id = idle.applications.payments, idle.create_payment()
    with context():
        payments.change(payment_id, lambda p: p.process("TST1", "paytabs", None, FAR_AHEAD))
    seen: list[int] = []

    def decide(payment: Payment) -> None:
        seen.append(payment.version)
        payment.cancel("no longer wanted")
        if len(seen) == 1:
            idle.query("DELETE FROM payments_events WHERE notification_id = 2 RETURNING 1")
            lose_the_epoch(idle)

    with context():
        payments.change(payment_id, decide)
    assert seen == [2, 1]
    assert [e.originator_version for e in payments.history(payment_id)] == [1, 2]


def test_a_new_epoch_is_begun_by_one_of_many_who_come_at_once(idle: Node) -> None:
    lose_the_epoch(idle)
    others = [PostgresPersistence(idle.persistence.conninfo, 1) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        epochs = set(pool.map(PostgresPersistence.epoch, others))
    for other in others:
        other.close()
    assert len(epochs) == 1


def claimed_call(at: Node) -> WorkItem:
    """The one call that the saga wants made, claimed once more."""
    store = PostgresAgendaStore(at.persistence)
    [item] = store.claim(FAR_AHEAD, {WorkKind.GATEWAY_CALL: 1}, "me", -timedelta(days=1))
    return item


def test_a_page_that_the_gateway_has_opened_is_not_forgotten_in_a_crash(
    patient: Node, lazy_server: EmbeddedPostgres
) -> None:
    """Or another one would be opened, and the customer might pay on both."""
    patient.create_payment()
    applications = patient.applications
    assert Following(applications.sagas, applications.payments).advance()
    assert Following(applications.agenda, applications.sagas).advance()
    gateway = GatewayDouble(SystemClock(), notify=lambda _report: None)
    handler = GatewayCallHandler(applications, gateway, "https://pay.example.com", None)
    handler(claimed_call(patient))
    crash(patient.persistence.conninfo, lazy_server)
    assert isinstance(list(applications.gateway.all())[-1], GatewayCall.Succeeded)
    assert patient.query("SELECT * FROM agenda WHERE kind = 'gateway_call'") == []


@pytest.mark.parametrize("operation", list(Operation))
def test_what_came_of_a_call_is_on_the_disk_when_it_is_recorded(
    patient: Node, operation: Operation
) -> None:
    for _ in range(ATTEMPTS):
        before = written(patient)
        call = Call(uuid4(), operation, FAR_AHEAD, "cart", "TST1", money("1.00", "SAR"))
        with context():
            patient.applications.gateway.record_outcome(
                uuid4(),
                call,
                Unknown("silence"),
                gateway="paytabs",
                sent_at=datetime.now(UTC),
                rows=[Delete(AGENDA.name, (call.call_id,))],
            )
        assert is_on_the_disk(patient, before)
        assert written(patient) != before


def is_on_the_disk(at: Node, lsn: object) -> bool:
    """True when the write-ahead log is on the disk up to there."""
    [found] = at.query("SELECT pg_current_wal_flush_lsn() >= %s AS is_there", lsn)
    return bool(found["is_there"])


def written(at: Node) -> object:
    """How far the write-ahead log goes."""
    return at.query("SELECT pg_current_wal_insert_lsn() AS lsn")[0]["lsn"]


def stored(of: UUID) -> list[StoredEvent]:
    """One event, as a recorder takes it."""
    return [StoredEvent(of, 1, "domain.payment:Payment.Initiated", b"{}")]


@pytest.mark.parametrize("rows", [[], [ROW]], ids=["events", "events_and_rows"])
def test_what_was_said_from_outside_is_on_the_disk_when_it_is_recorded(
    patient: Node, rows: list[Upsert]
) -> None:
    """PostgreSQL is told to write late; without waiting hardly any of these would be there."""
    recorder = patient.applications.gateway.recorder
    for _ in range(COMMITS):
        before = written(patient)
        recorder.insert_events(stored(uuid4()), rows=rows)
        assert is_on_the_disk(patient, before)
        assert written(patient) != before


def put_down_without_waiting(at: Node) -> object:
    """Commits something that does not wait for the disk; returns how far the log goes then."""
    for _ in range(ATTEMPTS):
        at.applications.sagas.recorder.insert_events([], tracking=Tracking(str(uuid4()), 1))
        said = written(at)
        if not is_on_the_disk(at, said):
            return said
    raise AssertionError("everything is on the disk at once")


def cancel_again(at: Node, payment_id: UUID) -> None:
    """Finds it cancelled already."""
    at.cancel_payment(payment_id)


def create_again(at: Node, payment_id: UUID) -> None:
    """Finds it created already."""
    at.create_payment(payment_id=payment_id)


@pytest.mark.parametrize("repeat", [cancel_again, create_again])
def test_whoever_changes_nothing_because_of_what_others_said_waits_for_it_too(
    patient: Node, repeat: Callable[[Node, UUID], None]
) -> None:
    """The first one to say it may not be answered yet; after a crash nobody would say it again."""
    payment_id = patient.create_payment()
    patient.cancel_payment(payment_id)
    said = put_down_without_waiting(patient)
    repeat(patient, payment_id)
    assert is_on_the_disk(patient, said)


def test_what_followers_make_of_it_is_on_the_disk_before_anything_goes_out(patient: Node) -> None:
    """A claim takes along all that was committed before it."""
    patient.create_payment()
    assert Following(patient.applications.sagas, patient.applications.payments).advance() == 1
    put_down_without_waiting(patient)
    made = written(patient)
    agenda = Following(patient.applications.agenda, patient.applications.sagas)
    assert agenda.advance()
    store = PostgresAgendaStore(patient.persistence)
    [item] = store.claim(FAR_AHEAD, {WorkKind.GATEWAY_CALL: 1}, "me", timedelta(seconds=1))
    assert item.kind is WorkKind.GATEWAY_CALL
    assert is_on_the_disk(patient, made)
