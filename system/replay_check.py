"""Replays every aggregate and compares what comes of it with the read models, row by row."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.sql import SQL, Identifier

from application.event_log import EventLog
from application.vault import Vault
from domain.contract import Contract
from domain.earnings import Earnings
from domain.event import PaySagaAggregate
from domain.payment import Payment
from domain.payment_saga import PaymentSaga
from system.applications import Applications
from system.definition import LOGS
from system.persistence.postgres import PostgresPersistence
from system.persistence.tables import (
    CONTRACTS_VIEW,
    EARNINGS_VIEW,
    PAYMENTS_VIEW,
    REFUNDS_VIEW,
    SAGAS_VIEW,
)
from system.projections.contracts_view import contract_row, earnings_total
from system.projections.payments_view import payment_row, refund_rows
from system.projections.sagas_view import saga_row

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
ORPHANS_MAX = 1000

Row = dict[str, Any]
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


class ReplayCheck:
    """Replays all logs, page by page. Differences are told as they are found."""

    def __init__(self, persistence: PostgresPersistence, applications: Applications) -> None:
        self._persistence = persistence
        self._applications = applications
        self.replayed: dict[str, int] = {}

    def run(self, progress: Progress = lambda _done, _total: None) -> Iterator[Difference]:
        """Every difference; `replayed` counts the aggregates of each log meanwhile."""
        total = sum(self._count(log) for log in self._logs())
        done = 0
        for log in self._logs():
            self.replayed[log.name] = 0
            for ids in self._pages(log):
                aggregates = log.get_many(ids)
                self.replayed[log.name] += len(aggregates)
                yield from self._differing(log, aggregates)
                done += len(ids)
                progress(done, total)
        yield from self._orphans()

    def _logs(self) -> list[EventLog[Any]]:
        return [self._applications.by_name[log.name] for log in LOGS]

    def _count(self, log: EventLog[Any]) -> int:
        statement = SQL("SELECT count(*) FROM {} WHERE originator_version = 1")
        with self._persistence.connection() as connection:
            row = connection.execute(statement.format(_events(log))).fetchone()
        return int(row["count"]) if row else 0

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

    def _differing(
        self, log: EventLog[Any], aggregates: dict[UUID, PaySagaAggregate]
    ) -> list[Difference]:
        """What differs even after the view has had time to catch up."""
        found = self._compare(aggregates.values())
        for _ in range(SECOND_LOOKS):
            if not found:
                break
            time.sleep(SECOND_LOOK_SECONDS)
            suspects = {difference.key for difference in found}
            again = [each for each in aggregates if _keys(aggregates[each]) & suspects]
            found = self._compare(log.get_many(again).values())
        return found

    def _compare(self, aggregates: Any) -> list[Difference]:
        expected: dict[str, dict[UUID, Row]] = {}
        for aggregate in aggregates:
            for table, key, row in expected_rows(aggregate, self._applications.vault):
                expected.setdefault(table, {})[key] = row
        return [
            difference
            for table, rows in expected.items()
            for difference in _compared(table, rows, self._shown(table, list(rows)))
        ]

    def _shown(self, table: str, keys: Sequence[UUID]) -> dict[UUID, Row]:
        key = KEYS[table]
        statement = SQL("SELECT * FROM {} WHERE {} = ANY(%s)").format(
            Identifier(table), Identifier(key)
        )
        is_summed = table == EARNINGS_VIEW.name
        with self._persistence.connection() as connection:
            rows = connection.execute(EARNINGS if is_summed else statement, (keys,)).fetchall()
        return {row[key]: row for row in rows}

    def _orphans(self) -> Iterator[Difference]:
        """Rows that no aggregate accounts for."""
        for table, owner, log in (
            (PAYMENTS_VIEW.name, "payment_id", self._applications.payments),
            (REFUNDS_VIEW.name, "payment_id", self._applications.payments),
            (SAGAS_VIEW.name, "saga_id", self._applications.sagas),
            (CONTRACTS_VIEW.name, "aggregate_id", self._applications.contracts),
            (EARNINGS_VIEW.name, "payment_id", self._applications.payments),
        ):
            statement = ORPHANS.format(
                key=Identifier(KEYS[table]),
                view=Identifier(table),
                events=_events(log),
                owner=Identifier(owner),
            )
            with self._persistence.connection() as connection:
                rows = connection.execute(statement, (ORPHANS_MAX,)).fetchall()
            for row in rows:
                yield Difference(table, str(row["key"]), None, str(row["key"]), None)


KEYS = {
    **{t.name: t.key[0] for t in (PAYMENTS_VIEW, REFUNDS_VIEW, SAGAS_VIEW, CONTRACTS_VIEW)},
    EARNINGS_VIEW.name: "payment_id",
}
"""By what the rows of each view are compared. Of earnings the sums for each payment are."""

EARNINGS = SQL(
    "SELECT payment_id, sum(gross) AS gross, sum(platform_fee) AS platform_fee, sum(net) AS net "
    "FROM view_earnings WHERE payment_id = ANY(%s) GROUP BY payment_id"
)


def expected_rows(aggregate: PaySagaAggregate, vault: Vault) -> Iterator[tuple[str, UUID, Row]]:
    """The rows that the views must show of an aggregate, without the columns that it knows
    nothing of."""
    if isinstance(aggregate, Payment):
        yield PAYMENTS_VIEW.name, aggregate.id, payment_row(aggregate, vault)
        for row in refund_rows(aggregate):
            yield REFUNDS_VIEW.name, row["refund_id"], row
    elif isinstance(aggregate, PaymentSaga):
        yield SAGAS_VIEW.name, aggregate.id, saga_row(aggregate)
    elif isinstance(aggregate, Contract):
        yield CONTRACTS_VIEW.name, aggregate.id, contract_row(aggregate)
    elif isinstance(aggregate, Earnings):
        yield EARNINGS_VIEW.name, aggregate.payment_id, earnings_total(aggregate)


def _keys(aggregate: PaySagaAggregate) -> set[str]:
    others = list(aggregate.refunds) if isinstance(aggregate, Payment) else []
    if isinstance(aggregate, Earnings):
        others.append(aggregate.payment_id)
    return {str(aggregate.id), *map(str, others)}


def _compared(
    table: str, expected: dict[UUID, Row], shown: dict[UUID, Row]
) -> Iterator[Difference]:
    for key, row in expected.items():
        if key not in shown:
            yield Difference(table, str(key), None, None, str(key))
            continue
        for column, value in row.items():
            if shown[key][column] != value:
                yield Difference(table, str(key), column, shown[key][column], value)


def _events(log: EventLog[Any]) -> Identifier:
    return Identifier(f"{log.name.lower()}_events")
