"""Everything in memory: the store of the single-process test mode (design 4)."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any
from uuid import UUID

from eventsourcing.persistence import (
    IntegrityError,
    Notification,
    ProcessRecorder,
    StoredEvent,
    Tracking,
)
from eventsourcing.popo import POPOFactory, POPOProcessRecorder
from eventsourcing.utils import Environment

from application.journal import BEGINNING, Link
from application.rows import Delete, Insert, Key, Patch, RowChange, Upsert
from application.vault import ClientKey, Vault, opened
from system.persistence.reached import starts_at
from system.persistence.tables import JOURNAL

Row = dict[str, Any]
VERSION_MAX = 2**63 - 1


class MemoryTables:
    """Tables as dictionaries. Personal data is opened as it is written, as in PostgreSQL."""

    def __init__(self) -> None:
        self.vault: Vault | None = None
        self.rows: dict[str, dict[Key, Row]] = defaultdict(dict)

    def write(self, changes: Sequence[RowChange]) -> None:
        """Applies row changes in order."""
        for change in changes:
            table = self.rows[change.table]
            if isinstance(change, Delete):
                table.pop(change.key, None)
            elif isinstance(change, Insert):
                if change.key in table:
                    raise IntegrityError(f"{change.table} has a row {change.key} already")
                table[change.key] = self._opened(change.values)
            elif isinstance(change, Upsert):
                table.setdefault(change.key, {}).update(self._opened(change.values))
            elif isinstance(change, Patch) and change.key in table:
                table[change.key].update(self._opened(change.values))

    def _opened(self, values: Mapping[str, Any]) -> Row:
        return {name: opened(value, self.vault) for name, value in values.items()}


class MemoryRecorder(POPOProcessRecorder):
    """Records events, row changes and the follower's position together.

    For one thread, as the test mode is: without the library's lock, and found by the ids
    themselves instead of by their texts.
    """

    def __init__(self, tables: MemoryTables) -> None:
        super().__init__()
        self._tables = tables
        self._log: list[Notification] = []
        self._by_aggregate: defaultdict[UUID | str, dict[int, StoredEvent]] = defaultdict(dict)
        self._reached: dict[str, int] = {}

    def insert_events(
        self, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        tracking: Tracking | None = kwargs.get("tracking")
        if tracking is not None:
            self._check_position(tracking)
        self._check_versions(stored_events)
        if tracking is not None:
            self._reached[tracking.application_name] = tracking.notification_id
        self._tables.write(kwargs.get("rows", ()))
        return [self._append(event) for event in stored_events]

    def _check_position(self, tracking: Tracking) -> None:
        recorded, after = self._reached.get(tracking.application_name, 0), starts_at(tracking)
        if recorded >= tracking.notification_id or after not in (None, recorded):
            raise IntegrityError(f"{tracking} does not follow the recorded position {recorded}")

    def _check_versions(self, stored_events: Sequence[StoredEvent]) -> None:
        new = {(event.originator_id, event.originator_version) for event in stored_events}
        is_known = any(version in self._by_aggregate[each] for each, version in new)
        if is_known or len(new) < len(stored_events):
            raise IntegrityError("one of the events is recorded already")

    def _append(self, event: StoredEvent) -> int:
        position = len(self._log) + 1
        self._log.append(
            Notification(
                event.originator_id,
                event.originator_version,
                event.topic,
                event.state,
                position,
            )
        )
        self._by_aggregate[event.originator_id][event.originator_version] = event
        return position

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        above, last = gt if gt is not None else -1, lte if lte is not None else VERSION_MAX
        known = self._by_aggregate.get(originator_id, {})
        found = [event for version, event in known.items() if above < version <= last]
        return (found[::-1] if desc else found)[:limit]

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        first = max((start or 1) - 1, 0) if inclusive_of_start else start or 0
        if not topics:
            return self._log[first : min(first + limit, len(self._log) if stop is None else stop)]
        chosen = (each for each in self._log[first:stop] if each.topic in topics)
        return list(islice(chosen, limit))

    def max_notification_id(self) -> int | None:
        return len(self._log) or None

    def max_tracking_id(self, application_name: str) -> int | None:
        return self._reached.get(application_name)


class MemoryFactory(POPOFactory):
    """Makes recorders that share one set of tables."""

    def __init__(self, env: Environment, tables: MemoryTables) -> None:
        super().__init__(env)
        self._tables = tables

    def application_recorder(self) -> ProcessRecorder:
        return MemoryRecorder(self._tables)

    def process_recorder(self) -> ProcessRecorder:
        return MemoryRecorder(self._tables)


class MemoryPersistence:
    """The `Persistence` of the test mode."""

    def __init__(self) -> None:
        self.tables = MemoryTables()

    def factory(self, env: Environment) -> MemoryFactory:
        """A factory of in-memory recorders."""
        return MemoryFactory(env, self.tables)

    def journal_head(self) -> Link:
        """See `application.ports.Persistence`."""
        entries = self.tables.rows[JOURNAL.name]
        if not entries:
            return BEGINNING
        position = len(entries)
        return Link(position, entries[(position,)]["hash"])

    def epoch(self) -> None:
        """See `application.ports.Persistence`."""

    def forget_epoch(self) -> None:
        """See `application.ports.Persistence`."""


class MemoryClientKeys:
    """Keys of clients in memory."""

    def __init__(self) -> None:
        self._by_subject: dict[bytes, ClientKey] = {}
        self._by_client: dict[UUID, ClientKey] = {}
        self._closed: set[bytes] = set()

    def key_for(self, subject: bytes, proposed: ClientKey) -> ClientKey | None:
        """See `application.vault.ClientKeys`."""
        if subject in self._closed:
            return None
        key = self._by_subject.setdefault(subject, proposed)
        self._by_client[key.client_id] = key
        return key

    def find(self, client_id: UUID) -> ClientKey | None:
        """See `application.vault.ClientKeys`."""
        return self._by_client.get(client_id)

    def erase(self, client_ids: Collection[UUID], closed: Collection[bytes]) -> int:
        """See `application.vault.ClientKeys`."""
        self._closed.update(closed)
        found = {
            subject: key.client_id
            for subject, key in self._by_subject.items()
            if key.client_id in client_ids or subject in closed
        }
        for subject, client_id in found.items():
            del self._by_subject[subject], self._by_client[client_id]
        return len(found)

    def client_of(self, subject: bytes) -> UUID | None:
        """See `application.vault.ClientKeys`."""
        key = self._by_subject.get(subject)
        return key.client_id if key else None

    def find_many(self, client_ids: Collection[UUID]) -> dict[UUID, ClientKey]:
        """See `application.vault.ClientKeys`."""
        found = {client_id: self.find(client_id) for client_id in client_ids}
        return {client_id: key for client_id, key in found.items() if key is not None}
