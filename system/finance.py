"""What was settled, refunded and taken as fees on each day, for the books (design 6).

Every amount comes from an event in the journal, none from a view: so the days add up to what the
payments themselves say.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from typing import Any

from eventsourcing.persistence import DataError
from psycopg.rows import class_row
from psycopg.sql import SQL

from application.envelope import timestamp
from application.event_log import EventLog
from domain.event import PaymentEventType
from domain.money import minor_units
from system.applications import Applications
from system.catching_up import catches_up
from system.parking import NEVER_SKIPPED
from system.persistence.postgres import PostgresPersistence

PAGE_SIZE = 1000
"""The most events that are held at once."""
CATCH_UP_SECONDS_MAX = 30.0
"""How long the journal may take to take in what the logs hold when an export begins."""

SETTLED = PaymentEventType.PAYMENT_COMPLETED.value
REFUNDED = PaymentEventType.PAYMENT_REFUNDED.value
EARNED = PaymentEventType.EARNINGS_CALCULATED.value

PAGE = SQL("""
SELECT timestamp, position, type, data->>'currency' AS currency,
    (data->>CASE type WHEN %(earned)s THEN 'platformFee' ELSE 'amount' END)::numeric AS amount
FROM (
    SELECT timestamp, position, type, envelope::json->'data' AS data FROM journal
    WHERE (timestamp, position) > (%(timestamp)s, %(position)s) AND timestamp < %(end)s
    AND type IN (%(settled)s, %(refunded)s, %(earned)s)
    ORDER BY timestamp, position LIMIT %(limit)s
) page ORDER BY timestamp, position
""")
BEFORE_ALL_TIME = ""
AFTER_ALL_TIME = "~"
"""Texts that stand before and behind every time."""


ENTRY_UNREADABLE = (
    "an entry of the journal cannot be read: `paysaga journal verify` names what was altered"
)


class BooksIncomplete(Exception):
    """The journal lacks events that belong in the books, or some cannot be read; the text says
    what to do."""


@dataclass(frozen=True)
class Movement:
    """One event that moved money; of earnings the platform's fee is the amount, and negative when
    it was given back."""

    timestamp: str
    position: int
    type: str
    currency: str
    amount: Decimal

    @property
    def day(self) -> str:
        """The day in UTC, as RFC 3339 writes it."""
        return self.timestamp[:10]


@dataclass(frozen=True)
class DailyTotals:
    """One day (UTC) in one currency. `platform_fees` are those taken less those given back; `net`
    is what is left of the amount settled after refunds and fees."""

    day: str
    currency: str
    settled_count: int
    amount_settled: Decimal
    refunded_count: int
    amount_refunded: Decimal
    platform_fees: Decimal
    net: Decimal


def daily_totals(
    persistence: PostgresPersistence,
    applications: Applications,
    begin: datetime | None = None,
    end: datetime | None = None,
) -> Iterator[DailyTotals]:
    """The totals of every day and currency in which money moved, oldest first; `begin` is included
    and `end` is not.

    Raises:
        BooksIncomplete: the journal is behind, or an event that belongs in it is parked; while the
            totals are read, that one of its entries cannot be.
    """
    _require_complete(persistence, applications)
    since = timestamp(begin) if begin else BEFORE_ALL_TIME
    until = timestamp(end) if end else AFTER_ALL_TIME
    return added_up(_movements(persistence, since, until))


def added_up(movements: Iterable[Movement]) -> Iterator[DailyTotals]:
    """The totals of movements that come in the order of time; one day is held at once."""
    for day, of_day in groupby(movements, key=lambda movement: movement.day):
        by_currency: dict[str, dict[str, list[Decimal]]] = {}
        for movement in of_day:
            kinds = by_currency.setdefault(movement.currency, {})
            count_and_sum = kinds.setdefault(movement.type, [Decimal(0), Decimal(0)])
            count_and_sum[0] += 1
            count_and_sum[1] += movement.amount
        for currency, kinds in sorted(by_currency.items()):
            yield _totals(day, currency, kinds)


def _totals(day: str, currency: str, kinds: dict[str, list[Decimal]]) -> DailyTotals:
    nothing = [Decimal(0), Decimal(0).scaleb(-minor_units(currency))]
    settled_count, settled = kinds.get(SETTLED, nothing)
    refunded_count, refunded = kinds.get(REFUNDED, nothing)
    _, fees = kinds.get(EARNED, nothing)
    return DailyTotals(
        day=day,
        currency=currency,
        settled_count=int(settled_count),
        amount_settled=settled,
        refunded_count=int(refunded_count),
        amount_refunded=refunded,
        platform_fees=fees,
        net=settled - refunded - fees,
    )


def _movements(persistence: PostgresPersistence, since: str, until: str) -> Iterator[Movement]:
    place: tuple[str, int] = (since, 0)
    while True:
        values = {"settled": SETTLED, "refunded": REFUNDED, "earned": EARNED, "limit": PAGE_SIZE}
        values |= {"timestamp": place[0], "position": place[1], "end": until}
        try:
            with persistence.connection() as connection:
                cursor = connection.cursor(row_factory=class_row(Movement))
                page = cursor.execute(PAGE, values).fetchall()
        except DataError as error:
            raise BooksIncomplete(ENTRY_UNREADABLE) from error
        if any(each.amount is None or each.currency is None for each in page):
            raise BooksIncomplete(ENTRY_UNREADABLE)
        yield from page
        if len(page) < PAGE_SIZE:
            return
        place = (page[-1].timestamp, page[-1].position)


def _require_complete(persistence: PostgresPersistence, applications: Applications) -> None:
    logs: list[EventLog[Any]] = [applications.payments, applications.contracts]
    if not catches_up(applications.journal, logs, CATCH_UP_SECONDS_MAX):
        raise BooksIncomplete(
            "the journal is behind, and the books with it: see that a worker runs"
        )
    with persistence.connection() as connection:
        row = connection.execute(
            "SELECT count(*) FROM parked_events WHERE follower = %s AND leader = ANY(%s)",
            (NEVER_SKIPPED, [log.name for log in logs]),
        ).fetchone()
    if row and row["count"]:
        raise BooksIncomplete(
            f"{row['count']} events are parked that belong in the books: see `paysaga parked list`"
        )
