"""The answers about contracts and earnings, described (see `interface.web.answers`)."""

from datetime import date
from typing import Annotated

from pydantic import AwareDatetime, Field

from domain.contract import ContractStatus, InstalmentStatus
from interface.web.answers import Answer, ClientAnswer, Exact, Id, NextCursor, Page, Redirect


class PayeeAnswer(Answer):
    """Who earns."""

    id: str
    name: str


class InstalmentAnswer(Answer):
    """What is due on which day, and the payment for it."""

    instalment: Annotated[int, Field(ge=1)]
    due_on: date
    amount: Exact
    status: InstalmentStatus
    overdue: Annotated[bool, Field(description="Its day has passed: nobody has paid.")]
    payment_id: Id | None
    next_action: Redirect | None


class ContractAnswer(Answer):
    """A contract as it stands."""

    contract_id: str
    status: ContractStatus
    description: str
    currency: str
    client_info: ClientAnswer | None
    payee: PayeeAnswer
    platform_fee_percent: Annotated[Exact, Field(description="In percent.")]
    instalments: list[InstalmentAnswer]
    callback_url: str | None
    cancellation_reason: str | None
    version: Annotated[int, Field(ge=1)]
    created_at: AwareDatetime
    updated_at: AwareDatetime
    correlation_id: str


class Earned(Answer):
    """What came of payments in one currency; `platformFee` and `net` add up to `gross`."""

    currency: str
    gross: Exact
    platform_fee: Exact
    net: Exact


class EarnedByPayment(Earned):
    """What one payment earned."""

    payment_id: Id


class EarnedByPayee(Earned):
    """What one payee earned."""

    payee_id: str
    payments: Annotated[int, Field(ge=0, description="How many payments earned it.")]


class ContractEarnings(Answer):
    """What a contract earned, in all and per payment."""

    contract_id: str
    payee: PayeeAnswer
    totals: Annotated[list[Earned], Field(description="Of all payments, per currency.")]
    payments: Annotated[list[EarnedByPayment], Field(description="A page of them, by id.")]
    next_cursor: NextCursor


class ContractList(Page[ContractAnswer]):
    """Contracts, newest first."""


class EarningsList(Page[EarnedByPayee]):
    """What payees earned, by their ids and currencies."""
