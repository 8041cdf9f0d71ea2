"""Gives commands the client for the running PaySaga, and tells its errors to people."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from interface.cli.failures import CommandFailed
from interface.cli.showing import printable
from interface.client import ApiError, Client, ServiceUnreachable
from interface.kept_secrets import API_KEY_FILE
from interface.serve.data_folder import running_serve
from interface.settings import PREFIX

DEFAULT_URL = "http://127.0.0.1:8080"
DEFAULT_DATA_DIR = ".paysaga"
KEY_BYTES_MAX = 4096
TRIES = 2


@contextmanager
def api_client() -> Iterator[Client]:
    """The API at PAYSAGA_URL with PAYSAGA_API_KEY, or what `paysaga serve` runs here.

    Raises:
        InvalidSettings: the data folder cannot be read.
        CommandFailed: the address or the key cannot be used, there is no key, nobody answers, or
            the answer is an error.
    """
    url = _checked(os.environ.get(f"{PREFIX}URL", "") or _running_url())
    try:
        with _client(url) as client:
            yield client
    except ApiError as error:
        raise CommandFailed(*lines_of(error)) from None
    except ServiceUnreachable as error:
        advice = f"start `paysaga serve`, or set {PREFIX}URL to where PaySaga runs"
        raise CommandFailed(f"{error}: {advice}") from None


def _client(url: str) -> Client:
    given = os.environ.get(f"{PREFIX}API_KEY", "").strip()
    try:
        return Client(url, given or _kept_key(), attempts_max=TRIES)
    except ValueError as error:
        source = f"{PREFIX}API_KEY" if given else f"'{data_folder() / API_KEY_FILE}'"
        raise CommandFailed(f"{source}: (hidden) is wrong: {error}; give it one such key") from None


def lines_of(error: ApiError) -> list[str]:
    """An error for people: what is wrong, then each wrong field."""
    fields = [f"  {pointer}: {detail}" for pointer, detail in error.errors]
    return [printable(line) for line in (str(error), *fields)]


def _running_url() -> str:
    running = running_serve(data_folder())
    return running.url if running else DEFAULT_URL


def data_folder() -> Path:
    """Where a `paysaga serve` in this folder keeps what it made."""
    return Path(os.environ.get(f"{PREFIX}DATA_DIR", "") or DEFAULT_DATA_DIR)


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    shown = printable(url)
    if not is_good or shown != url:
        raise CommandFailed(f"{PREFIX}URL: '{shown}' is wrong: expected http(s)://host[:port]")
    return url


def _kept_key() -> str:
    path = data_folder() / API_KEY_FILE
    try:
        with path.open("rb") as file:
            secret = file.read(KEY_BYTES_MAX).decode().strip()
    except (OSError, UnicodeDecodeError):
        secret = ""
    if not secret:
        raise CommandFailed(
            f"{PREFIX}API_KEY: not set, and there is no demo key in '{path}': set it, or run this "
            "in the folder in which `paysaga serve` was started"
        )
    return secret
