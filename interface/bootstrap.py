"""Puts the program together: which real parts stand behind the ports, from the settings."""

import os
import socket
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

import psycopg

from application.circuit_breaker import CircuitBreakerConfig
from application.retrying import Retrying
from application.vault import Vault
from domain.gateway_report import PROVIDER_PAYTABS
from interface.clock import RandomIds
from interface.confirmation_sender import ConfirmationSender
from interface.guarded_gateway import GuardedGateway, guard
from interface.guarded_merchants import GuardedMerchants
from interface.json_text import write_json
from interface.paytabs import PayTabsClient, PayTabsConfig
from interface.saga_log import log_sagas
from interface.settings import PREFIX, InvalidSettings, Settings
from interface.telemetry import open_tracing
from system.agenda_store import PostgresAgendaStore
from system.applications import LOG_NAMES, Applications
from system.breaker_metrics import forget_old_metrics
from system.circuits import Circuits
from system.dispatcher import Dispatcher
from system.handlers import handlers
from system.listener import Listener
from system.payment_finder import PaymentFinder
from system.performance import PerformanceLog, Source
from system.performance_sources import BreakerFigures, FleetWork
from system.persistence.payment_queries import PaymentQueries
from system.persistence.postgres import PostgresClientKeys, PostgresPersistence
from system.persistence.tables import AGENDA
from system.presence import Presence
from system.projection_versions import Outdated, outdated_projections, record_versions
from system.pulse import Pulse
from system.runner import Runner
from system.work_item import WorkKind

if TYPE_CHECKING:
    from interface.tracing import Tracing

DEADLINE_THREADS = 4
MATCH_THREADS = 1
QUERY_DEADLINE_MS = 60_000
"""How long a query may take in all, with its repetitions; afterwards the saga decides."""
BULKHEAD_SHARE = 0.75
"""The share of the threads for gateway calls that may be in a call at once. The others can still
settle the work that needs no call, however slow the gateway is."""


def process_name() -> str:
    """A name for this process that no other in the fleet has."""
    return f"{socket.gethostname()}:{os.getpid()}:{RandomIds().uuid().hex[:8]}"


def open_persistence(settings: Settings) -> PostgresPersistence:
    """The database, with everything created that was missing.

    Raises:
        InvalidSettings: no database is set, a read model in it is of another version, or something
            is missing in it that this role may not create.
        OperationalError: it cannot be reached.
    """
    persistence = PostgresPersistence(settings.conninfo, settings.database_pool_size)
    outdated = outdated_projections(persistence)
    if outdated:
        persistence.close()
        raise InvalidSettings([_advice(each) for each in outdated])
    try:
        persistence.prepare(LOG_NAMES)
    except psycopg.errors.InsufficientPrivilege as error:
        persistence.close()
        raise InvalidSettings([_not_prepared(error)]) from None
    record_versions(persistence)
    return persistence


def _not_prepared(error: psycopg.Error) -> str:
    return (
        f"{PREFIX}DATABASE_URL: the database cannot be prepared: {' '.join(str(error).split())}: "
        "let the role own the database, or run `paysaga database prepare --service-role ROLE` "
        "with the address of the role that owns the tables"
    )


def _advice(outdated: Outdated) -> str:
    return (
        f"the read model {outdated.name} in the database has version {outdated.found}, this "
        f"program makes version {outdated.wanted}: stop the workers and run "
        f"`paysaga projections rebuild {outdated.name}`"
    )


def build_applications(settings: Settings, persistence: PostgresPersistence) -> Applications:
    """All applications on the database."""
    ids = RandomIds()
    vault = Vault(PostgresClientKeys(persistence), ids)
    persistence.use_vault(vault)
    return Applications(
        persistence,
        clock=settings.clock,
        ids=ids,
        vault=vault,
        timings=settings.saga_timings,
        gateway_name=PROVIDER_PAYTABS,
    )


def build_finder(applications: Applications, persistence: PostgresPersistence) -> PaymentFinder:
    """Finds payments by cart in their log, by transaction in the view."""
    return PaymentFinder(applications.payments, PaymentQueries(persistence).payment_of)


def build_gateway(settings: Settings, tracing: "Tracing | None" = None) -> GuardedGateway:
    """PayTabs behind its circuit breaker.

    Raises:
        InvalidSettings: there is no PayTabs profile.
    """
    profile_id, server_key = settings.paytabs_profile_id, settings.paytabs_request_key
    base_url = settings.gateway_url
    if profile_id is None or server_key is None or base_url is None:
        raise InvalidSettings(
            [
                f"{PREFIX}PAYTABS_PROFILE_ID: not set; this role needs a PayTabs profile "
                "(`paysaga serve` brings a simulator when there is none)"
            ]
        )
    config = PayTabsConfig(profile_id=profile_id, server_key=server_key, base_url=base_url)
    retrying = Retrying(
        settings.retry_max_attempts,
        settings.retry_base_delay_ms,
        settings.retry_max_delay_ms,
        QUERY_DEADLINE_MS - round(config.total_timeout_seconds * 1000),
    )
    client = PayTabsClient(config)
    return guard(
        tracing.gateway(client) if tracing else client,
        breaker_config(settings, PROVIDER_PAYTABS),
        retrying,
        calls_max=bulkhead_places(settings.dispatcher_threads),
        clock=settings.clock,
    )


