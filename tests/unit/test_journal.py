"""The journal holds every event once, in one order, and each entry is chained to the one before."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
import simplejson

from application.envelope import envelope
from application.journal import BEGINNING, Entry, Link, link_after, opened_envelope, record_hash
from application.rows import Insert, Upsert
from application.vault import Vault
from domain.event import PaySagaAggregate
from system.definition import LOGS
from system.persistence.memory import MemoryClientKeys
from system.persistence.tables import JOURNAL
from system.projections.journal import chained
from system.testing import SeededIds, SystemUnderTest
from tests.simulation import scenarios

ENTRY = Entry(
    log="Payments",
    log_position=7,
    record_hash=bytes(range(32)),
    event_id=UUID(int=1),
    type="payment.cancelled",
    aggregate_id=UUID(int=2),
    subject_id=UUID(int=3),
    correlation_id="c-1",
    timestamp="2026-01-01T00:00:00.000000Z",
    envelope="{}",
)
OTHER: dict[str, Any] = {
    "log": "Gateway",
    "log_position": 8,
    "record_hash": bytes(32),
    "event_id": UUID(int=9),
    "type": "payment.failed",
    "aggregate_id": UUID(int=9),
    "subject_id": UUID(int=9),
    "correlation_id": "c-2",
    "timestamp": "2026-01-01T00:00:00.000001Z",
    "envelope": "[]",
}


def entries(s: SystemUnderTest) -> list[dict[str, Any]]:
    """The journal's rows in order."""
    rows = s.persistence.tables.rows[JOURNAL.name]
    return [{"position": position, **row} for (position,), row in sorted(rows.items())]


def entry_in(row: dict[str, Any]) -> Entry:
    """The entry that a row holds."""
    return Entry(**{name: row[name] for name in Entry.__dataclass_fields__})


def busy_system() -> SystemUnderTest:
    """A system in which one payment was refunded and another one cancelled."""
    s = SystemUnderTest(seed=5)
    paid = scenarios.paid(s)
    s.refund_payment(paid, scenarios.PART)
    cancelled = scenarios.new_payment(s)
    s.cancel_payment(cancelled)
    s.run()
    return s


def test_every_event_of_every_log_is_in_the_journal_once() -> None:
    with busy_system() as s:
        recorded = {
            (log.name, n.id): record_hash(n)
            for log in s.applications.by_name.values()
            for n in log.recorder.select_notifications(0, 10_000)
        }
        rows = entries(s)
        assert {(row["log"], row["log_position"]): row["record_hash"] for row in rows} == recorded
        assert [row["position"] for row in rows] == list(range(1, len(recorded) + 1))


def test_every_entry_carries_the_hash_of_the_one_before() -> None:
    with busy_system() as s:
        link = BEGINNING
        for row in entries(s):
            link = link_after(link, entry_in(row).content)
            assert row["hash"] == link.hash
        assert s.persistence.journal_head() == link


def test_an_application_with_events_of_its_own_is_followed_by_the_journal() -> None:
    with busy_system() as s:
        with_events = {
            log.name
            for log in s.applications.by_name.values()
            if log.recorder.max_notification_id()
        }
        assert with_events <= {log.name for log in LOGS}


def test_the_envelope_in_the_journal_is_the_one_that_is_shown() -> None:
    with busy_system() as s:
        shown = {
            str(event.event_id): envelope(event, s.vault, "PENDING")
            for log in s.applications.by_name.values()
            for event in log.all()
        }
        for row in entries(s):
            opened = opened_envelope(row["envelope"], s.vault, "PENDING")
            assert opened == json_values(shown[str(row["event_id"])])
            assert list(opened) == list(shown[str(row["event_id"])])


def json_values(document: dict[str, Any]) -> dict[str, Any]:
    """The document with lists for tuples, as JSON gives it back."""
    return {
        name: json_values(value)
        if isinstance(value, dict)
        else list(value)
        if isinstance(value, tuple)
        else value
        for name, value in document.items()
    }


def test_amounts_are_exact_in_the_journal() -> None:
    with busy_system() as s:
        [row] = [row for row in entries(s) if row["type"] == "payment.completed"]
        assert '"amount":10.00,' in row["envelope"]


def test_nobody_is_named_in_the_journal_and_an_erased_client_reads_erased() -> None:
    with busy_system() as s:
        row = entries(s)[0]
        assert "Sara" not in "".join(row["envelope"] for row in entries(s))
        assert (
            opened_envelope(row["envelope"], s.vault, "PENDING")["data"]["clientInfo"]["name"]
            == "Sara Omar"
        )
        erased = Vault(MemoryClientKeys(), SeededIds())
        assert opened_envelope(row["envelope"], erased, "PENDING")["data"]["clientInfo"] == "erased"


def test_the_canonical_form_is_ascii_with_sorted_names_and_no_spaces() -> None:
    with busy_system() as s:
        for row in entries(s):
            document = simplejson.loads(row["envelope"], use_decimal=True)
            again = simplejson.dumps(
                document, use_decimal=True, sort_keys=True, separators=(",", ":")
            )
            assert row["envelope"].isascii()
            assert row["envelope"] == again


def test_the_hash_of_an_entry_is_for_ever() -> None:
    assert link_after(BEGINNING, ENTRY.content).hash.hex() == (
        "11b768c1900d921609c5638274c4a630776640d0a8d0d3a9d960c13dcf209943"
    )


@pytest.mark.parametrize("name", OTHER)
def test_the_hash_covers_every_field(name: str) -> None:
    changed = replace(ENTRY, **{name: OTHER[name]})
    assert link_after(BEGINNING, changed.content) != link_after(BEGINNING, ENTRY.content)


def test_the_hash_covers_the_position_and_the_hash_before() -> None:
    hashes = {
        link_after(link, ENTRY.content).hash
        for link in (BEGINNING, Link(1, bytes(32)), Link(0, b"1" * 32))
    }
    assert len(hashes) == 3


def test_entries_are_chained_in_the_order_of_the_batch_and_other_rows_left_alone() -> None:
    other = Upsert("parked_events", (UUID(int=1),), {"follower": "Journal"})
    rows, head = chained(
        [
            Insert(JOURNAL.name, (), vars(ENTRY)),
            other,
            Insert(JOURNAL.name, (), vars(replace(ENTRY, event_id=UUID(int=5)))),
        ],
        Link(41, bytes(32)),
    )
    assert [row.key for row in rows] == [(42,), (UUID(int=1),), (43,)]
    assert head == Link(43, rows[2].values["hash"])  # type: ignore[union-attr]


def test_a_link_is_written_as_position_and_hash() -> None:
    link = link_after(Link(11, bytes(32)), ENTRY.content)
    assert Link.parse(str(link)) == link


@pytest.mark.parametrize("text", ["", "12", "12:", "12:zz", "x:" + "0" * 64, "-1:" + "0" * 64])
def test_what_is_no_link_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Link.parse(text)


def test_the_record_hash_covers_all_that_is_stored_of_an_event() -> None:
    with busy_system() as s:
        [stored] = s.applications.payments.recorder.select_notifications(1, 1)
        changed = [
            replace(stored, originator_id=UUID(int=1)),
            replace(stored, originator_version=2),
            replace(stored, topic="other"),
            replace(stored, state=stored.state + b" "),
        ]
        assert len({record_hash(stored), *map(record_hash, changed)}) == 5
        event = s.applications.payments.mapper.to_domain_event(stored)
        assert isinstance(event, PaySagaAggregate.Event)
