"""A request with an Idempotency-Key, recorded beside what it changed, so that its repeat changes
nothing (contract 3)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID

from domain.errors import DomainError
from domain.event import PaymentEventType, PaySagaAggregate, Priority


class IdempotencyKeyReused(DomainError):
    """The key was used before for another request (contract 3)."""

    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__("this Idempotency-Key was used with another request: send a new key")


class KeyedRequest(PaySagaAggregate):
    """One request that was carried out. It stands in the log that it changed, recorded in the
    same transaction: whoever repeats it, even at the same moment, meets it."""

    class Accepted(PaySagaAggregate.Created):
        event_type = PaymentEventType.REQUEST_ACCEPTED
        priority = Priority.LOW
        fingerprint: str
        """A digest of the request's body."""

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint

    @classmethod
    def accept(cls, request_id: UUID, fingerprint: str) -> "KeyedRequest":
        """Notes that a request is carried out."""
        return cls._create(cls.Accepted, id=request_id, fingerprint=fingerprint)


@dataclass
class KeyedCommand:
    """The request being served. `request_id` is derived from who asks, for what, and the key;
    `fingerprint` makes the digest of its body. `is_replay` becomes True when it was carried out
    before, `is_recorded` when it is carried out now."""

    request_id: UUID
    fingerprint: Callable[[], str]
    is_replay: bool = False
    is_recorded: bool = False

    def meet(self, fingerprint: str | None) -> None:
        """The request was carried out before, with a body of that fingerprint.

        Raises:
            IdempotencyKeyReused: the body was another one.
        """
        if fingerprint != self.fingerprint():
            raise IdempotencyKeyReused
        self.is_replay = True


_command: ContextVar[KeyedCommand | None] = ContextVar("keyed_command", default=None)


@contextmanager
def serving(command: KeyedCommand | None) -> Iterator[None]:
    """Makes the command of a log inside the block the one that this request stands for."""
    token = _command.set(command)
    try:
        yield
    finally:
        _command.reset(token)


def current_command() -> KeyedCommand | None:
    """What `serving` has set; None where no key was sent."""
    return _command.get()
