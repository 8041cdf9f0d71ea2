"""What the applications need from outside: the time, fresh ids and a place for their events."""

from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from eventsourcing.persistence import InfrastructureFactory
from eventsourcing.utils import Environment

if TYPE_CHECKING:
    from application.journal import Link


class Clock(Protocol):
    """Tells the time. Nothing else in PaySaga does."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""
        ...


class Ids(Protocol):
    """The only source of randomness."""

    def uuid(self) -> UUID:
        """A fresh random id."""
        ...

    def token_bytes(self, count: int) -> bytes:
        """`count` bytes fit for keys and nonces."""
        ...


class Persistence(Protocol):
    """Where event logs are kept: PostgreSQL in production, memory in the test mode (design 4)."""

    def factory(self, env: Environment) -> InfrastructureFactory[Any]:
        """The factory of recorders for the application named by `env`."""
        ...

    def journal_head(self) -> "Link":
        """The newest entry of the journal; `BEGINNING` when there is none."""
        ...

    def epoch(self) -> UUID | None:
        """Since when the store has forgotten nothing that was seen in it. Take it before you read
        what you will build on, and hand it over with what you record: in another epoch that is
        refused with `IntegrityError`. None for a store that never forgets."""
        ...

    def forget_epoch(self) -> None:
        """Asks the store for its epoch next time."""
        ...
