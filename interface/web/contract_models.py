"""The requests about contracts, validated (contract 5)."""

import re
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints

from interface.web.models import (
    Amount,
    ClientModel,
    Model,
    OptionalBody,
    PageQuery,
    SearchText,
    ShortText,
    WebAddress,
    as_number,
)

INSTALMENTS_MAX = 120
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
    Field(ge=0, le=100, max_digits=7, decimal_places=4, examples=["2.5"]),
]


class PayeeModel(Model):
    """Who earns: your own id and name of them."""

    id: ShortText
    name: ShortText


class InstalmentModel(Model):
    """What is due on which day."""

    due_on: Day = Field(description="Falls due as this day begins (UTC).")
    amount: Amount


class CreateContract(Model):
    """An agreement to pay in instalments. Amounts are in major units of its currency."""

    contract_id: ContractId | None = Field(None, description="Chosen by us when not given.")
    description: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    currency: Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")] = Field(examples=["SAR"])
    client_info: ClientModel | None = None
    payee: PayeeModel
    platform_fee_percent: Percent
    instalments: Annotated[
        list[InstalmentModel], Field(min_length=1, max_length=INSTALMENTS_MAX)
    ] = Field(description="Numbered from 1, in the order given.")
    callback_url: WebAddress | None = None


class CancelContract(OptionalBody):
    """Why the contract is cancelled."""

    reason: ShortText = Field("requested_by_merchant", description="It is kept with the contract.")


class ContractPath(Model):
    """Which contract."""

    model_config = ConfigDict(alias_generator=None, extra="forbid", frozen=True)

    contract_id: Annotated[str, StringConstraints(min_length=1, max_length=255)]


class InstalmentPath(ContractPath):
    """Which instalment of a contract, counted from 1."""

    number: int = Field(ge=1, le=INSTALMENTS_MAX)


class ContractListQuery(PageQuery):
    """Which contracts; without a filter all, newest first."""

    payee_id: SearchText | None = None


class EarningsQuery(Model):
    """Whose earnings; without a filter everybody's."""

    payee_id: SearchText | None = None
