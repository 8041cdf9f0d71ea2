"""The requests about contracts, validated (contract 5)."""

import re
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints

from interface.web.models import (
    CURSOR,
    Amount,
    ClientModel,
    Currency,
    Model,
    OptionalBody,
    PageQuery,
    SearchText,
    ShortText,
    WebAddress,
    as_number,
)

INSTALMENTS_MAX = 120
PAYEE_CURSOR_LENGTH_MAX = 2048
"""A place among payees is named by the id of one: 255 characters of up to 4 bytes, in base64."""
CONTRACT_ID = "^[A-Za-z0-9][A-Za-z0-9._~-]{0,63}$"

FULL_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
"""A date as RFC 3339 writes it; pydantic would read numbers as seconds since 1970, too."""


def _as_date(value: Any) -> Any:
    if not isinstance(value, str) or not FULL_DATE.fullmatch(value):
        raise ValueError("expected a date such as 2026-12-01")
    return value


Day = Annotated[date, BeforeValidator(_as_date)]
ContractId = Annotated[str, StringConstraints(pattern=CONTRACT_ID)]
Percent = Annotated[
    Decimal,
    BeforeValidator(as_number),
    Field(ge=0, le=100, max_digits=7, decimal_places=4),
]


class PayeeModel(Model):
    """Who earns: your own id and name of them."""

    id: ShortText = Field(description="Earnings are added up by it.")
    name: ShortText = Field(description="For people.")


class InstalmentModel(Model):
    """What is due on which day."""

    due_on: Day = Field(description="Falls due as this day begins (UTC).")
    amount: Amount = Field(description="In major units.")


class CreateContract(Model):
    """An agreement to pay in instalments. Amounts are in major units of its currency."""

    contract_id: ContractId | None = Field(None, description="Chosen by us when not given.")
    description: Annotated[str, StringConstraints(min_length=1, max_length=128)] = Field(
        description="What is paid for; the customer sees it."
    )
    currency: Currency
    client_info: ClientModel | None = Field(None, description="Who pays.")
    payee: PayeeModel = Field(description="Who earns.")
    platform_fee_percent: Percent = Field(description="What the platform keeps of each payment.")
    instalments: Annotated[
        list[InstalmentModel], Field(min_length=1, max_length=INSTALMENTS_MAX)
    ] = Field(description="Numbered from 1, in the order given.")
    callback_url: WebAddress | None = Field(None, description="Where confirmations are sent.")


class CancelContract(OptionalBody):
    """Why the contract is cancelled."""

    reason: ShortText = Field("requested_by_merchant", description="It is kept with the contract.")


class ContractPath(Model):
    """Which contract."""

    model_config = ConfigDict(alias_generator=None, extra="forbid", frozen=True)

    contract_id: Annotated[str, StringConstraints(min_length=1, max_length=255)] = Field(
        description="The id of the contract."
    )


class InstalmentPath(ContractPath):
    """Which instalment of a contract, counted from 1."""

    number: int = Field(ge=1, le=INSTALMENTS_MAX, description="The number of the instalment.")


class ContractListQuery(PageQuery):
    """Which contracts; without a filter all, newest first."""

    payee_id: SearchText | None = Field(None, description="Only of this payee.")


class EarningsQuery(PageQuery):
    """Whose earnings; without a filter everybody's."""

    cursor: str | None = Field(None, max_length=PAYEE_CURSOR_LENGTH_MAX, description=CURSOR)
    payee_id: SearchText | None = Field(None, description="Only of this payee.")
