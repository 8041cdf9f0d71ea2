"""Everything in memory: the store of the single-process test mode (design 4)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from eventsourcing.persistence import ProcessRecorder, StoredEvent
from eventsourcing.popo import POPOFactory, POPOProcessRecorder
from eventsourcing.utils import Environment

from application.rows import Delete, Key, Patch, RowChange, Upsert
from application.vault import ClientKey, Vault, opened

Row = dict[str, Any]


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
            elif isinstance(change, Upsert):
                table.setdefault(change.key, {}).update(self._opened(change.values))
            elif isinstance(change, Patch) and change.key in table:
                table[change.key].update(self._opened(change.values))

    def _opened(self, values: Mapping[str, Any]) -> Row:
        return {name: opened(value, self.vault) for name, value in values.items()}


class MemoryRecorder(POPOProcessRecorder):
    """Records events, row changes and the follower's position together."""

    def __init__(self, tables: MemoryTables) -> None:
        super().__init__()
        self._tables = tables

    def _update_table(
        self, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        notification_ids = super()._update_table(stored_events, **kwargs)
        self._tables.write(kwargs.get("rows", ()))
        return notification_ids


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


class MemoryClientKeys:
    """Keys of clients in memory."""

    def __init__(self) -> None:
        self._by_subject: dict[bytes, ClientKey] = {}
        self._by_client: dict[UUID, ClientKey] = {}

    def key_for(self, subject: bytes, proposed: ClientKey) -> ClientKey:
        """See `application.vault.ClientKeys`."""
        key = self._by_subject.setdefault(subject, proposed)
        self._by_client[key.client_id] = key
        return key

    def find(self, client_id: UUID) -> ClientKey | None:
        """See `application.vault.ClientKeys`."""
        return self._by_client.get(client_id)
