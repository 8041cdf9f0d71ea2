"""The log of contracts and of what is earned from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from eventsourcing.persistence import IntegrityError

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
    """An agreement, validated. `fingerprint` is a digest of the request's body and of its
    idempotency key; None when it came without one."""

    contract_id: str
    description: str
    currency: str
    payee: Payee
    platform_fee_percent: Decimal
    instalments: Sequence[Terms]
    client: ClientInfo | None = None
    callback_url: str | None = None
    fingerprint: str | None = None


class Contracts(EventLog[Contract]):
    """Holds `Contract`, and `Earnings` for each payment of one."""

    name = "Contracts"

    def __init__(self, persistence: Persistence, clock: Clock, vault: Vault) -> None:
        super().__init__(persistence, clock)
        self.vault = vault

    def create(self, request: NewContract) -> tuple[Contract, bool]:
        """Records an agreement; its instalments fall due by themselves.

        Returns the contract, and True when the same request had created it before.

        Raises:
            ContractExists: another request created a contract of that id.
        """
        aggregate_id = Contract.create_id(request.contract_id)
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
            request_fingerprint=request.fingerprint,
        )
        try:
            self.record(contract)
        except IntegrityError:
            return self._created_before(aggregate_id, request), True
        return contract, False

    def _created_before(self, aggregate_id: UUID, request: NewContract) -> Contract:
        contract = self.get(aggregate_id)
        if request.fingerprint is None or contract.request_fingerprint != request.fingerprint:
            raise ContractExists(
                f"there is a contract {request.contract_id} already: choose another contractId"
            )
        return contract

    def fall_due(
        self, aggregate_id: UUID, number: int, rows: Sequence[RowChange] = ()
    ) -> Contract:
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
