"""Where the figures of a worker come from: its breakers, and those parts of the fleet's work that
this process is in charge of."""

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import timedelta
from typing import Any

from psycopg.sql import SQL, Composed

from application.circuit_breaker import EventDrivenCircuitBreaker
from application.ports import Clock
from domain.performance_metric import Figure
from system.event_counts import FINAL_TOPICS
from system.figures import AGENDA_FIGURES, LAGS
from system.persistence.postgres import PostgresPersistence, reconnecting

BREAKERS_MAX = 5
"""The busiest breakers are told of: merchants choose how many hosts they name."""

EVENTS_MAX = 100_000
"""Of the payments' events of a window the newest so many are looked at."""

BREAKER_UNITS = {
    "totalRequests": "calls",
    "rejectedRequests": "calls",
    "errorRate": "percent",
    "slowCallRate": "percent",
    "averageResponseTime": "ms",
    "p95ResponseTime": "ms",
    "throughput": "calls/s",
}
"""The metrics of contract 8 that are recorded, with their units."""

REACHED = {
    f"domain.payment:Payment.{status.capitalize()}": status
    for status in ("initiated", "processing", "authorized", "completed", "failed", "cancelled")
}
"""The statuses that are told of, by the events with which payments reach them."""

Led = Callable[[], Collection[str]]
"""The followers that this process runs for the whole fleet."""

REACHED_SINCE = """
SELECT topic, count(*) AS count,
    percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY took_ms) AS quantiles_ms
FROM (
    SELECT taken.topic, 1000 * extract(epoch FROM
        (convert_from(taken.state, 'UTF8')::json #>> '{timestamp,_data_}')::timestamptz
        - (convert_from(first.state, 'UTF8')::json #>> '{timestamp,_data_}')::timestamptz
    )::float AS took_ms
    FROM payments_events AS taken
    LEFT JOIN payments_events AS first ON taken.topic = ANY(%(finals)s)
        AND first.originator_id = taken.originator_id AND first.originator_version = 1
    WHERE taken.notification_id > %(after)s AND taken.notification_id <= %(upto)s
        AND taken.topic = ANY(%(topics)s)
) AS reached GROUP BY topic ORDER BY topic
"""


class BreakerFigures:
    """The metrics of the breakers that were called since the last time."""

    def __init__(self, breakers: Callable[[], Iterable[EventDrivenCircuitBreaker]]) -> None:
        self._breakers = breakers
        self._calls: dict[str, int] = {}

    def __call__(self, _window: timedelta) -> Iterator[Figure]:
        shown = {each.name or "": each.metrics() for each in self._breakers()}
        calls = {name: m.total_requests + m.rejected_requests for name, m in shown.items()}
        news = {name: count - self._calls.get(name, 0) for name, count in calls.items()}
        self._calls = calls
        busiest = sorted((name for name in news if news[name]), key=lambda name: -news[name])
        for name in busiest[:BREAKERS_MAX]:
            yield from _of_breaker(name, shown[name].as_dict())


def _of_breaker(name: str, metrics: dict[str, Any]) -> Iterator[Figure]:
    for metric, unit in BREAKER_UNITS.items():
        if metrics[metric] is not None:
            labels = {"service": name}
            yield Figure(f"breaker.{metric}", float(metrics[metric]), unit, labels)


class FleetWork:
    """Lags, queues and payments of the fleet. The process that runs a follower tells of it; the one
    that runs Agenda tells of the agenda, the one that runs PaymentSagas of payments."""

    def __init__(self, persistence: PostgresPersistence, clock: Clock, led: Led) -> None:
        self._persistence = persistence
        self._clock = clock
        self._led = led
        self._position = self._head()

    def lags(self, _window: timedelta) -> Iterator[Figure]:
        """How far the followers of this process are behind the log where they are furthest."""
        led, now = self._led(), self._clock.now()
        rows = [row for row in self._rows(LAGS, now=now) if row["follower"] in led] if led else []
        for follower in sorted({row["follower"] for row in rows}):
            mine, labels = [r for r in rows if r["follower"] == follower], {"follower": follower}
            events = max(float(row["follower_lag_events"]) for row in mine)
            seconds = max(float(row["follower_lag_seconds"]) for row in mine)
            yield Figure("follower.lagEvents", events, "events", labels)
            yield Figure("follower.lagSeconds", seconds, "s", labels)

    def queues(self, _window: timedelta) -> Iterator[Figure]:
        """How much work is on the agenda, and for how long the oldest has been due."""
        now = self._clock.now()
        for row in self._rows(AGENDA_FIGURES, now=now) if "Agenda" in self._led() else ():
            labels = {"kind": row["kind"]}
            yield Figure("agenda.depth", float(row["agenda_rows"]), "items", labels)
            yield Figure("agenda.due", float(row["agenda_due"]), "items", labels)
            oldest = float(row["agenda_oldest_due_seconds"])
            yield Figure("agenda.oldestDue", oldest, "s", labels)

    def payments(self, window: timedelta) -> Iterator[Figure]:
        """How many payments a second reached each status, and how long they took to their end."""
        head = self._head()
        after = max(self._position, head - EVENTS_MAX)
        self._position = head
        if after == head or "PaymentSagas" not in self._led():
            return
        topics = {"topics": list(REACHED), "finals": list(FINAL_TOPICS)}
        for row in self._rows(SQL(REACHED_SINCE), after=after, upto=head, **topics):
            labels = {"status": REACHED[row["topic"]]}
            rate = row["count"] / window.total_seconds()
            yield Figure("payments.throughput", rate, "payments/s", labels)
            for quantile, value in zip(("p50", "p95"), row["quantiles_ms"] or (), strict=False):
                if value is not None:
                    yield Figure(f"payments.lifecycle.{quantile}", value, "ms", labels)

    def _head(self) -> int:
        query = SQL("SELECT coalesce(max(notification_id), 0) AS head FROM payments_events")
        return int(self._rows(query)[0]["head"])

    @reconnecting
    def _rows(self, query: SQL | Composed, **parameters: Any) -> list[dict[str, Any]]:
        with self._persistence.connection() as connection:
            return connection.execute(query, parameters or None).fetchall()
