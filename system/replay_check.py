"""Replays every aggregate and compares what comes of it with the read models, row by row."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, cast
from uuid import UUID

from eventsourcing.persistence import StoredEvent
from psycopg.sql import SQL, Composed, Identifier

from application.event_log import EventLog, ReadsMany, replayed
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
    "SELECT originator_id FROM {} e WHERE originator_version > 1 AND NOT EXISTS (SELECT FROM {} f "
    "WHERE f.originator_id = e.originator_id AND f.originator_version = 1) LIMIT 1"
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


class ReplayImpossible(Exception):
    """An aggregate cannot be replayed: an event of it is gone, or is none; the text says which."""


class ReplayCheck:
    """Replays all logs, page by page. Differences are told as they are found."""

    def __init__(self, persistence: PostgresPersistence, applications: Applications) -> None:
        self._persistence = persistence
        self._applications = applications
        self.replayed: dict[str, int] = {}

    def run(self, progress: Progress = lambda _done, _total: None) -> Iterator[Difference]:
        """Every difference; `replayed` counts the aggregates of each log meanwhile.

        Raises:
            ReplayImpossible: events of an aggregate are gone, or are none.
        """
        total = sum(self._count(log) for log in self._logs())
        done = 0
        for log in self._logs():
            self.replayed[log.name] = 0
            for ids in self._pages(log):
                yield from self._differing(log, ids)
                self.replayed[log.name] += len(ids)
                done += len(ids)
                progress(done, total)
            self._require_beginnings(log)
        yield from self._orphans()

    def _logs(self) -> list[EventLog[Any]]:
        return [self._applications.by_name[log.name] for log in LOGS]

    def _count(self, log: EventLog[Any]) -> int:
        statement = SQL("SELECT count(*) FROM {} WHERE originator_version = 1")
        with self._persistence.connection() as connection:
            row = connection.execute(statement.format(_events(log))).fetchone()
        return int(row["count"]) if row else 0

    def _require_beginnings(self, log: EventLog[Any]) -> None:
        """All aggregates were found by their first events."""
        with self._persistence.connection() as connection:
            statement = BEHEADED.format(_events(log), _events(log))
            found = connection.execute(statement).fetchone()
        if found:
            raise ReplayImpossible(f"{log.name} {found['originator_id']}: its first event is gone")

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

    def _differing(self, log: EventLog[Any], ids: Sequence[UUID]) -> list[Difference]:
        """What differs even after the view has had time to catch up."""
        found = self._compare(log, ids)
        for _ in range(SECOND_LOOKS):
            if not found:
                break
            time.sleep(SECOND_LOOK_SECONDS)
            found = self._compare(log, list(found))
        return [difference for differences in found.values() for difference in differences]

    def _compare(self, log: EventLog[Any], ids: Sequence[UUID]) -> dict[UUID, list[Difference]]:
        """The differences of each aggregate that has any."""
        expected = self._expected(log, ids)
        shown = self._shown({place for rows in expected.values() for place in rows})
        found = {each: list(_compared(rows, shown)) for each, rows in expected.items()}
        return {each: differences for each, differences in found.items() if differences}

    def _expected(self, log: EventLog[Any], ids: Sequence[UUID]) -> dict[UUID, dict[Place, Row]]:
        """The rows that the views must show of each aggregate."""
        projections = [
            follower
            for follower in self._applications.followers_of(log)
            if isinstance(follower, Projection) and follower.is_rebuildable
        ]
        stored = cast(ReadsMany, log.recorder).select_events_of(ids)
        found = {}
        for aggregate_id, records in groupby(
            stored, key=lambda each: cast(UUID, each.originator_id)
        ):
            events, aggregate = _replayed(log, aggregate_id, list(records))
            rows = projected_rows(projections, events)
            for table, key, row in rows_of(aggregate, self._applications.vault):
                rows.setdefault((table, key), {}).update(row)
            found[aggregate_id] = rows
        return found

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


def _replayed(
    log: EventLog[Any], aggregate_id: UUID, records: Sequence[StoredEvent]
) -> tuple[list[Any], Any]:
    """An aggregate's events, and what they come to."""
    try:
        events = [log.mapper.to_domain_event(record) for record in records]
        return events, replayed(None, events)
    except Exception as error:
        raise ReplayImpossible(
            f"{log.name} {aggregate_id} cannot be replayed: {type(error).__name__}: {error}"
        ) from error


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
