"""Seals personal data under a key per client, so that erasing the key erases the person."""

import base64
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any, Protocol
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from application.ports import Ids
from domain.client import Address, ClientInfo
from domain.sealed import Sealed

KEY_BYTES = 32
NONCE_BYTES = 12


@dataclass(frozen=True)
class ClientKey:
    """The key of one client (AES-256-GCM)."""

    client_id: UUID
    key: bytes


class ClientKeys(Protocol):
    """Where the keys are kept, apart from the events."""

    def key_for(self, subject: bytes, proposed: ClientKey) -> ClientKey:
        """The key of the client known by `subject` (a digest); `proposed` becomes it if new."""
        ...

    def find(self, client_id: UUID) -> ClientKey | None:
        """The key of a client, or None when it was erased."""
        ...

    def find_many(self, client_ids: Collection[UUID]) -> dict[UUID, ClientKey]:
        """The keys of several clients; erased ones are missing."""
        ...

    def erase(self, client_ids: Collection[UUID]) -> int:
        """Deletes keys for ever; returns how many there were."""
        ...

    def client_of(self, subject: bytes) -> UUID | None:
        """The client known by `subject` (a digest), if there is one."""
        ...


ERASED = "erased"
"""What is shown in the place of personal data whose key was erased."""


class Vault:
    """Seals and opens personal data (design 2)."""

    def __init__(self, keys: ClientKeys, ids: Ids) -> None:
        self._keys = keys
        self._ids = ids

    def seal(self, subject: str, value: Mapping[str, Any]) -> Sealed:
        """Closes a JSON object under the key of the client whom `subject` names."""
        proposed = ClientKey(self._ids.uuid(), self._ids.token_bytes(KEY_BYTES))
        key = self._keys.key_for(_digest(subject), proposed)
        nonce = self._ids.token_bytes(NONCE_BYTES)
        plaintext = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        ciphertext = nonce + AESGCM(key.key).encrypt(nonce, plaintext, key.client_id.bytes)
        return Sealed(str(key.client_id), base64.b64encode(ciphertext).decode())

    def open(self, sealed: Sealed) -> dict[str, Any] | None:
        """What was sealed, or None when its key was erased."""
        key = self._keys.find(UUID(sealed.client_id))
        if key is None:
            return None
        return dict(json.loads(_decrypt(key, sealed.ciphertext)))

    def open_many(self, sealed: Collection[Sealed]) -> dict[Sealed, dict[str, Any] | None]:
        """Opens several at once, see `open`."""
        keys = self._keys.find_many({UUID(each.client_id) for each in sealed})
        opened = {}
        for each in sealed:
            key = keys.get(UUID(each.client_id))
            opened[each] = dict(json.loads(_decrypt(key, each.ciphertext))) if key else None
        return opened

    def client_of(self, subject: str) -> UUID | None:
        """The client whom `subject` names, if anything was ever sealed for them."""
        return self._keys.client_of(_digest(subject))

    def erase(self, client_ids: Collection[UUID]) -> int:
        """Throws keys away: what they sealed reads `erased` from now on, wherever it is kept.
        Returns how many keys there were."""
        return self._keys.erase(client_ids)

    def seal_client(self, payment_id: UUID, client: ClientInfo) -> Sealed:
        """Seals a customer, known by e-mail where there is one, else by the payment."""
        subject = email_subject(client.email) if client.email else payment_subject(payment_id)
        return self.seal(subject, asdict(client))

    def open_client(self, sealed: Sealed | None) -> ClientInfo | None:
        """The customer of a payment; None when none was given or the key was erased."""
        fields = self.open(sealed) if sealed else None
        if fields is None:
            return None
        address = fields.pop("address")
        return ClientInfo(**fields, address=Address(**address) if address else None)


def email_subject(email: str) -> str:
    """What a client with an e-mail address is known by."""
    return f"email:{email.lower()}"


def payment_subject(payment_id: UUID) -> str:
    """What a client without one is known by, and the customer in a payment's notifications."""
    return f"payment:{payment_id}"


def _digest(subject: str) -> bytes:
    return sha256(subject.encode()).digest()


@lru_cache(maxsize=4096)
def _decrypt(key: ClientKey, ciphertext: str) -> bytes:
    sealed = base64.b64decode(ciphertext)
    nonce, body = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    return AESGCM(key.key).decrypt(nonce, body, key.client_id.bytes)


def opened(value: Any, vault: Vault | None) -> Any:
    """A column's value, with sealed data opened for a view; `erased` when its key was erased.

    Raises:
        ValueError: the value is sealed and there is no vault to open it.
    """
    if not isinstance(value, Sealed):
        return value
    return opened_many([value], vault)[value]


def opened_many(values: Collection[Sealed], vault: Vault | None) -> dict[Sealed, Any]:
    """The same for several sealed values at once.

    Raises:
        ValueError: there are some, and there is no vault to open them.
    """
    if not values:
        return {}
    if vault is None:
        raise ValueError("a row holds personal data, but there is no vault to open it")
    found = vault.open_many(values)
    return {sealed: ERASED if fields is None else fields for sealed, fields in found.items()}
