"""Checks everything that the service depends on, without changing any of it."""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from psycopg import Connection
from psycopg.rows import DictRow

from application.payment_gateway import Refusal, Refused, Succeeded
from interface.clock import SystemClock
from interface.paytabs import PayTabsClient, PayTabsConfig
from interface.serve.attached import attach
from interface.settings import PREFIX, InvalidSettings, Settings, load_settings
from system.applications import LOG_NAMES
from system.definition import PAYSAGA
from system.persistence.brief_connection import brief_connection
from system.persistence.tables import TABLES
from system.readiness import STALE_AFTER

CLOCK_DIFFERENCE_SECONDS_MAX = 2.0
GATEWAY_TIMEOUT_SECONDS = 10.0
MAJOR_VERSION_MIN = 14
CONFIRMATION_SECRET_BYTES_MIN = 24


@dataclass(frozen=True)
class Check:
    """One thing looked at: what was found, and what to do when it is wrong."""

    name: str
    is_ok: bool
    detail: str
    advice: str = ""

    def as_document(self) -> dict[str, Any]:
        """The check as JSON shows it."""
        return {
            "name": self.name,
            "ok": self.is_ok,
            "detail": self.detail,
            "advice": self.advice or None,
        }


def diagnose() -> list[Check]:
    """All checks, in the order in which problems are best solved. Never raises for what it
    finds."""
    try:
        settings = attach(load_settings())
    except InvalidSettings as error:
        return [Check("settings", False, problem, "correct it") for problem in error.problems]
    return [
        Check("settings", True, "all can be read"),
        *_database(settings),
        _gateway(settings),
        _confirmation_secret(settings),
        _api_keys(settings),
        _public_url(settings),
    ]


def _database(settings: Settings) -> Iterator[Check]:
    if settings.database_url is None:
        yield Check(
            "database",
            False,
            f"{PREFIX}DATABASE_URL is not set, and no `paysaga serve` runs on this data folder",
            "start `paysaga serve`, or set it",
        )
        return
    try:
        with brief_connection(settings.database_url) as connection:
            yield _version(connection)
            yield _clock(connection)
            yield from _content(connection)
    except psycopg.Error as error:
        reason = " ".join(str(error).split())
        yield Check(
            "database", False, reason, f"see that it runs and {PREFIX}DATABASE_URL names it"
        )


def _version(connection: Connection[DictRow]) -> Check:
    version = connection.info.server_version // 10_000
    advice = f"use PostgreSQL {MAJOR_VERSION_MIN} or newer"
    is_ok = version >= MAJOR_VERSION_MIN
    return Check("database", is_ok, f"PostgreSQL {version} answers", "" if is_ok else advice)


def _clock(connection: Connection[DictRow]) -> Check:
    """The server's time must lie between ours before and after asking, but for a tolerance."""
    clock = SystemClock()
    before = clock.now()
    row = connection.execute("SELECT clock_timestamp() AS now").fetchone()
    after = clock.now()
    theirs: datetime = row["now"].astimezone(UTC) if row else before
    difference_seconds = max((before - theirs).total_seconds(), (theirs - after).total_seconds(), 0)
    is_ok = difference_seconds <= CLOCK_DIFFERENCE_SECONDS_MAX
    return Check(
        "clock",
        is_ok,
        f"differs from the database's by {difference_seconds:.1f} s",
        "" if is_ok else "synchronise the clocks of both machines (NTP)",
    )


def _content(connection: Connection[DictRow]) -> Iterator[Check]:
    needed = {f"{name.lower()}_events" for name in LOG_NAMES} | set(TABLES)
    query = "SELECT tablename FROM pg_tables WHERE schemaname = ANY (current_schemas(false))"
    found = {row["tablename"] for row in connection.execute(query)}
    missing = sorted(needed - found)
    if missing:
        detail = f"{len(missing)} are missing: {', '.join(missing[:5])}"
        yield Check("tables", False, detail, "start `paysaga worker`, which makes them")
        return
    yield Check("tables", True, f"all {len(needed)} are there")
    yield from _followers(connection)


