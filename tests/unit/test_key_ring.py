"""An API key is looked for in the same time whether it is there or not."""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from pydantic import SecretStr

from interface.settings import ApiKey, Role
from interface.web import key_ring
from interface.web.key_ring import KeyRing, RefusedKey, digest_of
from system.persistence.api_keys import StoredKey

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Nobody:
    """Stands for the listener: nothing changes."""

    def subscribe(self, *_arguments: Any) -> None:
        """Tells of nothing."""


class Kept:
    """Stands for the table of keys."""

    def all(self) -> list[StoredKey]:
        return [stored("a"), stored("b"), stored("c")]

    def touch(self, *_arguments: Any) -> None:
        """Writes nothing down."""


def stored(name: str) -> StoredKey:
    return StoredKey(name, "read", digest_of(f"secret-of-{name}"), NOW)


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, bytes]]:
    """What was compared in constant time."""
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(key_ring, "compare_digest", compare)
    return compared


@pytest.mark.parametrize("secret", ["secret-of-a", "secret-of-c", "secret-of-nobody"])
def test_every_key_is_compared_in_constant_time_wherever_it_is_found(
    compared: list[tuple[bytes, bytes]], secret: str
) -> None:
    own = ApiKey(name="own", role=Role.ADMIN, secret=SecretStr("secret-of-settings"))
    ring = KeyRing((own,), cast(Any, Kept()), cast(Any, Nobody()))
    found = ring.find(secret, NOW)
    assert isinstance(found, RefusedKey) == (secret == "secret-of-nobody")
    assert len(compared) == 4
    assert {len(one) for one, _ in compared} == {32}, "digests, not secrets"
