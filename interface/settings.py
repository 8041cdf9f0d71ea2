"""The settings of PaySaga: environment variables `PAYSAGA_*`, or a TOML file (contract 2)."""

import os
import tomllib
from base64 import b64decode
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AwareDatetime,
    BaseModel,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from application.breaker_values import COUNT, PERCENT, TIME_MS, TRIALS, WINDOW_MS
from domain.saga_steps import SagaTimings
from interface.clock import COMPUTERS_CLOCK, AnyClock, HurriedClock
from interface.paytabs.config import TOTAL_TIMEOUT_SECONDS
from interface.paytabs.regions import BASE_URLS, base_url_for
from interface.paytabs.server_keys import ServerKey, read_server_keys

PREFIX = "PAYSAGA_"

DATABASE_NETWORK = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""How soon a machine that vanished with the database is given up: seconds, the last one in ms.
Without these libpq waits for a quarter of an hour, and every request with it. The address of the
database may say otherwise (PostgreSQL, section 32.1.2)."""


class Role(StrEnum):
    """What an API key may do; each role may also do what the ones before it may."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    def allows(self, needed: "Role") -> bool:
        """True when this role is enough where `needed` is asked for."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


class ApiKey(BaseModel, frozen=True):
    """One API key: who it belongs to, what it may do, and its secret."""

    name: str = Field(min_length=1)
    role: Role
    secret: SecretStr = Field(min_length=8)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `name:role:secret`.

        Raises:
            ValueError: it is not of that form.
        """
        parts = text.strip().split(":", 2)
        if len(parts) != 3:
            raise ValueError("an API key is written name:role:secret")
        name, role, secret = parts
        if role not in set(Role):
            raise ValueError(f"the role of an API key is read, write or admin, not '{role}'")
        return cls(name=name, role=Role(role), secret=SecretStr(secret))


class InvalidSettings(Exception):
    """Settings are missing or wrong; `problems` holds one line for each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class _ConfigFile(PydanticBaseSettingsSource):
    """The TOML file named by `PAYSAGA_CONFIG`; the environment goes before it."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        path = os.environ.get(f"{PREFIX}CONFIG")
        if not path:
            return {}
        try:
            content = tomllib.loads(Path(path).read_text())
        except OSError as error:
            raise InvalidSettings([f"{PREFIX}CONFIG: '{path}' cannot be read: {error}"]) from None
        except tomllib.TOMLDecodeError as error:
            raise InvalidSettings([f"{PREFIX}CONFIG: '{path}' is no TOML: {error}"]) from None
        unknown = sorted(set(map(str.lower, content)) - set(Settings.model_fields))
        if unknown:
            raise InvalidSettings([f"{PREFIX}CONFIG: '{name}' is no setting" for name in unknown])
        return {name.lower(): value for name, value in content.items()}


def _within(bounds: tuple[float, float], default: float) -> Any:
    """A field of the breaker: what `CircuitBreakerConfig` would refuse is refused at the start."""
    return Field(default, ge=bounds[0], le=bounds[1])


