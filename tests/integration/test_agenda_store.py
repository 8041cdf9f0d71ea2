"""Claims and leases on the agenda that all workers share."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from application.rows import Upsert
from system.agenda_store import PostgresAgendaStore
from system.persistence.postgres import PostgresPersistence, PostgresRecorder
from system.persistence.tables import AGENDA
from system.work_item import WorkItem, WorkKind
from tests.integration.production_kit import store

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=10)
CALL, TELL = WorkKind.GATEWAY_CALL, WorkKind.CONFIRMATION
LATER = NOW + LEASE


@pytest.fixture
def persistence(database_url: str) -> Iterator[PostgresPersistence]:
    """A fresh database."""
    with store(database_url) as opened:
        yield opened


@pytest.fixture
def agenda(persistence: PostgresPersistence) -> PostgresAgendaStore:
    """The agenda."""
    return PostgresAgendaStore(persistence)


def put(persistence: PostgresPersistence, *dues: timedelta, kind: WorkKind = CALL) -> list[UUID]:
    """Puts work on the agenda, due so long after `NOW`."""
    log = PostgresRecorder(persistence.datastore, persistence.writer, "agenda")
    ids = [uuid4() for _ in dues]
    rows = [
        Upsert(
            AGENDA.name,
            (work_id,),
            {
                "kind": kind.value,
                "aggregate_id": uuid4(),
                "payment_id": uuid4(),
                "due_at": NOW + due,
                "attempts": 0,
                "correlation_id": "c-1",
            },
        )
        for work_id, due in zip(ids, dues, strict=True)
    ]
    log.insert_events([], rows=rows)
    return ids


def claim(
    agenda: PostgresAgendaStore, worker: str = "w-1", now: datetime = NOW, count: int = 10
) -> list[WorkItem]:
    """Claims gateway calls."""
    return agenda.claim(now, {CALL: count}, worker, LEASE)


def seconds(*numbers: float) -> list[timedelta]:
    """Times after `NOW`."""
    return [timedelta(seconds=number) for number in numbers]


def row_of(persistence: PostgresPersistence, work_id: UUID) -> dict[str, Any]:
    """One row of the agenda."""
    with persistence.connection() as connection:
        row = connection.execute("SELECT * FROM agenda WHERE work_id = %s", (work_id,)).fetchone()
    assert row is not None
    return row


def test_due_work_is_claimed_earliest_first(
    persistence: PostgresPersistence, agenda: PostgresAgendaStore
) -> None:
    late, early, _future = put(persistence, *seconds(-1, -5, 60))
    assert [item.work_id for item in claim(agenda)] == [early, late]


def test_no_more_is_claimed_than_asked_for_and_the_earliest_goes_first(
    persistence: PostgresPersistence, agenda: PostgresAgendaStore
) -> None:
    _, early, earliest = put(persistence, *seconds(-1, -2, -3))
    assert [item.work_id for item in claim(agenda, count=2)] == [earliest, early]


def test_each_kind_has_its_own_capacity(
    persistence: PostgresPersistence, agenda: PostgresAgendaStore
) -> None:
    put(persistence, *seconds(-1, -1, -1))
    put(persistence, *seconds(-1, -1, -1), kind=TELL)
    claimed = agenda.claim(NOW, {CALL: 2, TELL: 1, WorkKind.SAGA_DEADLINE: 0}, "w-1", LEASE)
    kinds = [item.kind for item in claimed]
    assert (kinds.count(CALL), kinds.count(TELL)) == (2, 1)


def test_claimed_work_is_not_claimed_again_while_its_lease_holds(
    persistence: PostgresPersistence, agenda: PostgresAgendaStore
) -> None:
    put(persistence, *seconds(-1))
    assert claim(agenda)[0].attempts == 1
    assert claim(agenda, "w-2", NOW + LEASE - timedelta(seconds=1)) == []


def test_work_whose_worker_vanished_goes_to_the_next_one_as_a_second_attempt(
    persistence: PostgresPersistence, agenda: PostgresAgendaStore
) -> None:
    put(persistence, *seconds(-1))
    claim(agenda)
    [again] = claim(agenda, "w-2", LATER)
    assert again.attempts == 2


def test_a_renewed_lease_holds_longer(
    persistence: PostgresPersistence, agenda: PostgresAgendaStore
) -> None:
    [work_id] = put(persistence, *seconds(-1))
    claim(agenda)
    agenda.renew([work_id], "w-1", LATER + LEASE)
    assert claim(agenda, "w-2", LATER) == []


def test_nobody_renews_a_lease_that_is_somebody_elses(
    persistence: PostgresPersistence, agenda: PostgresAgendaStore
) -> None:
    [work_id] = put(persistence, *seconds(-1))
    claim(agenda)
    agenda.renew([work_id], "w-2", LATER + LEASE)
    assert row_of(persistence, work_id)["claimed_until"] == LATER


def test_work_put_back_unbegun_is_not_counted(
    persistence: PostgresPersistence, agenda: PostgresAgendaStore
) -> None:
    put(persistence, *seconds(-1))
    [item] = claim(agenda)
    agenda.put_back(item, NOW + timedelta(seconds=3), was_begun=False)
    assert claim(agenda) == []
    [again] = claim(agenda, now=NOW + timedelta(seconds=3))
    assert again.attempts == 1


def test_work_put_back_after_it_was_begun_is_counted(
    persistence: PostgresPersistence, agenda: PostgresAgendaStore
) -> None:
    put(persistence, *seconds(-1))
    [item] = claim(agenda)
    agenda.put_back(item, NOW, was_begun=True)
    assert claim(agenda)[0].attempts == 2


def test_a_worker_that_lost_its_lease_cannot_put_back_what_another_has_claimed(
    persistence: PostgresPersistence, agenda: PostgresAgendaStore
) -> None:
    [work_id] = put(persistence, *seconds(-1))
    [stale] = claim(agenda, "w-1")
    [fresh] = claim(agenda, "w-2", now=LATER)
    agenda.put_back(stale, NOW, was_begun=True)
    assert row_of(persistence, work_id)["claimed_by"] == "w-2"
    assert fresh.attempts == 2


def test_the_next_due_time_counts_leases(
    persistence: PostgresPersistence, agenda: PostgresAgendaStore
) -> None:
    long_ago = NOW - timedelta(days=1)
    assert agenda.next_due_at(long_ago) is None
    put(persistence, *seconds(-1, 60))
    assert agenda.next_due_at(long_ago) == NOW - timedelta(seconds=1)
    claim(agenda)
    assert agenda.next_due_at(long_ago) == LATER


def test_what_is_left_for_want_of_threads_does_not_hide_what_falls_due_next(
    persistence: PostgresPersistence, agenda: PostgresAgendaStore
) -> None:
    """With all threads of one kind taken, the deadlines of the others would be looked for only
    with the slow poll."""
    put(persistence, *seconds(-1, -1, 2))
    claim(agenda, count=1)
    assert agenda.next_due_at(NOW) == NOW + timedelta(seconds=2)


def test_many_workers_claim_each_piece_of_work_once(
    persistence: PostgresPersistence, agenda: PostgresAgendaStore
) -> None:
    ids = put(persistence, *seconds(*([-1] * 60)))
    claimed: list[UUID] = []

    def work(worker: str) -> None:
        while items := claim(agenda, worker, count=3):
            claimed.extend(item.work_id for item in items)

    threads = [threading.Thread(target=work, args=(f"w-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(ids)


def test_finished_work_cannot_be_put_back(
    persistence: PostgresPersistence, agenda: PostgresAgendaStore
) -> None:
    put(persistence, *seconds(-1))
    [item] = claim(agenda)
    log = PostgresRecorder(persistence.datastore, persistence.writer, "gateway")
    log.insert_events([], rows=[item.done()])
    agenda.put_back(item, NOW, was_begun=True)
    assert claim(agenda, now=LATER) == []


def test_a_confirmation_is_put_on_the_agenda_again_as_if_it_were_new(
    persistence: PostgresPersistence, agenda: PostgresAgendaStore
) -> None:
    put(persistence, *seconds(-1))
    [item] = claim(agenda)
    log = PostgresRecorder(persistence.datastore, persistence.writer, "confirmations")
    log.insert_events([], rows=[item.again_at(LATER)])
    assert claim(agenda, now=LATER - timedelta(seconds=1)) == []
    assert claim(agenda, now=LATER)[0].attempts == 1
