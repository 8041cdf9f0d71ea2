"""Knows the API keys of a web process: those of the settings, and those that operators manage."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from hmac import compare_digest

from interface.settings import ApiKey, Role
from system.listener import Listener
from system.persistence.api_keys import CHANNEL, ApiKeys, StoredKey

FRESH_SECONDS = 5.0
"""The table of keys is read again after so long, should the word of a change get lost."""
TOUCH_EVERY = timedelta(minutes=1)
"""The time of the last use is written down at most so often."""


@dataclass(frozen=True)
class KnownKey:
    """A key that may be used; `is_managed` tells those of the table from those of the settings."""

    name: str
    role: Role
    is_managed: bool = False


@dataclass(frozen=True)
class RefusedKey:
    """A key that may not be used, and why: `unknown`, `expired` or `revoked`."""

    reason: str
    name: str | None = None


class KeyRing:
    """Finds the key that a secret belongs to. Safe to share between threads."""

    def __init__(
        self,
        configured: tuple[ApiKey, ...],
        stored: ApiKeys,
        listener: Listener,
        now_seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._configured = [
            (KnownKey(key.name, key.role), digest_of(key.secret.get_secret_value()))
            for key in configured
        ]
        self._stored = stored
        self._now_seconds = now_seconds
        self._lock = threading.Lock()
        self._keys: list[StoredKey] = []
        self._read_at: float | None = None
        self._touched: dict[str, datetime] = {}
        listener.subscribe(CHANNEL, lambda _payload: self._forget())

    def find(self, secret: str, now: datetime) -> KnownKey | RefusedKey:
        """The key with this secret. Every digest is compared, in constant time.

        Raises:
            OperationalError: it is not one of the settings, and the table cannot be read.
        """
        presented = digest_of(secret)
        known = [key for key, digest in self._configured if compare_digest(presented, digest)]
        if known:
            return known[0]
        found = [key for key in self._managed() if compare_digest(presented, key.digest)]
        if not found:
            return RefusedKey("unknown")
        state = found[0].state(now)
        if state != "active":
            return RefusedKey(state, found[0].name)
        self._touch(found[0].name, now)
        return KnownKey(found[0].name, Role(found[0].role), is_managed=True)

    def _managed(self) -> list[StoredKey]:
        with self._lock:
            if self._read_at is not None and self._now_seconds() - self._read_at < FRESH_SECONDS:
                return self._keys
            read_at = self._read_at = self._now_seconds()
        keys = self._stored.all()
        with self._lock:
            if self._read_at == read_at:
                self._keys = keys
        return keys

    def _forget(self) -> None:
        with self._lock:
            self._read_at = None

    def _touch(self, name: str, now: datetime) -> None:
        with self._lock:
            touched_at = self._touched.get(name)
            if touched_at is not None and now - touched_at < TOUCH_EVERY:
                return
            self._touched[name] = now
        self._stored.touch(name, now)


def digest_of(secret: str) -> bytes:
    """What is kept of a secret."""
    return sha256(secret.encode()).digest()
