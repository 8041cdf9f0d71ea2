"""The simulator role: PayTabs on this machine, with books that a restart finds again."""

import os

import structlog

from interface.logging_setup import configure_logging
from interface.roles.lifetime import Lifetime
from interface.serve.ports import check_port
from interface.settings import PREFIX, InvalidSettings, Settings
from interface.simulator import SimulatorConfig, SimulatorServer

log = structlog.get_logger(__name__)

BOOKS_FILE = "simulator.sqlite"
ONLY_THE_OWNER = 0o077
"""File mode mask: the books name customers."""


def run_simulator(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT; port 0 takes a free one, which is logged.

    Raises:
        InvalidSettings: the port is taken, or a setting cannot be used.
    """
    configure_logging(settings, "simulator")
    os.umask(ONLY_THE_OWNER)
    lifetime = Lifetime()
    check_port("SIMULATOR_PORT", settings.host, settings.simulator_port)
    with SimulatorServer(
        _config(settings), settings.host, settings.simulator_port, settings.clock.now
    ) as server:
        log.info("simulator_started", url=server.url, profile_id=settings.paytabs_profile_id)
        lifetime.wait()
    log.info("simulator_stopped")


def _config(settings: Settings) -> SimulatorConfig:
    profile_id, key = settings.paytabs_profile_id, settings.paytabs_request_key
    assert profile_id is not None
    assert key is not None
    try:
        return SimulatorConfig(
            profile_id=profile_id,
            server_key=key,
            controls_enabled=settings.simulator_controls,
            page_ttl_minutes=settings.paytabs_page_ttl_minutes,
            data_path=settings.data_dir / BOOKS_FILE,
        )
    except ValueError as error:
        raise InvalidSettings([f"{PREFIX}PAYTABS_*: {error}"]) from None
