"""Replays every aggregate and compares what comes of it with the read models, row by row."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, cast
from uuid import UUID

from eventsourcing.persistence import StoredEvent
from psycopg.sql import SQL, Composed, Identifier

from application.event_log import EventLog, ReadsMany
from application.rows import Upsert, fold
from application.vault import Vault
from domain.confirmation import Confirmation
from domain.contract import Contract
from domain.earnings import Earnings
from domain.event import PaySagaAggregate
from domain.payment import Payment
from domain.payment_saga import PaymentSaga
from domain.webhook import Webhook
from system.applications import Applications
from system.definition import LOGS
from system.followers.base import Projection
from system.persistence.postgres import PostgresPersistence
from system.persistence.row_sql import storable
from system.persistence.tables import (
    CONFIRMATIONS_VIEW,
    CONTRACTS_VIEW,
    EARNINGS_VIEW,
    PAYMENTS_VIEW,
    REFUNDS_VIEW,
    SAGAS_VIEW,
    TABLES,
    WEBHOOKS_VIEW,
)
from system.projections.confirmations_view import confirmation_row
from system.projections.contracts_view import contract_row, earnings_total
from system.projections.payments_view import payment_row, refund_rows
from system.projections.sagas_view import saga_row
from system.projections.webhooks_view import webhook_row
from system.replaying import FIRST_IS_GONE, ReplayImpossible, read_back, replaying

PAGE_SIZE = 500
"""The most aggregates that are held at once."""
SECOND_LOOKS = 20
SECOND_LOOK_SECONDS = 0.25
"""A view may be behind its log: what differs is looked at again, as often and after such waits."""

IDS = SQL(
    "SELECT originator_id, notification_id FROM {} WHERE originator_version = 1 "
    "AND notification_id > %s ORDER BY notification_id LIMIT %s"
)
ORPHANS = SQL(
    "SELECT v.{key} AS key FROM {view} v WHERE NOT EXISTS "
    "(SELECT FROM {events} e WHERE e.originator_id = v.{owner}) ORDER BY 1 LIMIT %s"
)
BEHEADED = SQL(
    "SELECT DISTINCT originator_id AS id FROM {0} e WHERE originator_version <> 1 "
    "AND originator_id > %s AND NOT EXISTS (SELECT FROM {0} f "
    "WHERE f.originator_id = e.originator_id AND f.originator_version = 1) ORDER BY 1 LIMIT %s"
)
ORPHANS_MAX = 1000
EARNED = "SELECT event_id, payment_id FROM view_earnings WHERE event_id > %s ORDER BY 1 LIMIT %s"
UNEARNED = (
    "SELECT id FROM unnest(%s::uuid[]) id WHERE NOT EXISTS "
    "(SELECT FROM contracts_events e WHERE e.originator_id = id)"
)

REFUND_COUNTS = "view_refunds, counted"
EARNINGS_SUMS = "view_earnings, added up"
TOTALS = {
    REFUND_COUNTS: SQL(
        "SELECT payment.id AS key, count(refund_id) AS count FROM unnest(%s::uuid[]) payment (id) "
        "LEFT JOIN view_refunds ON payment_id = payment.id GROUP BY payment.id"
    ),
    EARNINGS_SUMS: SQL(
        "SELECT payment_id AS key, payment_id, sum(gross) AS gross, sum(net) AS net, "
        "sum(platform_fee) AS platform_fee FROM view_earnings WHERE payment_id = ANY(%s) "
        "GROUP BY payment_id"
    ),
}
"""What the rows of a payment come to where there may be several: one too many shows in that."""

Row = dict[str, Any]
Place = tuple[str, UUID]
"""A table and the key of a row in it."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Difference:
    """A column of a row that is not what the events say; `column` is None for a whole row that is
    missing (`replayed` is its key) or that nothing accounts for (`shown` is its key)."""

    table: str
    key: str
    column: str | None
    shown: Any
    replayed: Any


@dataclass(frozen=True)
class NotReplayed:
    """An aggregate that cannot be replayed, and so not be compared: an event of it is gone, or is
    none; `reason` says which."""

    log: str
    aggregate_id: UUID
    reason: str


Finding = Difference | NotReplayed


