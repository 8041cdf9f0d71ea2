"""Figures of the whole fleet that no process knows alone, read from the database when asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg import Connection
from psycopg.rows import DictRow
from psycopg.sql import SQL, Composed, Identifier, Literal

from domain.circuit import Circuit, CircuitStatus
from domain.gateway_report import PROVIDER_PAYTABS
from system.breaker_metrics import STALE_AFTER, Metrics, merged_by_service
from system.definition import PAYSAGA
from system.event_counts import EventCount, event_counts
from system.leadership import WORKER_STALE_SECONDS
from system.persistence.brief_connection import brief_connection
from system.presence import STALE_SECONDS

SERVICES_MAX = 50
"""The most services whose breakers are shown: merchants choose how many hosts they name."""


@dataclass(frozen=True)
class Gauges:
    """Metrics from one query, which gives a row per combination of `labels`. `help` has the text
    of each metric by its name; the columns of the query are named after labels and metrics. Those
    that end in `_total` are counters. It may use `%(now)s`, the time that our clock shows: the
    times in the tables are by it."""

    query: str | SQL | Composed
    labels: tuple[str, ...]
    help: Mapping[str, str]


def _lags() -> Composed:
    """One row per follower and log, with the age of the next event that it will take in."""
    parts = [
        SQL(
            "SELECT {follower} AS follower, {log} AS log, at.position, head.head,"
            " (SELECT (convert_from(state, 'UTF8')::json #>> '{{timestamp,_data_}}')::timestamptz"
            " FROM {events} WHERE notification_id > at.position ORDER BY notification_id LIMIT 1)"
            " AS next_at FROM (SELECT coalesce((SELECT notification_id FROM {tracking}"
            " WHERE application_name = {log}), 0) AS position) AS at,"
            " (SELECT coalesce(max(notification_id), 0) AS head FROM {events}) AS head"
        ).format(
            follower=Literal(follower),
            log=Literal(log),
            events=Identifier(f"{log.lower()}_events"),
            tracking=Identifier(f"{follower.lower()}_tracking"),
        )
        for follower, leaders in PAYSAGA.follows.items()
        for log in leaders
    ]
    return SQL(
        "SELECT follower, log, position AS follower_position,"
        " greatest(head - position, 0) AS follower_lag_events,"
        " coalesce(greatest(extract(epoch FROM %(now)s - next_at), 0), 0) AS follower_lag_seconds"
        " FROM ({}) AS lags"
    ).format(SQL(" UNION ALL ").join(parts))


LAGS = _lags()
"""One row per follower and log: `follower_position`, `_lag_events` and `_lag_seconds`."""

AGENDA_FIGURES = SQL(
    "SELECT kind, count(*) AS agenda_rows,"
    " count(*) FILTER (WHERE due_at <= %(now)s) AS agenda_due,"
    " count(*) FILTER (WHERE claimed_until > %(now)s) AS agenda_claimed,"
    " coalesce(extract(epoch FROM %(now)s - min(due_at) FILTER (WHERE due_at <= %(now)s)), 0)"
    " AS agenda_oldest_due_seconds FROM agenda GROUP BY kind"
)
"""One row per kind of work on the agenda."""


PROCESSES = SQL(
    "SELECT role, process, (figures ->> 'memory_bytes')::float AS process_memory_bytes,"
    " (figures ->> 'cpu_seconds')::float AS process_cpu_seconds_total,"
    " (figures ->> 'open_files')::float AS process_open_files,"
    " (figures ->> 'threads')::float AS process_threads,"
    " extract(epoch FROM started_at) AS process_start_time_seconds,"
    " (figures ->> 'pool_max')::float AS database_pool_connections_max,"
    " (figures ->> 'pool_waiting')::float AS database_pool_waiting"
    " FROM processes WHERE seen_at > now() - make_interval(secs => {})"
).format(Literal(STALE_SECONDS))

POOLS = SQL(
    "SELECT role, process, state, (figures ->> ('pool_' || state))::float"
    " AS database_pool_connections FROM processes, unnest(ARRAY['in_use', 'idle']) AS state"
    " WHERE seen_at > now() - make_interval(secs => {})"
).format(Literal(STALE_SECONDS))


def _followers() -> Composed:
    return SQL(
        "SELECT name AS follower, coalesce(extract(epoch FROM %(now)s - active_at), 'Infinity')"
        " AS follower_silent_seconds, (SELECT count(*) FROM parked_events"
        " WHERE parked_events.follower = name) AS follower_parked_events"
        " FROM unnest({}::text[]) AS name LEFT JOIN follower_heartbeats ON follower = name"
    ).format(Literal(sorted(PAYSAGA.follows)))


GAUGES = (
    Gauges(
        "SELECT status, count(*) AS payments_open,"
        " extract(epoch FROM %(now)s - min(created_at)) AS payments_open_oldest_seconds"
        " FROM view_payments WHERE status IN ('initiated', 'processing', 'authorized')"
        " GROUP BY status",
        ("status",),
        {
            "payments_open": "Payments that have no final status yet.",
            "payments_open_oldest_seconds": "Age of the oldest open payment.",
        },
    ),
    Gauges(
        "SELECT CASE WHEN parked_detail IS NULL THEN status ELSE 'parked' END AS status,"
        " count(*) AS sagas_open FROM view_sagas"
        " WHERE parked_detail IS NULL AND status IN ('running', 'waiting', 'compensating')"
        " OR parked_detail IS NOT NULL"
        " GROUP BY 1",
        ("status",),
        {"sagas_open": "Sagas that are not through, and those that are parked."},
    ),
    Gauges(
        "SELECT status, count(*) AS confirmations_not_delivered FROM view_confirmations"
        " WHERE status IN ('pending', 'exhausted') GROUP BY status",
        ("status",),
        {"confirmations_not_delivered": "Confirmations being tried, and those given up."},
    ),
    Gauges(
        AGENDA_FIGURES,
        ("kind",),
        {
            "agenda_rows": "Work that is planned or due.",
            "agenda_due": "Work that is due, what is being done included.",
            "agenda_claimed": "Work that some worker is doing.",
            "agenda_oldest_due_seconds": "For how long the oldest due work has been due.",
        },
    ),
    Gauges(
        LAGS,
        ("follower", "log"),
        {
            "follower_position": "How far a follower has come in a log.",
            "follower_lag_events": "Positions of a log that a follower has still before it.",
            "follower_lag_seconds": "Age of the oldest event that a follower has not taken in.",
        },
    ),
    Gauges(
        _followers(),
        ("follower",),
        {
            "follower_silent_seconds": "Since a follower was last active; infinite when never.",
            "follower_parked_events": "Events that a follower has set aside.",
        },
    ),
    Gauges(
        "SELECT coalesce(state, 'unknown') AS state, count(*) AS database_connections"
        " FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend' GROUP BY 1",
        ("state",),
        {"database_connections": "Connections to the database, of all clients."},
    ),
    Gauges(
        SQL(
            "SELECT current_setting('max_connections')::int AS database_connections_max,"
            " (SELECT count(*) FROM worker_heartbeats WHERE active_at >"
            " now() - make_interval(secs => {})) AS workers_alive"
        ).format(Literal(WORKER_STALE_SECONDS)),
        (),
        {
            "database_connections_max": "The most connections that the server takes.",
            "workers_alive": "Workers that were heard of lately.",
        },
    ),
    Gauges(
        PROCESSES,
        ("role", "process"),
        {
            "process_memory_bytes": "Memory of a process that is really in use (resident).",
            "process_cpu_seconds_total": "Processor time that a process has used.",
            "process_open_files": "Files and connections that a process holds open.",
            "process_threads": "Threads of a process.",
            "process_start_time_seconds": "When a process began, in seconds since 1970.",
            "database_pool_connections_max": "The most connections of a process's pool.",
            "database_pool_waiting": "Threads that wait for a connection of the pool.",
        },
    ),
    Gauges(
        POOLS,
        ("role", "process", "state"),
        {"database_pool_connections": "Connections of a process's pool, by what they do."},
    ),
)

STATUS_AFTER = {
    f"domain.circuit:Circuit.{name}": status
    for name, status in (
        ("Opened", CircuitStatus.OPEN),
        ("HalfOpened", CircuitStatus.HALF_OPEN),
        ("Closed", CircuitStatus.CLOSED),
    )
}


@dataclass(frozen=True)
class Breaker:
    """How a service's breaker is recorded to stand, and its metrics over all processes; they are
    empty when no process shows any."""

    service: str
    status: CircuitStatus
    metrics: Metrics


@dataclass(frozen=True)
class FleetFigures:
    """What was read at one moment: the rows of each of the `GAUGES`, counts and breakers."""

    gauges: Sequence[tuple[Gauges, Sequence[Mapping[str, Any]]]] = ()
    events: Sequence[EventCount] = ()
    breakers: Sequence[Breaker] = field(default=())


def fleet_figures(conninfo: str, now: datetime) -> FleetFigures:
    """Reads everything on a connection of its own, so that a scrape neither waits for the pool nor
    takes from it, and ends soon whatever the database does.

    Raises:
        psycopg.Error: the database is away, or does not answer in time.
    """
    with brief_connection(conninfo) as connection:
        return FleetFigures(
            gauges=[(each, _rows(connection, each.query, now)) for each in GAUGES],
            events=event_counts(connection, sorted(PAYSAGA.nodes)),
            breakers=breakers(connection, now),
        )


def _rows(
    connection: Connection[DictRow], query: str | SQL | Composed, now: datetime
) -> list[DictRow]:
    text = query.encode() if isinstance(query, str) else query
    return connection.execute(text, {"now": now}).fetchall()


def breakers(connection: Connection[DictRow], now: datetime) -> list[Breaker]:
    shown = connection.execute(
        "SELECT service_name, metrics, last_failure_time FROM breaker_metrics WHERE shown_at > %s"
        " ORDER BY service_name <> %s, service_name LIMIT 1000",
        (now - STALE_AFTER, PROVIDER_PAYTABS),
    ).fetchall()
    merged = {name: each.metrics for name, each in merged_by_service(shown).items()}
    metrics = {PROVIDER_PAYTABS: {}, **merged}
    services = list(metrics)[:SERVICES_MAX]
    latest = connection.execute(
        "SELECT DISTINCT ON (originator_id) originator_id, topic FROM operations_events"
        " WHERE originator_id = ANY(%s) ORDER BY originator_id, originator_version DESC",
        ([Circuit.create_id(service) for service in services],),
    )
    topics = {row["originator_id"]: row["topic"] for row in latest}
    return [
        Breaker(
            service,
            STATUS_AFTER.get(topics.get(Circuit.create_id(service), ""), CircuitStatus.CLOSED),
            metrics[service],
        )
        for service in services
    ]
