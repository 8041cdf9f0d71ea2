"""The metrics of a service's breakers over all processes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from system.persistence.postgres import PostgresPersistence

STALE_AFTER = timedelta(seconds=15)
"""Figures of a process that were shown longer ago are left out: it is gone."""

KEPT_FOR = timedelta(days=1)

SUMS = (
    "totalRequests",
    "successfulRequests",
    "failedRequests",
    "timeouts",
    "slowCalls",
    "rejectedRequests",
    "throughput",
)
MEANS = ("averageResponseTime", "errorRate", "successRate", "slowCallRate", "uptime")
WORST = ("p95ResponseTime", "p99ResponseTime")

Metrics = dict[str, Any]


@dataclass(frozen=True)
class ServiceFigures:
    """What the breakers of one service have seen in all processes together."""

    metrics: Metrics
    last_failure_time: datetime | None


def figures_by_service(
    persistence: PostgresPersistence, now: datetime
) -> dict[str, ServiceFigures]:
    """For each service the figures of all its processes in one.

    Counts and throughput are added up; rates and averages are weighted by throughput (a rate is
    None where no process reports one); of percentiles the worst one is shown.
    """
    with persistence.connection() as connection:
        rows = connection.execute(
            "SELECT service_name, metrics, last_failure_time FROM breaker_metrics"
            " WHERE shown_at > %s",
            (now - STALE_AFTER,),
        ).fetchall()
    return merged_by_service(rows)


def merged_by_service(rows: Iterable[Mapping[str, Any]]) -> dict[str, ServiceFigures]:
    """The rows of all processes as one for each service."""
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_name.setdefault(row["service_name"], []).append(row)
    return {name: _together(parts) for name, parts in by_name.items()}


def _together(rows: list[Mapping[str, Any]]) -> ServiceFigures:
    failed_at = [row["last_failure_time"] for row in rows if row["last_failure_time"]]
    return ServiceFigures(_merged([row["metrics"] for row in rows]), max(failed_at, default=None))


def forget_old_metrics(persistence: PostgresPersistence, now: datetime) -> None:
    """Removes the figures of processes that ended long ago without taking them back."""
    with persistence.connection() as connection:
        connection.execute("DELETE FROM breaker_metrics WHERE shown_at < %s", (now - KEPT_FOR,))


def _merged(parts: list[Metrics]) -> Metrics:
    if len(parts) == 1:
        return parts[0]
    return {
        **{name: sum(part[name] for part in parts) for name in SUMS},
        **{name: _mean(name, parts) for name in MEANS},
        **{name: max(part[name] for part in parts) for name in WORST},
    }


def _mean(name: str, parts: list[Metrics]) -> float | None:
    known = [part for part in parts if part[name] is not None]
    if not known:
        return None
    weights = [part["throughput"] or 1e-9 for part in known]
    weighted = (part[name] * weight for part, weight in zip(known, weights, strict=True))
    return float(sum(weighted) / sum(weights))