class ReplayCheck:
    """Replays all logs, page by page. What is wrong is told as it is found."""

    def __init__(self, persistence: PostgresPersistence, applications: Applications) -> None:
        self._persistence = persistence
        self._applications = applications
        self.replayed: dict[str, int] = {}

    def run(self, progress: Progress = lambda _done, _total: None) -> Iterator[Finding]:
        """Every difference, and every aggregate that cannot be replayed; `replayed` counts the
        aggregates of each log that were tried meanwhile."""
        total = sum(self._count(log) for log in self._logs())
        done = 0
        for log in self._logs():
            self.replayed[log.name] = 0
            for ids in self._pages(log):
                yield from self._wrong(log, ids)
                self.replayed[log.name] += len(ids)
                done += len(ids)
                progress(done, total)
            yield from self._beheaded(log)
        yield from self._orphans()

    def _logs(self) -> list[EventLog[Any]]:
        return [self._applications.by_name[log.name] for log in LOGS]

    def _count(self, log: EventLog[Any]) -> int:
        statement = SQL("SELECT count(*) FROM {} WHERE originator_version = 1")
        with self._persistence.connection() as connection:
            row = connection.execute(statement.format(_events(log))).fetchone()
        return int(row["count"]) if row else 0

    def _beheaded(self, log: EventLog[Any]) -> Iterator[NotReplayed]:
        """Those without their first events, by which all others were found."""
        last = UUID(int=0)
        while True:
            with self._persistence.connection() as connection:
                statement = BEHEADED.format(_events(log))
                rows = connection.execute(statement, (last, PAGE_SIZE)).fetchall()
            for row in rows:
                yield NotReplayed(log.name, row["id"], FIRST_IS_GONE)
            if len(rows) < PAGE_SIZE:
                return
            last = rows[-1]["id"]

    def _pages(self, log: EventLog[Any]) -> Iterator[list[UUID]]:
        position = 0
        while True:
            with self._persistence.connection() as connection:
                statement = IDS.format(_events(log))
                rows = connection.execute(statement, (position, PAGE_SIZE)).fetchall()
            if not rows:
                return
            yield [row["originator_id"] for row in rows]
            position = rows[-1]["notification_id"]

    def _wrong(self, log: EventLog[Any], ids: Sequence[UUID]) -> list[Finding]:
        """What is wrong even after the views have had time to catch up."""
        found = self._compare(log, ids)
        for _ in range(SECOND_LOOKS):
            differing = [each for each, wrong in found.items() if isinstance(wrong[0], Difference)]
            if not differing:
                break
            time.sleep(SECOND_LOOK_SECONDS)
            for each in differing:
                del found[each]
            found |= self._compare(log, differing)
        return [finding for wrong in found.values() for finding in wrong]

    def _compare(self, log: EventLog[Any], ids: Sequence[UUID]) -> dict[UUID, list[Finding]]:
        """What is wrong with each aggregate with which anything is."""
        expected: dict[UUID, dict[Place, Row]] = {}
        found: dict[UUID, list[Finding]] = {}
        stored = cast(ReadsMany, log.recorder).select_events_of(ids)
        for aggregate_id, records in groupby(stored, key=_aggregate_id):
            try:
                expected[aggregate_id] = self._expected(log, aggregate_id, list(records))
            except ReplayImpossible as impossible:
                found[aggregate_id] = [NotReplayed(log.name, aggregate_id, impossible.reason)]
        shown = self._shown({place for rows in expected.values() for place in rows})
        for aggregate_id, rows in expected.items():
            differences: list[Finding] = list(_compared(rows, shown))
            if differences:
                found[aggregate_id] = differences
        return found

    def _expected(
        self, log: EventLog[Any], aggregate_id: UUID, records: Sequence[StoredEvent]
    ) -> dict[Place, Row]:
        """The rows that the views must show of an aggregate.

        Raises:
            ReplayImpossible: an event of it is gone, or is none.
        """
        projections = [
            follower
            for follower in self._applications.followers_of(log)
            if isinstance(follower, Projection) and follower.is_rebuildable
        ]
        with replaying(log, aggregate_id):
            events, aggregate = read_back(log, aggregate_id, records)
            rows = projected_rows(projections, events)
            for table, key, row in rows_of(aggregate, self._applications.vault):
                rows.setdefault((table, key), {}).update(row)
            _require_keys(rows)
            return rows

    def _shown(self, places: Collection[Place]) -> dict[Place, Row]:
        keys: dict[str, list[UUID]] = {}
        for table, key in places:
            keys.setdefault(table, []).append(key)
        with self._persistence.connection() as connection:
            return {
                (table, row["key"]): row
                for table, wanted in keys.items()
                for row in connection.execute(_select(table), (wanted,))
            }

    def _orphans(self) -> Iterator[Difference]:
        """Rows that no aggregate accounts for."""
        logs = self._applications
        for table, owner, log in (
            (PAYMENTS_VIEW, "payment_id", logs.payments),
            (REFUNDS_VIEW, "payment_id", logs.payments),
            (SAGAS_VIEW, "saga_id", logs.sagas),
            (WEBHOOKS_VIEW, "webhook_id", logs.webhooks),
            (CONFIRMATIONS_VIEW, "confirmation_id", logs.confirmations),
            (CONTRACTS_VIEW, "aggregate_id", logs.contracts),
        ):
            statement = ORPHANS.format(
                key=Identifier(table.key[0]),
                view=Identifier(table.name),
                events=_events(log),
                owner=Identifier(owner),
            )
            with self._persistence.connection() as connection:
                rows = connection.execute(statement, (ORPHANS_MAX,)).fetchall()
            for row in rows:
                yield Difference(table.name, str(row["key"]), None, str(row["key"]), None)
        yield from self._unearned()

    def _unearned(self) -> Iterator[Difference]:
        """Rows of earnings from payments that earned nobody anything."""
        last = UUID(int=0)
        while True:
            with self._persistence.connection() as connection:
                rows = connection.execute(EARNED, (last, PAGE_SIZE)).fetchall()
                earnings = {row["event_id"]: Earnings.create_id(row["payment_id"]) for row in rows}
                found = connection.execute(UNEARNED, (list(set(earnings.values())),)).fetchall()
            unknown = {row["id"] for row in found}
            for key, earnings_id in earnings.items():
                if earnings_id in unknown:
                    yield Difference(EARNINGS_VIEW.name, str(key), None, str(key), None)
            if len(rows) < PAGE_SIZE:
                return
            last = rows[-1]["event_id"]


