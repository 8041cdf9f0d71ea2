"""Decides what `serve` starts, and what each child is told by its environment."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from interface.kept_secrets import complete, with_simulator_profile
from interface.roles.lifetime import PARENT_VARIABLE
from interface.serve.ports import check_port, free_port
from interface.settings import PREFIX, InvalidSettings, Settings, url_on_this_machine

TOLD = (
    "database_url",
    "data_dir",
    "host",
    "port",
    "paytabs_profile_id",
    "paytabs_server_key",
    "paytabs_base_url",
    "simulator_port",
    "simulator_controls",
    "allow_private_callbacks",
    "confirmation_secret",
    "log_format",
    "log_level",
)
"""Settings that `serve` may have decided itself; all others the children read as it did."""

KILLED_PATIENCE_SECONDS = 30.0
"""How long the children of a killed `serve` may take to give their ports back."""


@dataclass(frozen=True)
class Plan:
    """What to start, with settings in which nothing is left open but perhaps the database."""

    settings: Settings
    has_database: bool
    has_simulator: bool

    @property
    def simulator_url(self) -> str | None:
        """Where our simulator is reached; None when there is none."""
        return self.settings.gateway_url if self.has_simulator else None


def plan(settings: Settings, *, was_killed: bool) -> Plan:
    """Completes the settings and takes the ports.

    Args:
        was_killed: children of an earlier `serve` may still be ending, so ports get time.

    Raises:
        InvalidSettings: a port is taken, the data folder cannot be used, or settings disagree.
    """
    has_simulator = settings.paytabs_profile_id is None
    if has_simulator:
        _refuse_half_a_gateway(settings)
    patience_seconds = KILLED_PATIENCE_SECONDS if was_killed else 0.0
    settings = _with_port(settings, "port", patience_seconds)
    settings = complete(_with_log_style(settings))
    if has_simulator:
        settings = _with_simulator(_with_port(settings, "simulator_port", patience_seconds))
    settings = settings.model_copy(update={"data_dir": settings.data_dir.absolute()})
    return Plan(settings, settings.database_url is None, has_simulator)


def child_command(role: str) -> list[str]:
    """The command line of a child; `-P`: whatever lies in the current folder is not imported."""
    return [sys.executable, "-P", "-m", "interface.cli", role]


def child_environment(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """Our environment with what `serve` decided; the child ends when we are gone."""
    told = {f"{PREFIX}{name.upper()}": _text(getattr(settings, name)) for name in TOLD}
    keys = ",".join(
        f"{key.name}:{key.role}:{key.secret.get_secret_value()}" for key in settings.api_keys
    )
    return {
        **environment,
        **{name: text for name, text in told.items() if text is not None},
        f"{PREFIX}API_KEYS": keys,
        PARENT_VARIABLE: str(os.getpid()),
    }


def _text(value: object) -> str | None:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return None if value is None else str(value)


def _refuse_half_a_gateway(settings: Settings) -> None:
    """Somebody who names a gateway but no profile must not get simulated payments instead."""
    if settings.gateway_url is not None:
        name = "PAYTABS_BASE_URL" if settings.paytabs_base_url else "PAYTABS_REGION"
        raise InvalidSettings(
            [
                f"{PREFIX}PAYTABS_PROFILE_ID: not set, but {PREFIX}{name} is: set the profile and "
                "its server key too, or neither for the simulator"
            ]
        )


def _with_port(settings: Settings, name: str, patience_seconds: float) -> Settings:
    port = getattr(settings, name)
    if port == 0:
        return settings.model_copy(update={name: free_port(settings.host)})
    check_port(name.upper(), settings.host, port, patience_seconds)
    return settings


def _with_log_style(settings: Settings) -> Settings:
    """People read along: only what matters, and not as JSON, unless they asked for it."""
    wanted = {"log_format": "console", "log_level": "WARNING"}
    given = settings.model_fields_set
    return settings.model_copy(
        update={name: value for name, value in wanted.items() if name not in given}
    )


def _with_simulator(settings: Settings) -> Settings:
    wanted: dict[str, object] = {"simulator_controls": True, "allow_private_callbacks": True}
    given = settings.model_fields_set
    update = {name: value for name, value in wanted.items() if name not in given}
    url = url_on_this_machine(settings.host, settings.simulator_port)
    return with_simulator_profile(settings).model_copy(update={**update, "paytabs_base_url": url})
