"""The answers about confirmations, described (see `interface.web.answers`)."""

from typing import Annotated

from pydantic import AwareDatetime, Field

from domain.confirmation import ConfirmationStatus
from domain.event import PaymentEventType
from interface.web.answers import Answer, Id, Page


class LastAttemptAnswer(Answer):
    """What came of sending a confirmation."""

    attempted_at: AwareDatetime
    status_code: Annotated[int | None, Field(description="null: there was no answer.")]
    error: str | None
    response_body: Annotated[str | None, Field(description="How the answer began.")]


class AttemptAnswer(LastAttemptAnswer):
    """One attempt of several."""

    attempt: Annotated[int, Field(ge=1)]


class ConfirmationRow(Answer):
    """A confirmation in a list."""

    confirmation_id: Id
    payment_id: Id
    event_id: Annotated[Id, Field(description="The event told; sent as `webhook-id`.")]
    event_type: PaymentEventType
    url: str
    status: ConfirmationStatus
    attempts: Annotated[int, Field(ge=0)]
    next_attempt_at: AwareDatetime | None
    last_attempt: LastAttemptAnswer | None
    created_at: AwareDatetime
    updated_at: AwareDatetime


class ConfirmationAnswer(ConfirmationRow):
    """A confirmation with all its attempts, oldest first."""

    history: list[AttemptAnswer]


class ConfirmationList(Page[ConfirmationRow]):
    """Confirmations, newest first."""


class ToldAgain(Answer):
    """How many confirmations are sent again."""

    redelivered: Annotated[int, Field(ge=0)]
    has_more: Annotated[bool, Field(description="There are more: send the same again.")]