def _aggregate_id(stored: StoredEvent) -> UUID:
    return cast(UUID, stored.originator_id)


def _require_keys(rows: Collection[Place]) -> None:
    for table, key in rows:
        if not isinstance(key, UUID):
            raise TypeError(f"{key!r} is no key of {table}")


def projected_rows(projections: Sequence[Projection], events: Sequence[Any]) -> dict[Place, Row]:
    """The rows, with all their columns, that the projections make of an aggregate's events."""
    changes = fold(
        change
        for event in events
        for projection in projections
        if projection.concerns(type(event))
        for change in projection.project(event)
    )
    rows = {}
    for change in changes:
        if isinstance(change, Upsert):
            table = TABLES[change.table]
            blank = {**dict.fromkeys(table.columns), table.key[0]: change.key[0]}
            rows[change.table, change.key[0]] = {**blank, **change.values}
    return rows


def rows_of(aggregate: PaySagaAggregate, vault: Vault) -> Iterator[tuple[str, UUID, Row]]:
    """The rows that the views must show of an aggregate, made from its state without a projection,
    and so without the columns that it knows nothing of."""
    match aggregate:
        case Payment():
            yield PAYMENTS_VIEW.name, aggregate.id, payment_row(aggregate, vault)
            for row in refund_rows(aggregate):
                yield REFUNDS_VIEW.name, row["refund_id"], row
            yield REFUND_COUNTS, aggregate.id, {"count": len(aggregate.refunds)}
        case PaymentSaga():
            yield SAGAS_VIEW.name, aggregate.id, saga_row(aggregate)
        case Webhook():
            yield WEBHOOKS_VIEW.name, aggregate.id, webhook_row(aggregate)
        case Confirmation():
            yield CONFIRMATIONS_VIEW.name, aggregate.id, confirmation_row(aggregate)
        case Contract():
            yield CONTRACTS_VIEW.name, aggregate.id, contract_row(aggregate)
        case Earnings():
            yield EARNINGS_SUMS, aggregate.payment_id, earnings_total(aggregate)


def _select(table: str) -> SQL | Composed:
    if table in TOTALS:
        return TOTALS[table]
    key = Identifier(TABLES[table].key[0])
    return SQL("SELECT *, {key} AS key FROM {table} WHERE {key} = ANY(%s)").format(
        key=key, table=Identifier(table)
    )


def _compared(expected: dict[Place, Row], shown: dict[Place, Row]) -> Iterator[Difference]:
    for (table, key), row in expected.items():
        found = shown.get((table, key))
        if found is None:
            yield Difference(table, str(key), None, None, str(key))
            continue
        for column, value in row.items():
            if found[column] != storable(value):
                yield Difference(table, str(key), column, found[column], value)


def _events(log: EventLog[Any]) -> Identifier:
    return Identifier(f"{log.name.lower()}_events")