class Settings(BaseSettings):
    """All settings, with their defaults. Durations carry their unit in the name."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    database_url: str | None = Field(None, description="PostgreSQL; none: embedded.")
    data_dir: Path = Field(Path(".paysaga"), description="Where embedded data is kept.")
    host: str = Field("127.0.0.1", description="The address that the web role listens on.")
    port: int = Field(8080, ge=0, le=65535, description="The port that the web role listens on.")
    public_url: str | None = Field(
        None, description="Where customers and the gateway reach us; default http://HOST:PORT."
    )
    web_workers: int = Field(2, ge=1, le=64, description="Processes of the web role.")
    web_threads: int = Field(32, ge=1, le=512, description="Threads of each web process.")
    dispatcher_threads: int = Field(32, ge=1, le=512, description="Gateway calls in hand at once.")
    database_pool_size: int = Field(10, ge=2, le=200, description="Connections per process.")
    follower_batch_size: int = Field(
        200, ge=1, le=1000, description="The most events that a follower takes in at once."
    )
    follower_linger_ms: int = Field(
        0, ge=0, le=1000, description="How long a woken follower waits for more events."
    )
    lease_ms: int = Field(
        10_000, ge=500, le=600_000, description="How long a claim on work holds unrenewed."
    )
    api_keys: Annotated[tuple[ApiKey, ...], NoDecode] = Field(
        (), description="name:role:secret,… with the roles read, write, admin."
    )
    create_wait_ms: int = Field(
        5000, ge=0, le=60_000, description="How long a creation waits for its hosted page."
    )
    max_body_bytes: int = Field(262_144, ge=1024, description="The largest request body.")
    rate_limit_per_minute: int = Field(
        0, ge=0, description="Requests that one API key may send in a minute; 0: any number."
    )
    paytabs_profile_id: int | None = Field(None, description="The PayTabs profile.")
    paytabs_server_key: SecretStr | None = Field(
        None, description="Its server key; several separated by spaces while rotating."
    )
    paytabs_region: str | None = Field(None, description=f"One of {', '.join(BASE_URLS)}.")
    paytabs_base_url: str | None = Field(None, description="Instead of a region.")
    paytabs_page_ttl_minutes: int = Field(20, ge=1, le=1440, description="Life of a page.")
    simulator_port: int = Field(8090, ge=0, le=65535, description="The simulator's port.")
    simulator_controls: bool = Field(False, description="Whether it can be steered over HTTP.")
    confirmation_secret: SecretStr | None = Field(
        None, description="whsec_…; several separated by spaces while rotating."
    )
    allow_private_callbacks: bool = Field(
        False, description="Whether confirmations may go to private addresses."
    )
    log_format: Literal["json", "console"] = Field("json", description="How logs are written.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="From.")
    performance_interval_seconds: int = Field(
        60, ge=0, le=3600, description="How often each process records its figures; 0: never."
    )
    breaker_error_threshold: float = _within(PERCENT, 50)
    breaker_timeout_ms: int = _within((TOTAL_TIMEOUT_SECONDS * 1000, TIME_MS[1]), 30_000)
    breaker_reset_timeout_ms: int = _within(TIME_MS, 60_000)
    breaker_minimum_requests: int = _within(COUNT, 10)
    breaker_max_concurrent_requests: int = _within(TRIALS, 5)
    breaker_volume_threshold: int = _within(COUNT, 20)
    breaker_slow_call_threshold_ms: int = _within(TIME_MS, 10_000)
    breaker_slow_call_rate_threshold: float = _within(PERCENT, 50)
    breaker_window_ms: int = _within(WINDOW_MS, 60_000)
    breaker_enable_event_emission: bool = True
    breaker_enable_metrics: bool = True
    retry_max_attempts: int = Field(
        4, ge=1, le=10, description="How often a query is sent to the gateway before it is lost."
    )
    retry_base_delay_ms: int = Field(
        200, ge=1, description="The first wait before a lost page is asked for again."
    )
    retry_max_delay_ms: int = Field(10_000, ge=1, description="The longest such wait.")
    reconcile_after_seconds: int = Field(
        60, ge=1, description="When to ask after a page that nothing was heard of."
    )

    recovered_at: AwareDatetime | None = Field(
        None, description="When the database was recovered to an earlier state."
    )
    development_clock: Annotated[HurriedClock | None, NoDecode] = Field(
        None, description="SPEED@TIME: time passes faster; only with a simulator on this machine."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _ConfigFile(settings_cls)

    @field_validator("api_keys", mode="before")
    @classmethod
    def _parse_api_keys(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(ApiKey.parse(part) for part in value.split(",") if part.strip())

    @field_validator("development_clock", mode="before")
    @classmethod
    def _parse_clock(cls, value: Any) -> Any:
        return HurriedClock.parse(value) if isinstance(value, str) else value

    @field_validator("development_clock")
    @classmethod
    def _refuse_a_real_gateway(
        cls, value: HurriedClock | None, info: ValidationInfo
    ) -> HurriedClock | None:
        url = info.data.get("paytabs_base_url") or "http://127.0.0.1"
        is_real = info.data.get("paytabs_region") or urlsplit(url).hostname not in THIS_MACHINE
        if value and is_real:
            raise ValueError("it is refused beside any gateway but a simulator on this machine")
        return value

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: str | None) -> str | None:
        from psycopg import ProgrammingError
        from psycopg.conninfo import conninfo_to_dict

        try:
            conninfo_to_dict(value or "")
        except ProgrammingError:
            raise ValueError("expected an address like postgresql://user@host/name") from None
        return value or None

    @field_validator("paytabs_region")
    @classmethod
    def _check_region(cls, value: str | None) -> str | None:
        if value is not None and value not in BASE_URLS:
            raise ValueError(f"expected one of {', '.join(BASE_URLS)}")
        return value

    @field_validator("public_url", "paytabs_base_url")
    @classmethod
    def _check_address(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "http://unset")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("expected an address such as https://pay.example.com")
        return value

    @field_validator("confirmation_secret")
    @classmethod
    def _check_secret(cls, value: SecretStr | None) -> SecretStr | None:
        parts = value.get_secret_value().split() if value else []
        if any(not part.startswith("whsec_") for part in parts):
            raise ValueError("expected secrets that begin with whsec_")
        if not all(_is_base64(part.removeprefix("whsec_")) for part in parts):
            raise ValueError("expected base64 after whsec_")
        return value

    @field_validator("paytabs_server_key")
    @classmethod
    def _check_server_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value:
            read_server_keys(value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _check_paytabs(self) -> Self:
        given = [self.paytabs_profile_id, self.paytabs_server_key]
        if any(given) and not all(given):
            raise ValueError("PAYTABS_PROFILE_ID and PAYTABS_SERVER_KEY belong together")
        if all(given) and not (self.paytabs_region or self.paytabs_base_url):
            raise ValueError("a PayTabs profile needs PAYTABS_REGION or PAYTABS_BASE_URL")
        if all(given) and not self.paytabs_server_keys[0].may_sign_for(self.paytabs_profile_id):
            raise ValueError("the first of PAYTABS_SERVER_KEY must be PAYTABS_PROFILE_ID's own")
        return self

    @property
    def clock(self) -> AnyClock:
        """The clock of all processes that are set so."""
        return self.development_clock or COMPUTERS_CLOCK

    @property
    def base_url(self) -> str:
        """Where customers and the gateway reach us, without a slash at the end."""
        return (self.public_url or self.local_url).rstrip("/")

    @property
    def local_url(self) -> str:
        """Where the web role is reached from this machine."""
        return url_on_this_machine(self.host, self.port)

    @property
    def gateway_url(self) -> str | None:
        """Where PayTabs is reached; None when there is no profile."""
        if self.paytabs_base_url:
            return self.paytabs_base_url.rstrip("/")
        return base_url_for(self.paytabs_region) if self.paytabs_region else None

    @property
    def conninfo(self) -> str:
        """The database to connect to, with limits for a network that swallows what is sent.

        Raises:
            InvalidSettings: none is set, and this role does not start one itself.
        """
        if self.database_url is None:
            raise InvalidSettings(
                [
                    f"{PREFIX}DATABASE_URL: not set; `paysaga serve` starts an embedded database, "
                    "the other roles need the address of one"
                ]
            )
        from psycopg.conninfo import conninfo_to_dict, make_conninfo

        return make_conninfo("", **(DATABASE_NETWORK | conninfo_to_dict(self.database_url)))

    @property
    def paytabs_server_keys(self) -> tuple[ServerKey, ...]:
        """The active keys; the first authorizes our own requests, all verify what comes."""
        key = self.paytabs_server_key
        return read_server_keys(key.get_secret_value()) if key else ()

    @property
    def paytabs_request_key(self) -> str | None:
        """The key of our own requests; None when there is no profile."""
        keys = self.paytabs_server_keys
        return keys[0].secret if keys else None

    @property
    def confirmation_secrets(self) -> tuple[str, ...]:
        """The active secrets, newest first."""
        secret = self.confirmation_secret
        return tuple(secret.get_secret_value().split()) if secret else ()

    @property
    def saga_timings(self) -> SagaTimings:
        """When sagas ask, repeat and give up."""
        return SagaTimings(
            page_ttl=timedelta(minutes=self.paytabs_page_ttl_minutes),
            reconcile_after=timedelta(seconds=self.reconcile_after_seconds),
            retry_base=timedelta(milliseconds=self.retry_base_delay_ms),
            retry_max=timedelta(milliseconds=self.retry_max_delay_ms),
        )


def _is_base64(text: str) -> bool:
    try:
        return bool(b64decode(text + "=" * (-len(text) % 4), validate=True))
    except ValueError:
        return False


ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
"""Addresses to listen on that are none to connect to, with what to use instead."""


THIS_MACHINE = frozenset({"127.0.0.1", "::1", "localhost"})


def url_on_this_machine(host: str, port: int) -> str:
    """The HTTP address of a port that is listened on at `host`."""
    address = ANY_ADDRESS.get(host, host)
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def load_settings(**overrides: Any) -> Settings:
    """The settings from environment and file; `overrides` go before both.

    Raises:
        InvalidSettings: one or more are wrong, each with its name, the value and what is expected.
    """
    problems = _unknown()
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        problems += [_problem(dict(details)) for details in error.errors()]
    if problems:
        raise InvalidSettings(problems)
    return settings


def _unknown() -> list[str]:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | OTHER_VARIABLES
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    return [f"{name}: there is no such setting" for name in unknown]


OTHER_VARIABLES = frozenset(
    {f"{PREFIX}CONFIG", f"{PREFIX}URL", f"{PREFIX}API_KEY", f"{PREFIX}PARENT_PID"}
)
"""Variables with our prefix that are no settings of the service: for the command line."""


def _problem(details: dict[str, Any]) -> str:
    location = details["loc"]
    if not location:
        return f"{PREFIX}PAYTABS_*: {details['msg']}"
    name = f"{PREFIX}{str(location[0]).upper()}"
    is_secret = any(word in name for word in ("KEY", "SECRET", "DATABASE"))
    seen = "(hidden)" if is_secret else repr(details["input"])
    expected = str(details["msg"]).removeprefix("Value error, ")
    return f"{name}: {seen} is wrong: {expected}"
