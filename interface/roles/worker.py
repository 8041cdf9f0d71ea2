"""The worker role: follows the logs and does the outside work, until told to stop."""

import structlog

from interface.bootstrap import Worker
from interface.logging_setup import configure_logging
from interface.roles.database_wait import told_database_errors, wait_for_database
from interface.roles.garbage import look_for_garbage_seldom
from interface.roles.lifetime import Lifetime
from interface.settings import Settings

log = structlog.get_logger(__name__)


def run_worker(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT; what is in hand is finished first.

    Raises:
        InvalidSettings: a setting that the role needs is missing, or there is no database.
    """
    configure_logging(settings, "worker")
    lifetime = Lifetime()
    if not wait_for_database(settings, lambda: lifetime.is_ending):
        return
    with told_database_errors():
        worker = Worker(settings)
    worker.start()
    look_for_garbage_seldom()
    log.info("worker_started", gateway=settings.gateway_url)
    lifetime.wait()
    log.info("worker_stops")
    worker.stop()
    log.info("worker_stopped")
