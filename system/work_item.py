"""One piece of outside work, as the dispatcher hands it to its handler."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from application.rows import Delete, Patch, RowChange
from domain.event import EventContext, Metadata
from system.persistence.tables import AGENDA


class WorkKind(StrEnum):
    """What can stand on the agenda."""

    GATEWAY_CALL = "gateway_call"
    SAGA_DEADLINE = "saga_deadline"
    CONFIRMATION = "confirmation"
    WEBHOOK_MATCH = "webhook_match"
    INSTALMENT = "instalment"


@dataclass(frozen=True)
class WorkItem:
    """A claimed row of the agenda. `attempts` counts claims, this one included: above 1, an
    earlier attempt was cut short and may have gone out (design 5)."""

    work_id: UUID
    kind: WorkKind
    aggregate_id: UUID
    payment_id: UUID
    detail: str | None
    due_at: datetime
    attempts: int
    correlation_id: str
    causation_id: str | None
    trace_id: str | None = None
    span_id: str | None = None

    @classmethod
    def of(cls, row: dict[str, Any]) -> "WorkItem":
        """The item in a row of the agenda table."""
        fields = {name: row[name] for name in cls.__dataclass_fields__}
        return cls(**{**fields, "kind": WorkKind(row["kind"])})

    def context(self, now: datetime) -> EventContext:
        """The context of what follows from this work: caused by the event that asked for it, and
        in the same trace."""
        metadata = Metadata(
            self.correlation_id,
            self.causation_id,
            source="dispatcher",
            trace_id=self.trace_id,
            span_id=self.span_id,
        )
        return EventContext(metadata, now)

    def done(self) -> RowChange:
        """Takes the work off the agenda."""
        return Delete(AGENDA.name, (self.work_id,))

    def again_at(self, due_at: datetime) -> RowChange:
        """Puts the work back for later, as if it had never been claimed."""
        columns = {"due_at": due_at, "attempts": 0, "claimed_by": None, "claimed_until": None}
        return Patch(AGENDA.name, (self.work_id,), columns)