def bulkhead_places(threads: int) -> int:
    """How many of the threads for gateway calls may be in a call at once."""
    return max(1, int(threads * BULKHEAD_SHARE))


def breaker_config(settings: Settings, name: str) -> CircuitBreakerConfig:
    """The breaker settings for one outside service."""
    return CircuitBreakerConfig(
        name=name,
        error_threshold=settings.breaker_error_threshold,
        timeout_ms=settings.breaker_timeout_ms,
        reset_timeout_ms=settings.breaker_reset_timeout_ms,
        minimum_requests=settings.breaker_minimum_requests,
        max_concurrent_requests=settings.breaker_max_concurrent_requests,
        volume_threshold=settings.breaker_volume_threshold,
        slow_call_threshold_ms=settings.breaker_slow_call_threshold_ms,
        slow_call_rate_threshold=settings.breaker_slow_call_rate_threshold,
        window_ms=settings.breaker_window_ms,
        enable_event_emission=settings.breaker_enable_event_emission,
        enable_metrics=settings.breaker_enable_metrics,
    )


def build_pulse(
    settings: Settings,
    persistence: PostgresPersistence,
    applications: Applications,
    sources: Sequence[Source],
    *,
    process: str,
    role: str,
) -> Pulse:
    """Lets a process say that it lives and, each PERFORMANCE_INTERVAL_SECONDS, how it fares."""
    presence = Presence(persistence, process, role, version("paysaga"))
    performance = PerformanceLog(
        applications.operations,
        [presence.own_figures, *sources],
        process=process,
        role=role,
        interval=timedelta(seconds=settings.performance_interval_seconds),
    )
    return Pulse([presence.beat, performance.report_if_due], presence.leave)


class Worker:
    """The worker role: followers and dispatcher of one process."""

    def __init__(self, settings: Settings) -> None:
        tracing = open_tracing("worker")
        gateway = build_gateway(settings, tracing)
        self._persistence = open_persistence(settings)
        self._applications = build_applications(settings, self._persistence)
        log_sagas(self._applications.sagas)
        name = process_name()
        self._listener = Listener(settings.conninfo)
        self._circuits = Circuits(self._applications.operations, self._listener, name)
        self._circuits.add(gateway.breaker)
        self._runner = Runner(
            self._applications,
            self._persistence,
            self._listener,
            name,
            batch_size=settings.follower_batch_size,
            linger_ms=settings.follower_linger_ms,
        )
        self._dispatcher = self._dispatching(settings, gateway, tracing, name)
        self._listener.subscribe(AGENDA.channel or "", lambda _payload: self._dispatcher.wake())

        fleet = FleetWork(self._persistence, self._applications.clock, lambda: self._runner.led)
        self._pulse = build_pulse(
            settings,
            self._persistence,
            self._applications,
            [BreakerFigures(self._circuits.breakers), fleet.payments, fleet.queues, fleet.lags],
            process=name,
            role="worker",
        )

    def _dispatching(
        self, settings: Settings, gateway: GuardedGateway, tracing: "Tracing | None", name: str
    ) -> Dispatcher:
        plain = handlers(
            self._applications,
            gateway=gateway,
            notifier=self._merchants(settings, tracing),
            to_json=write_json,
            public_url=settings.base_url,
            finder=build_finder(self._applications, self._persistence),
            recovered_at=settings.recovered_at,
        )
        return Dispatcher(
            PostgresAgendaStore(self._persistence),
            tracing.handlers(plain) if tracing else plain,
            self._applications.clock,
            threads={
                WorkKind.GATEWAY_CALL: settings.dispatcher_threads,
                WorkKind.CONFIRMATION: settings.dispatcher_threads,
                WorkKind.SAGA_DEADLINE: DEADLINE_THREADS,
                WorkKind.WEBHOOK_MATCH: MATCH_THREADS,
                WorkKind.INSTALMENT: DEADLINE_THREADS,
            },
            worker=name,
            lease=timedelta(milliseconds=settings.lease_ms),
            speed=settings.clock.speed,
        )

    def _merchants(self, settings: Settings, tracing: "Tracing | None") -> GuardedMerchants:
        sender = ConfirmationSender(
            settings.confirmation_secrets, allow_private=settings.allow_private_callbacks
        )
        return GuardedMerchants(
            tracing.notifier(sender) if tracing else sender,
            partial(breaker_config, settings),
            self._circuits,
            places=settings.dispatcher_threads,
            breakers_clock=settings.clock,
        )

    def start(self) -> None:
        """Starts to follow and to dispatch."""
        forget_old_metrics(self._persistence, self._applications.clock.now())
        self._listener.start()
        self._circuits.start()
        self._runner.start()
        self._dispatcher.start()
        self._pulse.start()

    def stop(self) -> None:
        """Finishes what is in hand and stops."""
        self._dispatcher.stop()
        self._runner.stop()
        self._circuits.stop()
        self._listener.stop()
        self._pulse.stop()
        self._applications.close()
        self._persistence.close()