def _followers(connection: Connection[DictRow]) -> Iterator[Check]:
    """Whether each follower was active lately, by the database's own clock."""
    query = "SELECT follower, clock_timestamp() - active_at AS age FROM follower_heartbeats"
    ages: dict[str, timedelta] = {row["follower"]: row["age"] for row in connection.execute(query)}
    silent = set(PAYSAGA.follows) - set(ages)
    stale = {name for name, age in ages.items() if age > STALE_AFTER} & set(PAYSAGA.follows)
    if silent or stale:
        parts = {"never ran": silent, "were last active too long ago": stale}
        detail = "; ".join(f"{', '.join(sorted(who))} {what}" for what, who in parts.items() if who)
        yield Check("followers", False, detail, "start `paysaga worker`, or see its log")
    else:
        yield Check("followers", True, f"all {len(ages)} were active lately")


def _gateway(settings: Settings) -> Check:
    profile_id, key = settings.paytabs_profile_id, settings.paytabs_request_key
    if profile_id is None or key is None or settings.gateway_url is None:
        advice = f"set {PREFIX}PAYTABS_PROFILE_ID, _SERVER_KEY and _REGION, or run `paysaga serve`"
        return Check("gateway", False, "there is no PayTabs profile", advice)
    try:
        config = PayTabsConfig(
            profile_id=profile_id,
            server_key=key,
            base_url=settings.gateway_url,
            connect_timeout_seconds=GATEWAY_TIMEOUT_SECONDS,
            total_timeout_seconds=GATEWAY_TIMEOUT_SECONDS,
        )
    except ValueError as error:
        return Check("gateway", False, str(error), f"correct the {PREFIX}PAYTABS_* settings")
    return _ask(config)


def _ask(config: PayTabsConfig) -> Check:
    """A query for a cart that nobody knows: harmless, and it needs a working key."""
    client = PayTabsClient(config)
    try:
        outcome = client.query_cart(f"paysaga-doctor-{uuid4()}")
    finally:
        client.close()
    if isinstance(outcome, Succeeded):
        return Check("gateway", True, f"{config.base_url} answers, and the key works")
    if isinstance(outcome, Refused):
        advice = f"see that {PREFIX}PAYTABS_PROFILE_ID, _SERVER_KEY and _REGION belong together"
        if outcome.reason is Refusal.RATE_LIMITED:
            advice = "ask again in a minute"
        return Check("gateway", False, f"refused ({outcome.code}): {outcome.message}", advice)
    return Check(
        "gateway",
        False,
        f"{config.base_url} cannot be asked: {outcome.reason}",
        "see that the address is right and that this machine may reach it",
    )


def _confirmation_secret(settings: Settings) -> Check:
    count = len(settings.confirmation_secrets)
    if count == 0:
        detail = f"{PREFIX}CONFIRMATION_SECRET is not set: one is generated at the first start"
        return Check("confirmation secret", True, detail)
    return Check("confirmation secret", True, f"{count} active")


def _api_keys(settings: Settings) -> Check:
    count = len(settings.api_keys)
    if count == 0:
        detail = f"{PREFIX}API_KEYS is not set: a demo key is generated at the first start"
        return Check("API keys", True, detail)
    return Check("API keys", True, f"{count} known")


def _public_url(settings: Settings) -> Check:
    """PayTabs calls back over https only, and nobody else can reach this machine's own names."""
    url = settings.base_url
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return Check(
            "public URL", False, f"'{url}' is no web address", f"correct {PREFIX}PUBLIC_URL"
        )
    gateway_is_here = _is_here(urlsplit(settings.gateway_url or "").hostname or "localhost")
    if gateway_is_here:
        return Check("public URL", True, f"{url}; good enough for a gateway on this machine")
    if parts.scheme != "https" or _is_here(parts.hostname):
        return Check(
            "public URL",
            False,
            f"{url} cannot be reached by PayTabs and by customers",
            f"set {PREFIX}PUBLIC_URL to the https address of this service",
        )
    return Check("public URL", True, url)


def _is_here(host: str) -> bool:
    if host.rstrip(".").lower() == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_private or address.is_unspecified
