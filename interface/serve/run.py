"""The whole of `paysaga serve`, from the settings to the end."""

from interface.logging_setup import configure_logging
from interface.serve.data_folder import DataFolder
from interface.serve.plan import plan
from interface.serve.supervisor import Supervisor
from interface.settings import Settings


def run_serve(settings: Settings) -> None:
    """Runs everything until somebody stops it.

    Raises:
        InvalidSettings: a setting, a port, or the data folder cannot be used.
        EmbeddedPostgresError: PostgreSQL does not start.
        ServeFailed: another part does not start.
    """
    with DataFolder(settings.data_dir) as folder:
        planned = plan(settings, was_killed=folder.was_killed)
        configure_logging(planned.settings, "serve")
        Supervisor(planned, folder).run()
