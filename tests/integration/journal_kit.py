"""A database with some payments and their journal, and hands that tamper with both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from eventsourcing.persistence import IntegrityError

from application.journal import BEGINNING, Entry, Link, link_after
from application.payments import NewPayment
from domain.client import ClientInfo
from domain.money import money
from system.applications import Applications
from system.following import FollowerParking, Following
from system.journal_check import JournalCheck, Verdict
from system.parking import ParkedEvents
from system.persistence.postgres import PostgresPersistence
from tests.integration.production_kit import applications_on, context, store

SARA = ClientInfo("Sara Omar", "sara@example.com")


@dataclass
class Books:
    """A database whose followers take in what there is when they are told to."""

    persistence: PostgresPersistence
    applications: Applications

    def create_payment(self, description: str = "Tea", client: ClientInfo | None = SARA) -> UUID:
        """Records a request for a payment of 10.00 SAR."""
        with context():
            new = NewPayment(money("10.00", "SAR"), description, client=client)
            return self.applications.payments.initiate(new)[0].id

    def cancel_payment(self, payment_id: UUID) -> None:
        """Cancels a payment."""
        with context():
            self.applications.payments.cancel(payment_id, "test")

    def followings(self, name: str | None = None) -> list[Following]:
        """All followers, or one, on their logs, as a worker runs them."""
        found = []
        for follower, leaders in self.applications.followers():
            parking = FollowerParking(ParkedEvents(self.persistence, follower.name))
            if name in (None, follower.name):
                found += [Following(follower, leader, parking=parking) for leader in leaders]
        return found

    def follow(self) -> None:
        """Lets all followers take in everything."""
        followings = self.followings()
        is_news = True
        while is_news:
            for following in followings:
                with suppress(IntegrityError):
                    following.advance()
            is_news = any(
                following.position < (following.leader.recorder.max_notification_id() or 0)
                for following in followings
            )

    def query(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        """The rows that a statement gives, if it gives rows."""
        with self.persistence.connection() as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def journal(self) -> list[dict[str, Any]]:
        """All entries in order."""
        return self.query("SELECT * FROM journal ORDER BY position")

    def head(self) -> Link:
        """The newest link."""
        return self.persistence.journal_head()

    def verify(self, expected: Link | None = None, *, deep: bool = False) -> Verdict:
        """Checks everything."""
        check = JournalCheck(self.persistence, self.applications, expected=expected, deep=deep)
        return check.run()

    def hash_anew(self, first: int, last: int) -> None:
        """Gives the entries `first` to `last` the hashes that their fields now ask for."""
        for row in self.journal():
            if first <= row["position"] <= last:
                [before] = self.query(
                    "SELECT hash FROM journal WHERE position = %s", row["position"] - 1
                ) or [{"hash": BEGINNING.hash}]
                link = link_after(
                    Link(row["position"] - 1, bytes(before["hash"])), entry_in(row).content
                )
                self.query(
                    "UPDATE journal SET hash = %s WHERE position = %s", link.hash, link.position
                )


def entry_in(row: dict[str, Any]) -> Entry:
    """The entry that a row holds."""
    return Entry(**{name: row[name] for name in Entry.__dataclass_fields__})


@contextmanager
def books(url: str) -> Iterator[Books]:
    """Three payments, one of them cancelled, a security event, and their journal. The log of
    payments has a gap at position 2, as a command that was rolled back leaves it."""
    with store(url) as persistence:
        kept = Books(persistence, applications_on(persistence))
        first = kept.create_payment()
        kept.query("SELECT nextval('payments_events_notification_id_seq')")
        kept.create_payment()
        kept.follow()
        kept.cancel_payment(first)
        with context():
            kept.applications.operations.record_incident("test", "low", None, {})
        kept.follow()
        kept.create_payment("Coffee")
        kept.follow()
        yield kept
        kept.applications.close()
