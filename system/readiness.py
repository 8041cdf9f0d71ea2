"""Whether the system works: the database answers and every follower was active lately."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from eventsourcing.persistence import PersistenceError

from application.payment_gateway import Refusal
from domain.circuit import CircuitStatus
from domain.gateway_call import GatewayCall
from domain.gateway_report import PROVIDER_PAYTABS
from system.applications import Applications
from system.breaker_metrics import figures_by_service
from system.definition import PAYSAGA
from system.persistence.confirmation_queries import confirmation_figures
from system.persistence.postgres import PostgresPersistence, reconnecting

LATEST_CALLS = 40
"""How many of the newest events of gateway calls are looked at."""

HOSTS_MAX = 50
"""Of so many hosts that confirmations go to the breakers are looked at."""

STALE_AFTER = timedelta(seconds=15)
"""A follower that has not reported for so long is taken for dead: it must not look healthy."""


@dataclass(frozen=True)
class Check:
    """One thing that must work, and what is wrong with it if it does not."""

    name: str
    is_ok: bool
    detail: str


def readiness(
    applications: Applications, persistence: PostgresPersistence, now: datetime
) -> list[Check]:
    """Checks the database, all followers of the fleet, the gateway's key and the breakers.

    An open breaker is shown and is no problem: payments are taken and wait for the gateway. So are
    confirmations that were given up: it is the merchants' endpoints that do not work.
    """
    try:
        active_at = _last_heartbeats(persistence)
    except PersistenceError as error:
        return [Check("database", False, f"cannot be reached: {error}")]
    return [
        Check("database", True, "answers"),
        *(_follower(name, active_at.get(name), now) for name in sorted(PAYSAGA.follows)),
        _gateway_key(applications),
        *_breakers(applications, persistence, now),
        _confirmations(persistence),
    ]


def _gateway_key(applications: Applications) -> Check:
    log = applications.gateway
    head = log.recorder.max_notification_id() or 0
    latest = log.recorder.select_notifications(max(head - LATEST_CALLS, 1), limit=LATEST_CALLS + 1)
    for notification in reversed(latest):
        event = log.mapper.to_domain_event(notification)
        if isinstance(event, GatewayCall.Succeeded):
            break
        if isinstance(event, GatewayCall.Refused) and event.reason == Refusal.AUTHENTICATION:
            return Check("gateway_key", False, f"the gateway refuses our key: {event.message}")
    return Check("gateway_key", True, "not refused lately")


def _breakers(
    applications: Applications, persistence: PostgresPersistence, now: datetime
) -> Iterator[Check]:
    """The gateway's breaker, and of the hosts called lately those whose breaker is not closed."""
    hosts = sorted(figures_by_service(persistence, now).keys() - {PROVIDER_PAYTABS})
    for name in (PROVIDER_PAYTABS, *hosts[:HOSTS_MAX]):
        latest = applications.operations.latest_change(name)
        state = latest.state if latest else CircuitStatus.CLOSED
        if name == PROVIDER_PAYTABS or state is not CircuitStatus.CLOSED:
            yield Check(f"breaker:{name}", True, state.value)


def _confirmations(persistence: PostgresPersistence) -> Check:
    figures = confirmation_figures(persistence)
    detail = f"{figures.exhausted} exhausted, {figures.failing} failing, {figures.pending} pending"
    return Check("confirmations", True, detail)


@reconnecting
def _last_heartbeats(persistence: PostgresPersistence) -> dict[str, datetime]:
    with persistence.connection() as connection:
        rows = connection.execute("SELECT follower, active_at FROM follower_heartbeats")
        return {row["follower"]: row["active_at"] for row in rows}


def _follower(name: str, active_at: datetime | None, now: datetime) -> Check:
    if active_at is None:
        return Check(f"follower:{name}", False, "has never run: start `paysaga worker`")
    age = now - active_at
    if age > STALE_AFTER:
        seconds = round(age.total_seconds())
        return Check(f"follower:{name}", False, f"was last active {seconds} s ago")
    return Check(f"follower:{name}", True, "active")
