"""Lets a command work on what a `serve` beside it runs, without any setting."""

from interface.kept_secrets import complete, with_simulator_profile
from interface.serve.data_folder import running_serve
from interface.settings import Settings


def attach(settings: Settings) -> Settings:
    """The settings, completed with the database, the simulator and the address of the `serve` that
    runs on the same data folder, if there is one. What is set stays.

    Raises:
        InvalidSettings: the data folder cannot be used.
    """
    running = running_serve(settings.data_dir)
    if running is None:
        return settings
    update: dict[str, object] = {}
    if settings.database_url is None:
        update["database_url"] = running.database_url
    if not settings.public_url:
        update["public_url"] = running.url
    if running.gateway_url is not None and settings.paytabs_profile_id is None:
        settings = with_simulator_profile(settings)
        update["paytabs_base_url"] = running.gateway_url
    return complete(settings).model_copy(update=update)
