"""Events, positions and rows go into PostgreSQL together, or not at all."""

import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from eventsourcing.persistence import IntegrityError, StoredEvent, Tracking
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from application.payments import NewPayment
from application.rows import Delete, Patch, RowChange, Upsert, fold
from domain.money import money
from system.persistence.log_function import Announcement
from system.persistence.memory import MemoryFactory, MemoryTables
from system.persistence.postgres import PostgresPersistence, PostgresRecorder
from system.persistence.reached import Reached
from system.persistence.row_sql import RowWriter
from system.persistence.tables import SAGAS_VIEW, Table
from tests.integration.production_kit import (
    PATIENCE_SECONDS,
    applications_on,
    context,
    kill_connections,
    store,
)

AGGREGATE = UUID("33333333-3333-4333-8333-333333333333")
OTHER = UUID(int=9)
NOTES = Table(
    "notes", ("shelf", "number"), {"shelf": "text", "number": "int", "a": "int", "b": "jsonb"}
)


def events(*versions: int, of: UUID = AGGREGATE) -> list[StoredEvent]:
    """Stored events of one aggregate."""
    return [
        StoredEvent(of, version, "domain.payment:Payment.Initiated", b"{}") for version in versions
    ]


def saga_row(number: int, status: str = "running") -> Upsert:
    """A row of a view."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    values = {"payment_id": AGGREGATE, "status": status, "created_at": moment, "updated_at": moment}
    return Upsert(SAGAS_VIEW.name, (UUID(int=number),), values)


@pytest.fixture
def persistence(database_url: str) -> Iterator[PostgresPersistence]:
    """A fresh database."""
    with store(database_url) as opened:
        yield opened


@pytest.fixture
def log(persistence: PostgresPersistence) -> PostgresRecorder:
    """The log of payments."""
    return recorder(persistence, "payments")


def recorder(persistence: PostgresPersistence, name: str) -> PostgresRecorder:
    """The recorder of one log."""
    return PostgresRecorder(persistence.datastore, persistence.writer, name)


def count(persistence: PostgresPersistence, table: str) -> int:
    """The number of rows of a table."""
    with persistence.connection() as connection:
        row = connection.execute(f"SELECT count(*) AS n FROM {table}".encode()).fetchone()
    assert row is not None
    return int(row["n"])


def positions(log: PostgresRecorder) -> list[int]:
    """The positions of all events."""
    return [n.id for n in log.select_notifications(0, 1000, inclusive_of_start=False)]


def test_events_get_positions_in_the_order_given(log: PostgresRecorder) -> None:
    others = [StoredEvent(UUID(int=n), 1, "t", str(n).encode()) for n in (9, 3, 7, 1)]
    returned = log.insert_events(others)
    read = log.select_notifications(0, 10, inclusive_of_start=False)
    assert returned == [n.id for n in read] == sorted(n.id for n in read)
    assert [n.state for n in read] == [b"9", b"3", b"7", b"1"]


def test_events_of_an_aggregate_are_read_by_version(log: PostgresRecorder) -> None:
    log.insert_events(events(1, 2, 3))
    assert [e.originator_version for e in log.select_events(AGGREGATE, gt=1)] == [2, 3]
    assert [e.originator_version for e in log.select_events(AGGREGATE, lte=2)] == [1, 2]


def test_a_version_that_is_taken_is_a_conflict_and_nothing_is_recorded(
    persistence: PostgresPersistence, log: PostgresRecorder
) -> None:
    log.insert_events(events(1))
    with pytest.raises(IntegrityError):
        log.insert_events([*events(1, of=uuid4()), *events(1)], rows=[saga_row(1)])
    assert len(positions(log)) == 1
    assert count(persistence, SAGAS_VIEW.name) == 0


@pytest.mark.parametrize("events_too", [[], events(1)], ids=["alone", "with an event"])
@pytest.mark.parametrize("tracking", [None, Tracking("Gateway", 1)], ids=["by nobody", "followed"])
def test_a_row_is_deleted_with_its_events_or_not_at_all(
    persistence: PostgresPersistence,
    log: PostgresRecorder,
    tracking: Tracking | None,
    events_too: list[StoredEvent],
) -> None:
    log.insert_events(events(1, of=OTHER), rows=[saga_row(1), saga_row(2)])
    deletion = Delete(SAGAS_VIEW.name, saga_row(1).key)
    in_conflict = [*events_too, *events(1, of=OTHER)]
    for _ in range(10):
        with pytest.raises(IntegrityError):
            log.insert_events(in_conflict, tracking=tracking, rows=[deletion], waits=False)
        with pytest.raises(IntegrityError):
            log.insert_events(events_too, tracking=tracking, rows=[deletion], epoch=uuid4())
    assert count(persistence, SAGAS_VIEW.name) == 2
    log.insert_events(events_too, tracking=tracking, rows=[deletion], waits=False)
    assert count(persistence, SAGAS_VIEW.name) == 1
    assert len(positions(log)) == 1 + len(events_too)
    assert log.max_tracking_id("Gateway") == (1 if tracking else None)


@pytest.mark.parametrize("rows", [[], [saga_row(n) for n in range(300)]], ids=["bare", "with rows"])
def test_a_position_is_recorded_once(
    persistence: PostgresPersistence, log: PostgresRecorder, rows: Sequence[RowChange]
) -> None:
    log.insert_events(events(1), tracking=Tracking("Gateway", 5), rows=rows)
    for stale in (5, 4):
        with pytest.raises(IntegrityError):
            log.insert_events(events(2), tracking=Tracking("Gateway", stale), rows=rows)
    assert log.max_tracking_id("Gateway") == 5
    assert len(positions(log)) == 1


def test_a_position_alone_can_be_recorded(log: PostgresRecorder) -> None:
    log.insert_events([], tracking=Tracking("Gateway", 7))
    assert log.max_tracking_id("Gateway") == 7
    assert log.max_tracking_id("Webhooks") is None


def test_each_follower_has_its_own_positions(persistence: PostgresPersistence) -> None:
    recorder(persistence, "webhooks").insert_events([], tracking=Tracking("PaymentSagas", 3))
    assert recorder(persistence, "agenda").max_tracking_id("PaymentSagas") is None


def test_a_row_that_cannot_be_written_takes_events_and_position_back(
    persistence: PostgresPersistence, log: PostgresRecorder
) -> None:
    incomplete = Upsert(SAGAS_VIEW.name, (UUID(int=2),), {"status": "running"})
    with pytest.raises(IntegrityError):
        log.insert_events(
            events(1), tracking=Tracking("Gateway", 1), rows=[saga_row(1), incomplete]
        )
    assert positions(log) == []
    assert log.max_tracking_id("Gateway") is None
    assert count(persistence, SAGAS_VIEW.name) == 0


def test_rows_are_written_with_their_events(
    persistence: PostgresPersistence, log: PostgresRecorder
) -> None:
    rows = [saga_row(n) for n in range(500)]
    log.insert_events(events(1), tracking=Tracking("Gateway", 1), rows=rows)
    assert count(persistence, SAGAS_VIEW.name) == 500
    assert len(positions(log)) == 1


def test_the_connection_works_on_after_a_conflict(log: PostgresRecorder) -> None:
    log.insert_events(events(1))
    for _ in range(10):
        with pytest.raises(IntegrityError):
            log.insert_events(events(1), rows=[saga_row(1)])
    assert log.insert_events(events(2), rows=[saga_row(1)])


def test_text_that_postgresql_cannot_hold_does_not_stop_a_view(
    persistence: PostgresPersistence, log: PostgresRecorder
) -> None:
    row = saga_row(1)
    values = {**row.values, "parked_detail": "a\x00b"}
    log.insert_events(
        [], tracking=Tracking("PaymentSagas", 1), rows=[Upsert(row.table, row.key, values)]
    )
    assert count(persistence, SAGAS_VIEW.name) == 1


def test_a_log_works_on_after_all_its_connections_were_cut(
    database_url: str, log: PostgresRecorder
) -> None:
    log.insert_events(events(1))
    assert kill_connections(database_url) >= 1
    assert log.insert_events(events(2), rows=[saga_row(1)])
    kill_connections(database_url)
    assert len(log.select_events(AGGREGATE)) == 2


KEYS = st.tuples(st.sampled_from(["x", "y"]), st.integers(1, 2))
DOCUMENTS = st.none() | st.dictionaries(st.sampled_from("pq"), st.integers(0, 3))
VALUES = st.fixed_dictionaries({}, optional={"a": st.integers(0, 9), "b": DOCUMENTS}).filter(bool)
CHANGES = st.lists(
    st.one_of(
        st.builds(Upsert, st.just("notes"), KEYS, VALUES),
        st.builds(Patch, st.just("notes"), KEYS, VALUES),
        st.builds(Delete, st.just("notes"), KEYS),
    ),
    max_size=8,
)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(batches=st.lists(CHANGES, max_size=4))
def test_both_stores_make_the_same_of_the_same_changes(
    database_url: str, batches: list[list[RowChange]]
) -> None:
    memory, writer = MemoryTables(), RowWriter({"notes": NOTES})
    with psycopg.connect(database_url, row_factory=dict_row) as connection:
        connection.execute(
            "CREATE TEMPORARY TABLE notes "
            "(shelf text, number int, a int, b jsonb, PRIMARY KEY (shelf, number))"
        )
        for batch in batches:
            memory.write(batch)
            writer.write(connection, fold(batch))
        rows = connection.execute("SELECT * FROM notes").fetchall()
    found = {(row.pop("shelf"), row.pop("number")): row for row in rows}
    expected = {
        key: {"a": row.get("a"), "b": row.get("b")} for key, row in memory.rows["notes"].items()
    }
    assert found == expected


def log_in(kind: str, persistence: PostgresPersistence) -> Any:
    """A log in one of the two stores."""
    if kind == "memory":
        return MemoryFactory({}, MemoryTables()).process_recorder()  # type: ignore[arg-type]
    return recorder(persistence, "payments")


@pytest.mark.parametrize("kind", ["memory", "postgresql"])
def test_both_stores_refuse_the_same_things(kind: str, persistence: PostgresPersistence) -> None:
    log = log_in(kind, persistence)
    log.insert_events(events(1), tracking=Tracking("L", 2))
    for refused, at in ((events(1), 3), (events(2), 2), (events(2), 1)):
        with pytest.raises(IntegrityError):
            log.insert_events(refused, tracking=Tracking("L", at))
    assert log.max_tracking_id("L") == 2
    assert len(log.select_events(AGGREGATE)) == 1


@pytest.mark.parametrize("kind", ["memory", "postgresql"])
def test_both_stores_refuse_a_step_that_does_not_begin_at_the_recorded_position(
    kind: str, persistence: PostgresPersistence
) -> None:
    log = log_in(kind, persistence)
    with pytest.raises(IntegrityError):
        log.insert_events(events(1), tracking=Reached("L", 5, after=2))
    log.insert_events([], tracking=Reached("L", 5, after=0))
    for after in (0, 4, 6):
        with pytest.raises(IntegrityError):
            log.insert_events(events(1), tracking=Reached("L", 7, after=after))
    log.insert_events([], tracking=Reached("L", 7, after=5))
    assert log.max_tracking_id("L") == 7
    assert log.select_events(AGGREGATE) == []


def test_preparing_twice_and_at_once_is_harmless(database_url: str) -> None:
    failures: list[BaseException] = []

    def prepare() -> None:
        try:
            with store(database_url):
                pass
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=prepare) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_log_announces_how_far_it_reaches_and_what_changed(
    database_url: str, log: PostgresRecorder
) -> None:
    other = uuid4()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("LISTEN payments_events")
        log.insert_events(events(1))
        log.insert_events([*events(2), *events(1, of=other)])
        log.insert_events([e for n in range(201) for e in events(1, of=UUID(int=n))])
        heard = list(connection.notifies(timeout=PATIENCE_SECONDS, stop_after=3))
    last = positions(log)
    assert [Announcement.read(each.payload) for each in heard] == [
        Announcement(last[0], ()),
        Announcement(last[2], (str(AGGREGATE),)),
        Announcement(last[-1], None),
    ]
    assert Announcement.read("") == Announcement(None, None)


def test_a_connection_goes_on_after_any_number_of_refused_batches(
    persistence: PostgresPersistence, log: PostgresRecorder
) -> None:
    """What stands behind a refused statement was never prepared, whatever psycopg believes."""
    for number in range(1, 13):
        log.insert_events([], tracking=Tracking("Leader", number), rows=[saga_row(number)])
        with pytest.raises(IntegrityError):
            log.insert_events([], tracking=Tracking("Leader", number), rows=[saga_row(number)])
        log.insert_events(events(number))
    assert count(persistence, SAGAS_VIEW.name) == 12
    assert len(positions(log)) == 12


def test_no_statement_and_no_lock_is_waited_for_without_end(
    persistence: PostgresPersistence,
) -> None:
    with persistence.connection() as connection:
        [found] = connection.execute(
            "SELECT current_setting('statement_timeout') AS statement, "
            "current_setting('lock_timeout') AS lock"
        ).fetchall()
    assert found == {"statement": "30s", "lock": "10s"}


@pytest.fixture
def cut_after_commit(persistence: PostgresPersistence) -> None:
    """The next connection that has committed, and waits for the disk, is cut."""
    with persistence.connection() as connection:
        connection.execute("CREATE SEQUENCE waits")
        connection.execute(
            "CREATE OR REPLACE FUNCTION wait_for_disk() RETURNS void LANGUAGE plpgsql AS $$ BEGIN "
            "IF nextval('waits') = 1 THEN "
            "PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(60); END IF; END $$"
        )


def waits(persistence: PostgresPersistence) -> int:
    """How often somebody waited for the disk since it was to be cut."""
    with persistence.connection() as connection:
        row = connection.execute("SELECT last_value FROM waits").fetchone()
    assert row is not None
    return int(row["last_value"])


@pytest.mark.usefixtures("cut_after_commit")
@pytest.mark.parametrize(
    "rows",
    [[], [saga_row(1)], [Delete(SAGAS_VIEW.name, saga_row(1).key)]],
    ids=["bare", "with rows", "with a deletion"],
)
def test_who_was_cut_off_after_the_commit_finds_its_own_events_recorded_and_waits_for_the_disk(
    persistence: PostgresPersistence, log: PostgresRecorder, rows: Sequence[RowChange]
) -> None:
    others = [*events(2, of=uuid4()), *events(1, 2), *events(1, of=uuid4())]
    assert log.insert_events(others, rows=rows) == positions(log)
    assert len(positions(log)) == len(others)
    assert waits(persistence) >= 2


def test_what_others_recorded_meanwhile_is_a_conflict_also_for_who_was_cut_off(
    database_url: str, log: PostgresRecorder
) -> None:
    log.insert_events(events(1, 2))
    theirs = StoredEvent(AGGREGATE, 2, "domain.payment:Payment.Initiated", b'{"of": "others"}')
    for ours in ([theirs], [*events(1), theirs], events(2, 3)):
        kill_connections(database_url)
        with pytest.raises(IntegrityError):
            log.insert_events(ours)
    assert len(positions(log)) == 2


@pytest.mark.usefixtures("cut_after_commit")
def test_a_payment_whose_maker_was_cut_off_after_the_commit_is_no_replay(
    persistence: PostgresPersistence,
) -> None:
    payments = applications_on(persistence).payments
    with context():
        request = NewPayment(money("10.00", "SAR"), "Tea")
        payment, is_replay = payments.initiate(request, AGGREGATE)
    assert not is_replay
    assert [event.originator_id for event in payments.all()] == [payment.id]


@pytest.mark.usefixtures("cut_after_commit")
def test_a_command_that_was_cut_off_after_the_commit_is_carried_out_once(
    persistence: PostgresPersistence,
) -> None:
    operations = applications_on(persistence).operations
    with context():
        incident = operations.record_incident("forged", "high", None, {})
    assert [event.originator_id for event in operations.all()] == [incident]


def test_the_connection_that_was_used_last_is_used_next(persistence: PostgresPersistence) -> None:
    with persistence.connection() as first, persistence.connection() as second:
        lent = {first, second}
    used = set()
    for _ in range(3):
        with persistence.connection() as connection:
            used.add(connection)

    assert len(lent) == 2
    assert used == {first}
