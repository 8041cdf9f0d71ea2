"""Keeps the secrets that nobody set, so that a first start needs no configuration."""

import base64
import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path

from pydantic import SecretStr

from interface.settings import PREFIX, ApiKey, InvalidSettings, Role, Settings

API_KEY_FILE = "api_key"
CONFIRMATION_SECRET_FILE = "confirmation_secret"  # noqa: S105
SIMULATOR_PROFILE_FILE = "simulator_profile_id"
SIMULATOR_KEY_FILE = "simulator_server_key"

DEMO_KEY_NAME = "demo"
DEMO_KEY_PREFIX = "sk_demo_"
SIMULATOR_PROFILE_ID_MIN = 100_000
SIMULATOR_PROFILE_ID_MAX = 999_999
SECRET_BYTES = 32
SECRET_LENGTH_MAX = 4096


def complete(settings: Settings) -> Settings:
    """The settings with an admin API key and a confirmation secret: those that are set, else the
    ones kept in the data folder, which are made at the first call and the same ever after.

    Raises:
        InvalidSettings: the data folder cannot be used.
    """
    update: dict[str, object] = {}
    if not settings.api_keys:
        update["api_keys"] = (_demo_key(settings.data_dir),)
    if settings.confirmation_secret is None:
        secret = kept(settings.data_dir / CONFIRMATION_SECRET_FILE, _confirmation_secret)
        update["confirmation_secret"] = SecretStr(secret)
    return settings.model_copy(update=update)


def with_simulator_profile(settings: Settings) -> Settings:
    """The settings with the profile of our own simulator, made once and kept likewise; a profile
    that is set stays.

    Raises:
        InvalidSettings: the data folder cannot be used, or what is kept in it is no profile.
    """
    if settings.paytabs_profile_id is not None:
        return settings
    path = settings.data_dir / SIMULATOR_PROFILE_FILE
    profile = kept(path, _profile_id)
    if not profile.isdecimal() or int(profile) == 0:
        raise InvalidSettings([f"{PREFIX}DATA_DIR: '{path}' holds no profile id: remove it"])
    key = kept(settings.data_dir / SIMULATOR_KEY_FILE, _simulator_key)
    return settings.model_copy(
        update={"paytabs_profile_id": int(profile), "paytabs_server_key": SecretStr(key)}
    )


def kept(path: Path, make: Callable[[], str]) -> str:
    """The secret in a file that only its owner can read; made when there is none. Of several
    processes that make it at the same time, one wins and all get the same.

    Raises:
        InvalidSettings: the file cannot be read or written, or is empty.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _write_once(path, make())
        secret = path.read_text()[:SECRET_LENGTH_MAX].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(
            [f"{PREFIX}DATA_DIR: '{path}' cannot be used: {_reason(error)}"]
        ) from None
    if not secret:
        raise InvalidSettings([f"{PREFIX}DATA_DIR: '{path}' is empty: remove it"])
    return secret


def _write_once(path: Path, secret: str) -> None:
    """Writes beside the place and links it there whole, unless another process was faster."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(f"{secret}\n")
            file.flush()
            os.fsync(file.fileno())
        _link(Path(name), path)
    finally:
        os.unlink(name)


def _link(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    return True


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _demo_key(folder: Path) -> ApiKey:
    path = folder / API_KEY_FILE
    secret = kept(path, lambda: DEMO_KEY_PREFIX + secrets.token_urlsafe(SECRET_BYTES))
    return ApiKey(name=DEMO_KEY_NAME, role=Role.ADMIN, secret=SecretStr(secret))


def _confirmation_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def _profile_id() -> str:
    span = SIMULATOR_PROFILE_ID_MAX - SIMULATOR_PROFILE_ID_MIN + 1
    return str(SIMULATOR_PROFILE_ID_MIN + secrets.randbelow(span))


def _simulator_key() -> str:
    return f"S{secrets.token_hex(16).upper()}"
