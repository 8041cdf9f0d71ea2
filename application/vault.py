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

    def key_for(self, subject: bytes, proposed: ClientKey) -> ClientKey | None:
        """The key of the client known by `subject` (a digest); `proposed` becomes it if new. None
        when `subject` was closed: it has no key ever again."""
        ...

    def find(self, client_id: UUID) -> ClientKey | None:
        """The key of a client, or None when it was erased."""
        ...

    def find_many(self, client_ids: Collection[UUID]) -> dict[UUID, ClientKey]:
        """The keys of several clients; erased ones are missing."""
        ...

    def erase(self, client_ids: Collection[UUID], closed: Collection[bytes]) -> int:
        """Deletes the keys of clients and of the subjects `closed` for ever, and lets none be made
        again for these subjects; returns how many keys there were."""
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
        """Closes a JSON object under the key of the client whom `subject` names. Where that was
        erased for ever the object is not kept, and reads `erased`."""
        proposed = ClientKey(self._ids.uuid(), self._ids.token_bytes(KEY_BYTES))
        return self._closed(self._keys.key_for(_digest(subject), proposed), value)

    def seal_beside(
        self, client: Sealed | None, payment_id: UUID, value: Mapping[str, Any]
    ) -> Sealed:
        """Seals what is learned of a payment's customer later on: under the key of the client that
        the payment names, so that both are erased together; where it names none, under a key of
        the payment's own."""
        if client is None:
            return self.seal(payment_subject(payment_id), value)
        return self._closed(self._keys.find(UUID(client.client_id)), value)

    def _closed(self, key: ClientKey | None, value: Mapping[str, Any]) -> Sealed:
        """Of somebody who was erased nothing is kept: what stands there instead has the id of a
        key that never was, so that not even a key out of a backup is tried on it."""
        if key is None:
            return Sealed(str(self._ids.uuid()), "")
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
        """The client whom `subject` names, if anything was ever sealed for them, and not erased."""
        return self._keys.client_of(_digest(subject))

    def erase(self, client_ids: Collection[UUID], closed: Collection[str] = ()) -> int:
        """Throws keys away: what they sealed reads `erased` from now on, wherever it is kept. So
        does whatever is sealed for the subjects `closed` from now on. Returns how many keys there
        were."""
        return self._keys.erase(client_ids, [_digest(subject) for subject in closed])

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
    """What a client without one is known by, `payment_id` being that of the payment or contract;
    and the customer in notifications of a payment that names no client, or of an unknown one."""
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
