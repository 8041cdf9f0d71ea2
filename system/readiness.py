"""Whether the system works: the database answers and every follower was active lately."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
from eventsourcing.persistence import MapperDeserialisationError, StoredEvent
from eventsourcing.utils import TopicError
from psycopg import Connection
from psycopg.rows import DictRow

from application.gateway import Gateway
from application.payment_gateway import Refusal
from domain.circuit import CircuitStatus
from domain.gateway_call import GatewayCall
from domain.gateway_report import PROVIDER_PAYTABS
from system.definition import PAYSAGA
from system.figures import breakers
from system.persistence.brief_connection import NoAnswerInTime, brief_connection
from system.persistence.confirmation_queries import confirmation_figures

HEARTBEATS = "SELECT follower, active_at FROM follower_heartbeats"

LATEST_CALLS = """
SELECT originator_id, originator_version, topic, state FROM gateway_events
ORDER BY notification_id DESC LIMIT 40
"""
"""The newest events of gateway calls, newest first: at so many is looked."""

STALE_AFTER = timedelta(seconds=15)
"""A follower that has not reported for so long is taken for dead: it must not look healthy."""


@dataclass(frozen=True)
class Check:
    """One thing that must work, and what is wrong with it if it does not."""

    name: str
    is_ok: bool
    detail: str


def readiness(conninfo: str, gateway: Gateway, now: datetime) -> list[Check]:
    """Checks the database, all followers of the fleet, the gateway's key and the breakers, on a
    connection of its own: neither a full pool nor a lock nor a frozen server holds it up.

    An open breaker is shown and is no problem: payments are taken and wait for the gateway. So are
    confirmations that were given up: it is the merchants' endpoints that do not work.

    Args:
        gateway: what can read the stored events of gateway calls.
    """
    try:
        with brief_connection(conninfo) as connection:
            rows = connection.execute(HEARTBEATS).fetchall()
            active_at = {row["follower"]: row["active_at"] for row in rows}
            return [
                Check("database", True, "answers"),
                *(_follower(name, active_at.get(name), now) for name in sorted(PAYSAGA.follows)),
                _gateway_key(gateway, connection),
                *_breakers(connection, now),
                _confirmations(connection),
            ]
    except NoAnswerInTime as error:
        return [Check("database", False, str(error))]
    except psycopg.Error as error:
        return [Check("database", False, f"cannot be reached: {error}")]


def _gateway_key(gateway: Gateway, connection: Connection[DictRow]) -> Check:
    for row in connection.execute(LATEST_CALLS).fetchall():
        try:
            event = gateway.mapper.to_domain_event(StoredEvent(**row))
        except (MapperDeserialisationError, TopicError) as error:
            return Check("gateway_key", True, f"not known, a call cannot be read: {error}")
        if isinstance(event, GatewayCall.Succeeded):
            break
        if isinstance(event, GatewayCall.Refused) and event.reason == Refusal.AUTHENTICATION:
            return Check("gateway_key", False, f"the gateway refuses our key: {event.message}")
    return Check("gateway_key", True, "not refused lately")


def _breakers(connection: Connection[DictRow], now: datetime) -> Iterator[Check]:
    """The gateway's breaker, and of the hosts called lately those whose breaker is not closed."""
    for each in breakers(connection, now):
        if each.service == PROVIDER_PAYTABS or each.status is not CircuitStatus.CLOSED:
            yield Check(f"breaker:{each.service}", True, each.status.value)


def _confirmations(connection: Connection[DictRow]) -> Check:
    figures = confirmation_figures(connection)
    detail = f"{figures.exhausted} exhausted, {figures.failing} failing, {figures.pending} pending"
    return Check("confirmations", True, detail)


def _follower(name: str, active_at: datetime | None, now: datetime) -> Check:
    if active_at is None:
        return Check(f"follower:{name}", False, "has never run: start `paysaga worker`")
    age = now - active_at
    if age > STALE_AFTER:
        seconds = round(age.total_seconds())
        return Check(f"follower:{name}", False, f"was last active {seconds} s ago")
    return Check(f"follower:{name}", True, "active")
