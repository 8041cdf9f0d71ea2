"""The journal's entries: every event once, in one order, each chained to the one before by a hash.

An entry's envelope is written in a canonical form, in which personal data stays sealed: erasing a
client's key changes no entry, and the chain stays whole (design 6).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Self
from uuid import UUID

import simplejson
from eventsourcing.persistence import StoredEvent

from application.envelope import MEMBERS, data_of, envelope_without_data, shown
from application.vault import Vault
from domain.event import PaySagaAggregate
from domain.sealed import Sealed

_CANONICAL = simplejson.JSONEncoder(
    use_decimal=True,
    sort_keys=True,
    ensure_ascii=True,
    separators=(",", ":"),
    namedtuple_as_object=False,
)


@dataclass(frozen=True)
class Link:
    """One place in the chain: an entry's position (1 is the first) and its hash."""

    position: int
    hash: bytes

    def __str__(self) -> str:
        return f"{self.position}:{self.hash.hex()}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The link that `str` made this text of.

        Raises:
            ValueError: it is no `POSITION:HASH`.
        """
        position, _, digest = text.partition(":")
        link = cls(int(position), bytes.fromhex(digest))
        if link.position < 0 or len(link.hash) != sha256().digest_size:
            raise ValueError("expected a position and a SHA-256 hash in hexadecimal")
        return link


BEGINNING = Link(0, bytes(sha256().digest_size))
"""What the first entry follows."""


@dataclass(frozen=True)
class Entry:
    """What the journal keeps of one event. `log` and `log_position` say where the event is
    recorded, `record_hash` is the digest of what is recorded there. `subject_id` is the payment
    that it belongs to, or its aggregate where there is no payment."""

    log: str
    log_position: int
    record_hash: bytes
    event_id: UUID
    type: str
    aggregate_id: UUID
    subject_id: UUID
    correlation_id: str
    timestamp: str
    envelope: str

    @property
    def content(self) -> bytes:
        """What the entry's hash covers, see `content_of`."""
        return content_of(vars(self))


def content_of(fields: Mapping[str, Any]) -> bytes:
    """All fields of an entry in their order, each on a line of its own, digests in hexadecimal;
    UTF-8."""
    lines = (
        fields["log"],
        str(fields["log_position"]),
        fields["record_hash"].hex(),
        str(fields["event_id"]),
        fields["type"],
        str(fields["aggregate_id"]),
        str(fields["subject_id"]),
        fields["correlation_id"],
        fields["timestamp"],
        fields["envelope"],
    )
    return "\n".join(lines).encode()


def link_after(before: Link, content: bytes) -> Link:
    """The place of the next entry, see `hash_after`."""
    position = before.position + 1
    return Link(position, hash_after(position, before.hash, content))


def hash_after(position: int, before: bytes, content: bytes) -> bytes:
    """The hash of the entry at a position: SHA-256 over the position, the hash before and the
    entry's content, each on a line of its own."""
    return sha256(b"%d\n%b\n%b" % (position, before.hex().encode(), content)).digest()


def record_hash(stored: StoredEvent) -> bytes:
    """The digest of an event as it is recorded in its log."""
    aggregate_id = stored.originator_id
    assert isinstance(aggregate_id, UUID)
    version = stored.originator_version
    return record_digest(aggregate_id.bytes, version, stored.topic, stored.state)


def record_digest(aggregate_id: bytes, version: int, topic: str, state: bytes) -> bytes:
    """SHA-256 over the aggregate's id (16 bytes), the version (8 bytes, big-endian), the topic, a
    NUL and the state."""
    return sha256(
        b"%b%b%b\0%b" % (aggregate_id, version.to_bytes(8, "big"), topic.encode(), state)
    ).digest()


def entry_of(
    event: PaySagaAggregate.Event, subject_id: UUID, log: str, log_position: int, digest: bytes
) -> Entry:
    """The entry of an event that is recorded in `log` with the digest `digest`."""
    document = sealed_envelope(event)
    return Entry(
        log=log,
        log_position=log_position,
        record_hash=digest,
        event_id=event.event_id,
        type=document["type"],
        aggregate_id=event.originator_id,
        subject_id=subject_id,
        correlation_id=document["correlationId"],
        timestamp=document["timestamp"],
        envelope=_CANONICAL.encode(document),
    )


def sealed_envelope(event: PaySagaAggregate.Event) -> dict[str, Any]:
    """The public form of an event with its personal data still sealed: the members of `data` that
    are named in `sealed` hold the id of a client's key and a ciphertext. Without `status`, which
    is no part of the fact."""
    data = data_of(event, lambda sealed: sealed)
    closed = {
        name: [value.client_id, value.ciphertext]
        for name, value in data.items()
        if isinstance(value, Sealed)
    }
    document = envelope_without_data(event)
    del document["status"]
    return {**document, "data": {**data, **closed}, "sealed": sorted(closed)}


def opened_envelope(text: str, vault: Vault, status: str) -> dict[str, Any]:
    """The envelope of contract 6 from an entry's canonical one; numbers stay exact. Personal data
    whose key was erased reads `erased`."""
    document = simplejson.loads(text, use_decimal=True)
    document["status"] = status
    for name in document["sealed"]:
        document["data"][name] = shown(Sealed(*document["data"][name]), vault)
    return {name: document[name] for name in MEMBERS}
