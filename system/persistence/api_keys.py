"""API keys that operators manage: a table of their digests, never of their secrets."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from system.persistence.postgres import PostgresPersistence, reconnecting

CHANNEL = "api_keys"
"""Told (NOTIFY) when a key was created or revoked."""

INSERT = """
INSERT INTO api_keys (name, role, digest, created_at, expires_at)
VALUES (%(name)s, %(role)s, %(digest)s, %(created_at)s, %(expires_at)s)
ON CONFLICT (name) DO NOTHING RETURNING name
"""
REVOKE = """
UPDATE api_keys SET revoked_at = %s WHERE name = %s AND revoked_at IS NULL RETURNING name
"""
TOUCH = "UPDATE api_keys SET last_used_at = greatest(last_used_at, %s) WHERE name = %s"


@dataclass(frozen=True)
class StoredKey:
    """One key. `digest` is the SHA-256 of its secret, which has 256 random bits."""

    name: str
    role: str
    digest: bytes
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None

    def state(self, now: datetime) -> str:
        """`active`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"


class ApiKeys:
    """The table of keys. A name is used once: what was asked for under it stays its own."""

    def __init__(self, persistence: PostgresPersistence) -> None:
        self._persistence = persistence

    def add(self, key: StoredKey) -> bool:
        """Keeps a new key; False when there is one of that name, or was."""
        return self._tell(INSERT, vars(key))

    def revoke(self, name: str, now: datetime) -> bool:
        """Ends a key for good; False when no key of that name is left to end."""
        return self._tell(REVOKE, (now, name))

    @reconnecting
    def all(self) -> list[StoredKey]:
        """Every key there is or was, by name."""
        with self._persistence.connection() as connection:
            rows = connection.execute("SELECT * FROM api_keys ORDER BY name").fetchall()
        return [StoredKey(**{**row, "digest": bytes(row["digest"])}) for row in rows]

    @reconnecting
    def touch(self, name: str, now: datetime) -> None:
        """Notes that a key was used."""
        with self._persistence.connection() as connection:
            connection.execute(TOUCH, (now, name))

    def _tell(self, statement: str, parameters: Any) -> bool:
        with self._persistence.connection() as connection, connection.transaction():
            row = connection.execute(statement.encode(), parameters).fetchone()
            connection.execute(f"NOTIFY {CHANNEL}")
        return row is not None
