"""Speaks to a running PaySaga over HTTP for the commands that work on payments."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import requests
from requests.auth import AuthBase

from interface.cli.failures import CommandFailed
from interface.cli.showing import printable
from interface.json_text import read_json, write_json
from interface.kept_secrets import API_KEY_FILE
from interface.settings import PREFIX

DEFAULT_URL = "http://127.0.0.1:8080"
DEFAULT_DATA_DIR = ".paysaga"
CONNECT_TIMEOUT_SECONDS = 5.0
ANSWER_TIMEOUT_SECONDS = 75.0
"""Longer than the longest CREATE_WAIT_MS."""
ANSWER_BYTES_MAX = 16_777_216
KEY_BYTES_MAX = 4096
TRIES = 2
LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class Bearer(AuthBase):
    """The API key. As an `auth` object, or else requests would prefer what is in ~/.netrc."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._secret}"
        return request


class ApiClient:
    """The HTTP API, as far as the command line needs it. Use it as a context manager.

    Args:
        url: the base address.
        secret: the secret of an API key.
    """

    def __init__(self, url: str, secret: str) -> None:
        self._url = url.rstrip("/")
        self._session = requests.Session()
        self._session.auth = Bearer(secret)
        self._session.trust_env = urlsplit(url).hostname not in LOOPBACK

    @classmethod
    def from_environment(cls) -> "ApiClient":
        """The API at PAYSAGA_URL with PAYSAGA_API_KEY, or what `paysaga serve` runs here.

        Raises:
            CommandFailed: the address cannot be used, or there is no key.
        """
        url = os.environ.get(f"{PREFIX}URL", "") or DEFAULT_URL
        return cls(_checked(url), os.environ.get(f"{PREFIX}API_KEY", "").strip() or _kept_key())

    def __enter__(self) -> "ApiClient":
        return self

    def __exit__(self, *_error: object) -> None:
        self._session.close()

    def get(self, path: str, query: dict[str, Any] | None = None) -> bytes:
        """The JSON at a path.

        Raises:
            CommandFailed: nobody answers, or the answer is an error.
        """
        return self._send("GET", path, params=query or {})

    def post(
        self,
        path: str,
        body: dict[str, Any],
        *,
        idempotency_key: str | None = None,
        prefer: str | None = None,
    ) -> bytes:
        """Sends JSON; when the connection breaks, once more with the same Idempotency-Key, so that
        it is done once.

        Raises:
            CommandFailed: nobody answers, or the answer is an error.
        """
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": idempotency_key or str(uuid4()),
            **({"Prefer": prefer} if prefer else {}),
        }
        return self._send("POST", path, data=write_json(body), headers=headers)

    def _send(self, method: str, path: str, **arguments: Any) -> bytes:
        for last in (False, True):
            try:
                return self._send_once(method, path, arguments)
            except (requests.ConnectionError, requests.Timeout) as error:
                if last:
                    raise CommandFailed(self._unreachable(error)) from None
            except requests.RequestException as error:
                raise CommandFailed(f"the request cannot be sent: {error}") from None
        raise AssertionError("the last try returns or raises")

    def _send_once(self, method: str, path: str, arguments: dict[str, Any]) -> bytes:
        with self._session.request(
            method,
            f"{self._url}{path}",
            timeout=(CONNECT_TIMEOUT_SECONDS, ANSWER_TIMEOUT_SECONDS),
            allow_redirects=False,
            stream=True,
            **arguments,
        ) as response:
            body = response.raw.read(ANSWER_BYTES_MAX, decode_content=True)
            if not 200 <= response.status_code < 300:
                raise CommandFailed(*problem_lines(response.status_code, body))
            return bytes(body)

    def _unreachable(self, error: requests.RequestException) -> str:
        if isinstance(error, requests.ReadTimeout):
            return f"{self._url} did not answer within {ANSWER_TIMEOUT_SECONDS:.0f} s: try again"
        return (
            f"{self._url} cannot be reached: start `paysaga serve`, or set {PREFIX}URL to where "
            "PaySaga runs"
        )


def problem_lines(status: int, body: bytes) -> list[str]:
    """What a problem document says, for people (contract 3); whatever else came is told shortly."""
    document = _document(body)
    if "title" not in document:
        return [f"HTTP {status}: no answer of PaySaga; does {PREFIX}URL name its address?"]
    place = ", ".join(
        [
            str(document.get("code", status)),
            *([f"correlation id {document['correlationId']}"] * ("correlationId" in document)),
        ]
    )
    lines = [f"{document['title']}: {document.get('detail', '')} ({place})"]
    errors = document.get("errors")
    lines += [
        f"  {entry.get('pointer') or '/'}: {entry.get('detail', '')}"
        for entry in (errors if isinstance(errors, list) else [])
        if isinstance(entry, dict)
    ]
    return [printable(line) for line in lines]


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = read_json(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good:
        raise CommandFailed(f"{PREFIX}URL: '{url}' is wrong: expected http(s)://host[:port]")
    return url


def _kept_key() -> str:
    path = Path(os.environ.get(f"{PREFIX}DATA_DIR", "") or DEFAULT_DATA_DIR) / API_KEY_FILE
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
