"""The list of contracts, and the ledger of what was earned from them."""

from typing import Any

from eventsourcing.dispatch import singledispatchmethod

from application.rows import Patch, RowChange, Upsert
from domain.contract import Contract, ContractStatus
from domain.earnings import Earnings
from system.followers.base import Projection
from system.persistence.tables import CONTRACTS_VIEW, EARNINGS_VIEW


class ContractsView(Projection):
    """Follows Contracts."""

    name = "ContractsView"
    tables = (CONTRACTS_VIEW.name, EARNINGS_VIEW.name)

    @singledispatchmethod
    def project(self, event: Any) -> list[RowChange]:
        """The row changes that an event means."""
        return []

    @project.register
    def _(self, event: Contract.Agreed) -> list[RowChange]:
        values = {
            "contract_id": event.contract_id,
            "payee_id": event.payee.id,
            "is_cancelled": False,
            "created_at": event.timestamp,
        }
        return [Upsert(CONTRACTS_VIEW.name, (event.originator_id,), values)]

    @project.register
    def _(self, event: Contract.Cancelled) -> list[RowChange]:
        return [Patch(CONTRACTS_VIEW.name, (event.originator_id,), {"is_cancelled": True})]

    @project.register
    def _(self, event: Earnings.Calculated | Earnings.Reversed) -> list[RowChange]:
        values = {
            "contract_id": event.contract_id,
            "payment_id": event.payment_id,
            "payee_id": event.payee_id,
            "currency": event.gross.currency.code,
            "gross": event.gross.amount,
            "platform_fee": event.platform_fee.amount,
            "net": event.net.amount,
            "calculated_at": event.timestamp,
        }
        return [Upsert(EARNINGS_VIEW.name, (event.event_id,), values)]


def contract_row(contract: Contract) -> dict[str, Any]:
    """The row that the view shows of a contract, made from the contract itself."""
    return {
        "aggregate_id": contract.id,
        "contract_id": contract.contract_id,
        "payee_id": contract.payee.id,
        "is_cancelled": contract.status is ContractStatus.CANCELLED,
        "created_at": contract.created_on,
    }


def earnings_total(earnings: Earnings) -> dict[str, Any]:
    """What the rows that the view shows of a payment's earnings must add up to."""
    return {
        "payment_id": earnings.payment_id,
        "gross": earnings.gross.amount,
        "platform_fee": earnings.platform_fee.amount,
        "net": earnings.gross.amount - earnings.platform_fee.amount,
    }
