"""The journal in PostgreSQL: written once, by one, and whoever tampers with it is found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from eventsourcing.persistence import IntegrityError

from application.journal import Link, record_hash
from application.rows import Insert
from system.following import Following, PolicyFailed
from system.journal_check import Damage, JournalCheck
from system.parking import ParkedEvent, SkipRefused, list_parked, retry_parked, skip_parked
from system.persistence.tables import JOURNAL
from system.projections.journal import Journal
from tests.integration.journal_kit import Books, books, entry_in
from tests.integration.production_kit import applications_on, node, until

MIDDLE = 5
"""An entry with others before and behind it."""


@pytest.fixture
def kept(database_url: str) -> Iterator[Books]:
    with books(database_url) as kept:
        yield kept


def recorded(kept: Books) -> int:
    """How many events all logs hold."""
    return sum(
        kept.query(f"SELECT count(*) AS n FROM {name.lower()}_events")[0]["n"]
        for name in kept.applications.by_name
    )


def test_every_event_of_every_log_has_one_entry(kept: Books) -> None:
    rows = kept.journal()
    assert [row["position"] for row in rows] == list(range(1, recorded(kept) + 1))
    assert len({row["event_id"] for row in rows}) == len(rows)
    assert {row["log"] for row in rows} == {"Payments", "PaymentSagas", "Operations"}


def test_an_untouched_journal_is_sound(kept: Books) -> None:
    for deep in (False, True):
        verdict = kept.verify(kept.head(), deep=deep)
        assert verdict.is_ok
        assert verdict.head == kept.head()
        assert verdict.entries == len(kept.journal())


def test_an_empty_journal_is_sound(database_url: str) -> None:
    with node(database_url) as empty:
        found = Books(empty.persistence, empty.applications)
        assert found.verify().is_ok


def test_a_process_that_remembers_an_old_head_is_refused_and_goes_on_from_the_true_one(
    kept: Books,
) -> None:
    payments = kept.applications.payments
    slow = Following(Journal(kept.persistence, kept.applications.clock), payments)
    kept.create_payment()
    slow.advance()
    kept.create_payment()
    kept.follow()
    kept.create_payment()
    slow.forget_position()
    with pytest.raises(IntegrityError):
        slow.advance()
    slow.advance()
    kept.follow()
    assert kept.verify().is_ok
    assert len(kept.journal()) == recorded(kept)


def test_an_entry_is_never_overwritten(kept: Books) -> None:
    before = kept.journal()
    values = {**vars(entry_in(before[0])), "event_id": uuid4(), "hash": bytes(32)}
    with pytest.raises(IntegrityError):
        kept.applications.journal.events.put([], rows=[Insert(JOURNAL.name, (1,), values)])
    assert kept.journal() == before


def test_entries_wait_for_the_disk(kept: Books) -> None:
    values = {**vars(entry_in(kept.journal()[0])), "event_id": uuid4(), "hash": bytes(32)}
    with kept.persistence.connection() as connection, connection.transaction():
        connection.execute("SET LOCAL synchronous_commit = off")
        kept.persistence.writer.write(connection, [Insert(JOURNAL.name, (0,), values)])
        row = connection.execute("SHOW synchronous_commit").fetchone()
    assert row == {"synchronous_commit": "on"}


def test_workers_that_take_over_from_each_other_write_one_chain(database_url: str) -> None:
    with node(database_url, "one") as first, node(database_url, "two") as second:
        first.start()
        for _ in range(5):
            first.create_payment()
        second.start()
        until(lambda: "two" in holders(first), "sharing")
        for _ in range(5):
            first.create_payment()
        first.stop()
        for _ in range(5):
            second.create_payment()
        found = Books(second.persistence, second.applications)
        until(lambda: len(found.journal()) >= 15 and len(found.journal()) == recorded(found))
        assert found.verify().is_ok
        second.stop()


def holders(at: Any) -> set[str]:
    return {str(row["process"]) for row in at.query("SELECT process FROM follower_heartbeats")}


def choke_on(kept: Books, bad: UUID) -> list[ParkedEvent]:
    """Lets the journal choke on a payment's events, for good; returns what it has set aside."""
    journal = kept.applications.journal
    policy = journal.policy

    def choke(event: Any, work: Any) -> None:
        if event.originator_id == bad:
            raise ValueError("poison")
        policy(event, work)

    journal.policy = choke  # type: ignore[method-assign]
    follow_in_spite_of_errors(kept)
    kept.create_payment()
    follow_in_spite_of_errors(kept)
    journal.policy = policy  # type: ignore[method-assign]
    return list_parked(kept.persistence)


