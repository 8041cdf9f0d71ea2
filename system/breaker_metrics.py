"""The metrics of a service's breakers over all processes."""

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


def fleet_metrics(persistence: PostgresPersistence, now: datetime) -> dict[str, Metrics]:
    """For each service the figures of all its processes in one.

    Counts and throughput are added up; rates and averages are weighted by throughput (a rate is
    None where no process reports one); of percentiles the worst one is shown.
    """
    with persistence.connection() as connection:
        rows = connection.execute(
            "SELECT service_name, metrics FROM breaker_metrics WHERE shown_at > %s",
            (now - STALE_AFTER,),
        ).fetchall()
    by_name: dict[str, list[Metrics]] = {}
    for row in rows:
        by_name.setdefault(row["service_name"], []).append(row["metrics"])
    return {name: _merged(parts) for name, parts in by_name.items()}


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
