"""The answers about the journal, described (see `interface.web.answers`)."""

from typing import Annotated

from pydantic import Field

from interface.web.answers import Answer, EventAnswer, Id, Page
from system.journal_check import Damage

Position = Annotated[int, Field(ge=1, description="Its place in the journal.")]


class EntryAnswer(EventAnswer):
    """An event in its envelope, with its place in the journal."""

    position: Position


class EntryList(Page[EntryAnswer]):
    """Events, oldest first."""


class BrokenAnswer(Answer):
    """The first entry that is not as it was."""

    position: Position
    damage: Damage
    event_id: Id | None
    detail: str


class VerdictAnswer(Answer):
    """What a check of the journal has found."""

    ok: bool
    entries: Annotated[int, Field(ge=0, description="How many are sound.")]
    head: Annotated[str, Field(description="POSITION:HASH of the newest of them: keep it.")]
    set_aside: Annotated[int, Field(ge=0, description="How many events are parked without entry.")]
    first_broken: BrokenAnswer | None