def test_an_event_that_was_parked_comes_later_and_the_journal_stays_sound(kept: Books) -> None:
    parked = choke_on(kept, kept.create_payment())
    assert {event.follower for event in parked} == {"Journal"}
    assert kept.verify().is_ok
    assert len(kept.journal()) == recorded(kept) - len(parked)

    retry_parked(kept.persistence, parked[0].parked_id)
    [on_payments, on_sagas, *_] = kept.followings("Journal")
    for event in list_parked(kept.persistence):
        (on_payments if event.leader == "Payments" else on_sagas).take_in_parked(event)
    assert len(kept.journal()) == recorded(kept)
    assert kept.verify(deep=True).is_ok


def test_the_journal_passes_no_event_over(kept: Books) -> None:
    parked = choke_on(kept, kept.create_payment())
    for event in parked:
        with pytest.raises(SkipRefused, match="then retry"):
            skip_parked(kept.persistence, event.parked_id)
    assert list_parked(kept.persistence) == parked


def follow_in_spite_of_errors(kept: Books) -> None:
    followings, tries = kept.followings(), 0
    while tries < 50:
        tries += 1
        for following in followings:
            try:
                following.advance()
            except PolicyFailed:
                following.forget_position()


def test_erasing_a_clients_key_leaves_the_chain_whole(kept: Books) -> None:
    kept.query("DELETE FROM client_keys")
    assert kept.verify(kept.head(), deep=True).is_ok


ALTERATIONS = {
    "hash": "decode(repeat('00', 32), 'hex')",
    "log": "'Gateway'",
    "record_hash": "decode(repeat('00', 32), 'hex')",
    "event_id": "gen_random_uuid()",
    "type": "'payment.completed'",
    "aggregate_id": "gen_random_uuid()",
    "subject_id": "gen_random_uuid()",
    "correlation_id": "'another'",
    "timestamp": "'2020-01-01T00:00:00.000000Z'",
    "envelope": """replace(envelope, '"priority":"', '"priority": "')""",
}


@pytest.mark.parametrize("column", ALTERATIONS)
def test_an_entry_of_which_anything_was_altered_is_named(kept: Books, column: str) -> None:
    kept.query(f"UPDATE journal SET {column} = {ALTERATIONS[column]} WHERE position = {MIDDLE}")
    broken = kept.verify().first_broken
    assert broken is not None
    assert broken.position == MIDDLE
    assert broken.damage in {Damage.ALTERED, Damage.INSERTED}
    assert kept.verify().entries == MIDDLE - 1


def alter(kept: Books, position: int) -> None:
    kept.query(
        f"UPDATE journal SET envelope = {ALTERATIONS['envelope']} WHERE position = %s", position
    )


def test_an_altered_entry_that_got_the_right_hash_is_named(kept: Books) -> None:
    alter(kept, MIDDLE)
    kept.hash_anew(MIDDLE, MIDDLE)
    assert named(kept) == (MIDDLE, Damage.ALTERED)


def test_the_newest_entry_altered_together_with_its_hash_is_named(kept: Books) -> None:
    last = kept.head().position
    alter(kept, last)
    kept.hash_anew(last, last)
    assert named(kept) == (last, Damage.ALTERED)


def test_a_chain_that_was_written_anew_is_found_by_a_head_kept_elsewhere(kept: Books) -> None:
    head = kept.head()
    alter(kept, MIDDLE)
    kept.hash_anew(MIDDLE, head.position)
    assert named(kept, expected=head) == (MIDDLE, Damage.ALTERED)
    assert named(kept, deep=True) == (MIDDLE, Damage.ALTERED)


def named(kept: Books, **how: Any) -> tuple[int, Damage]:
    """Which entry is named as the first broken one, and what is said about it."""
    broken = kept.verify(**how).first_broken
    assert broken is not None
    return broken.position, broken.damage


def test_a_removed_entry_is_named(kept: Books) -> None:
    kept.query("DELETE FROM journal WHERE position = %s", MIDDLE)
    assert named(kept) == (MIDDLE, Damage.REMOVED)


def test_a_removed_entry_is_named_although_the_others_moved_up(kept: Books) -> None:
    kept.query("DELETE FROM journal WHERE position = %s", MIDDLE)
    move(kept, -1)
    assert named(kept) == (MIDDLE, Damage.REMOVED)


def move(kept: Books, by: int) -> None:
    """Moves the entries behind the middle."""
    kept.query("UPDATE journal SET position = -position WHERE position > %s", MIDDLE)
    kept.query("UPDATE journal SET position = -position + %s WHERE position < 0", by)


