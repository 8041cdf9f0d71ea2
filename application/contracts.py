"""The log of contracts and of what is earned from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from application.event_log import EventLog
from application.ports import Clock, Persistence
from application.rows import RowChange
from application.vault import Vault
from domain.client import ClientInfo
from domain.contract import Contract, Payee, Terms
from domain.errors import DomainError


class ContractExists(DomainError):
    """Another contract has that `contractId`."""

    code = "contract_exists"


@dataclass(frozen=True)
class NewContract:
    """An agreement, validated."""

    contract_id: str
    description: str
    currency: str
    payee: Payee
    platform_fee_percent: Decimal
    instalments: Sequence[Terms]
    client: ClientInfo | None = None
    callback_url: str | None = None


class Contracts(EventLog[Contract]):
    """Holds `Contract`, and `Earnings` for each payment of one."""

    name = "Contracts"

    def __init__(self, persistence: Persistence, clock: Clock, vault: Vault) -> None:
        super().__init__(persistence, clock)
        self.vault = vault

    def create(self, request: NewContract) -> Contract:
        """Records an agreement; its instalments fall due by themselves.

        Raises:
            ContractExists: there is a contract of that id, made by another request.
            IdempotencyKeyReused: another request was made with this key before.
        """
        return self._persistently(lambda: self._create_once(request))

    def _create_once(self, request: NewContract) -> Contract:
        """The contract is looked for first: when it is there, so is the request that made it."""
        epoch = self.epoch()
        aggregate_id = Contract.create_id(request.contract_id)
        earlier = self.history(aggregate_id)
        if self._is_repeat(epoch):
            return self.get(aggregate_id)
        if earlier:
            raise ContractExists(
                f"there is a contract {request.contract_id} already: choose another contractId"
            )
        client = request.client
        contract = Contract.create(
            request.contract_id,
            description=request.description,
            currency=request.currency,
            client=self.vault.seal_client(aggregate_id, client) if client else None,
            payee=request.payee,
            platform_fee_percent=request.platform_fee_percent,
            instalments=list(request.instalments),
            callback_url=request.callback_url,
        )
        self._record_command(contract)
        return contract

    def fall_due(self, aggregate_id: UUID, number: int, rows: Sequence[RowChange] = ()) -> Contract:
        """The day of an instalment has come; its payment is started by those who follow.

        Raises:
            AggregateNotFoundError: there is no such contract.
            UnknownInstalment: it has no such instalment.
        """
        return self.change(aggregate_id, lambda contract: contract.fall_due(number), rows)

    def ask_again(self, aggregate_id: UUID, number: int) -> Contract:
        """Starts another payment for an instalment that was not paid.

        Raises:
            AggregateNotFoundError: there is no such contract.
            UnknownInstalment, InvalidTransition: see `Contract.ask_again`.
        """
        return self.change(aggregate_id, lambda contract: contract.ask_again(number))

    def cancel(self, aggregate_id: UUID, reason: str) -> Contract:
        """Cancels a contract and its open payments.

        Raises:
            AggregateNotFoundError: there is no such contract.
            InvalidTransition: every instalment is paid.
        """
        return self.change(aggregate_id, lambda contract: contract.cancel(reason))