@pytest.mark.parametrize("is_hashed", [False, True])
def test_an_inserted_entry_is_named(kept: Books, is_hashed: bool) -> None:
    move(kept, 1)
    insert(kept, MIDDLE + 1)
    if is_hashed:
        kept.hash_anew(MIDDLE + 1, MIDDLE + 1)
    assert named(kept) == (MIDDLE + 1, Damage.INSERTED)


def insert(kept: Books, position: int, log_position: int = 2) -> None:
    """Inserts an entry about an event that never was: the log of payments has no position 2."""
    kept.query(
        "INSERT INTO journal SELECT %s, hash, 'Payments', %s, record_hash, %s, type, %s, %s, "
        "correlation_id, timestamp, envelope FROM journal WHERE position = 1",
        *(position, log_position, uuid4(), uuid4(), uuid4()),
    )


@pytest.mark.parametrize("position", [0, -1])
def test_an_entry_put_before_the_first_is_named(kept: Books, position: int) -> None:
    insert(kept, position)
    assert named(kept) == (position, Damage.INSERTED)


@pytest.mark.parametrize("log_position", [1, 999])
def test_an_entry_inserted_at_the_end_is_named(kept: Books, log_position: int) -> None:
    last = kept.head().position + 1
    insert(kept, last, log_position)
    kept.hash_anew(last, last)
    assert named(kept) == (last, Damage.INSERTED)


def test_entries_cut_off_at_the_end_are_named(kept: Books) -> None:
    last = kept.head().position
    kept.query("DELETE FROM journal WHERE position > %s", last - 3)
    assert named(kept) == (last - 2, Damage.CUT_OFF)


def test_a_journal_that_was_emptied_is_cut_off_at_the_first_entry(kept: Books) -> None:
    kept.query("DELETE FROM journal")
    assert named(kept) == (1, Damage.CUT_OFF)


def test_a_journal_made_to_forget_is_found_by_a_head_kept_elsewhere(kept: Books) -> None:
    head = kept.head()
    kept.query("DELETE FROM journal")
    kept.query("DELETE FROM journal_tracking")
    assert kept.verify().is_ok
    assert named(kept, expected=head) == (1, Damage.CUT_OFF)


def test_a_cut_behind_which_a_new_worker_has_written_on_is_found_by_a_head_kept_elsewhere(
    kept: Books,
) -> None:
    head = kept.head()
    kept.query("DELETE FROM journal WHERE position > %s", head.position - 3)
    restarted = Books(kept.persistence, applications_on(kept.persistence))
    while restarted.head().position < head.position:
        restarted.create_payment()
        restarted.follow()
    position, damage = named(restarted, expected=head)
    assert damage is Damage.CUT_OFF
    assert head.position - 3 < position <= head.position


def test_a_head_that_never_was_is_refused(kept: Books) -> None:
    wrong = Link(MIDDLE, bytes(32))
    assert named(kept, expected=wrong) == (MIDDLE, Damage.ALTERED)


def payment_entry(kept: Books, log_position: int) -> int:
    """Where the journal has an event of the log of payments."""
    [row] = kept.query(
        "SELECT position FROM journal WHERE log = 'Payments' AND log_position = %s", log_position
    )
    return int(row["position"])


TAMPERINGS: dict[str, tuple[str, Damage]] = {
    "state": (
        "UPDATE payments_events SET state = state || ' ' WHERE notification_id = 3",
        Damage.ALTERED_IN_LOG,
    ),
    "topic": (
        "UPDATE payments_events SET topic = 'domain.payment:Payment.Failed' "
        "WHERE notification_id = 3",
        Damage.ALTERED_IN_LOG,
    ),
    "aggregate": (
        "UPDATE payments_events SET originator_id = gen_random_uuid() WHERE notification_id = 3",
        Damage.ALTERED_IN_LOG,
    ),
    "version": (
        "UPDATE payments_events SET originator_version = 99 WHERE notification_id = 3",
        Damage.ALTERED_IN_LOG,
    ),
    "version below zero": (
        "UPDATE payments_events SET originator_version = -1 WHERE notification_id = 3",
        Damage.ALTERED_IN_LOG,
    ),
    "no topic": (
        "UPDATE payments_events SET topic = NULL WHERE notification_id = 3",
        Damage.ALTERED_IN_LOG,
    ),
    "no state": (
        "UPDATE payments_events SET state = NULL WHERE notification_id = 3",
        Damage.ALTERED_IN_LOG,
    ),
    "removed": (
        "DELETE FROM payments_events WHERE notification_id = 3",
        Damage.REMOVED_FROM_LOG,
    ),
    "moved": (
        "UPDATE payments_events SET notification_id = 2 WHERE notification_id = 3",
        Damage.REMOVED_FROM_LOG,
    ),
}


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_an_event_that_was_tampered_with_in_its_log_is_named(kept: Books, tampering: str) -> None:
    statement, damage = TAMPERINGS[tampering]
    kept.query(statement)
    assert named(kept) == (payment_entry(kept, 3), damage)


def test_an_event_inserted_into_a_log_is_named_where_it_should_stand(kept: Books) -> None:
    insert_into_log(kept, 2)
    assert named(kept) == (payment_entry(kept, 3), Damage.INSERTED_IN_LOG)


@pytest.mark.parametrize("position", [0, -1, -(2**63)])
def test_an_event_put_below_the_first_of_its_log_is_named(kept: Books, position: int) -> None:
    insert_into_log(kept, position)
    assert named(kept) == (payment_entry(kept, 1), Damage.INSERTED_IN_LOG)


def insert_into_log(kept: Books, position: int) -> None:
    """Makes one more payment, past everything that keeps a log in order."""
    kept.query(
        "INSERT INTO payments_events (notification_id, originator_id, originator_version, topic, "
        "state) SELECT %s, gen_random_uuid(), 1, topic, state FROM payments_events "
        "WHERE notification_id = 1",
        position,
    )


def test_an_event_that_nobody_can_read_is_named_even_with_an_entry_of_its_own(kept: Books) -> None:
    last = kept.head().position + 1
    insert_into_log(kept, 999)
    kept.query("UPDATE payments_events SET state = 'nothing' WHERE notification_id = 999")
    [stored] = kept.applications.payments.recorder.select_notifications(999, 1)
    insert(kept, last, 999)
    kept.query("UPDATE journal SET record_hash = %s WHERE position = %s", record_hash(stored), last)
    kept.hash_anew(last, last)
    assert named(kept) == (last, Damage.ALTERED)


def test_the_check_tells_how_many_events_it_takes_to_be_set_aside(kept: Books) -> None:
    assert kept.verify().set_aside == 0
    insert_into_log(kept, 2)
    kept.query(
        "INSERT INTO parked_events (parked_id, follower, leader, position, payment_id, topic, "
        "attempts, is_released) VALUES (gen_random_uuid(), 'Journal', 'Payments', 2, "
        "gen_random_uuid(), '', 1, false)"
    )
    verdict = kept.verify()
    assert (verdict.is_ok, verdict.set_aside) == (True, 1)


def test_a_log_cut_off_at_the_end_is_named(kept: Books) -> None:
    [last] = kept.query("SELECT max(notification_id) AS at FROM payments_events")
    at = payment_entry(kept, last["at"])
    kept.query("DELETE FROM payments_events WHERE notification_id = %s", last["at"])
    assert named(kept) == (at, Damage.REMOVED_FROM_LOG)


def test_only_the_first_of_several_damages_is_named(kept: Books) -> None:
    kept.query("DELETE FROM journal WHERE position > %s", MIDDLE + 2)
    alter(kept, MIDDLE)
    kept.query("DELETE FROM payments_events WHERE notification_id = 1")
    assert named(kept) == (1, Damage.REMOVED_FROM_LOG)


def test_the_check_reads_page_by_page(kept: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("system.journal_check.PAGE_SIZE", 3)
    told: list[tuple[int, int]] = []
    head = kept.head()
    check = kept.verify(head)
    assert check.is_ok
    alter(kept, MIDDLE + 2)
    assert named(kept) == (MIDDLE + 2, Damage.ALTERED)
    JournalCheck(kept.persistence, kept.applications).run(lambda d, t: told.append((d, t)))
    assert told[0] == (3, head.position)


def test_the_journal_waits_for_more_and_writes_in_larger_batches(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    record = Journal.record_batch

    def counting(self: Journal, work: Any) -> None:
        batches.append(len(work.rows))
        record(self, work)

    monkeypatch.setattr(Journal, "record_batch", counting)
    with node(database_url) as one:
        one.start()
        for _ in range(60):
            one.create_payment()
        found = Books(one.persistence, one.applications)
        until(lambda: len(found.journal()) >= 120 and len(found.journal()) == recorded(found))
        one.stop()
    written = [size for size in batches if size]
    assert sum(written) / len(written) > 4
