"""Contracts hear what became of their payments, and share out what those brought."""

from typing import Any
from uuid import UUID

from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.system import ProcessApplication

from application.contracts import Contracts
from application.event_log import Work
from domain.contract import Contract
from domain.earnings import Earnings
from domain.payment import Payment
from system.followers.base import BatchFollower


class ContractsFollower(Contracts, ProcessApplication[UUID], BatchFollower):
    """Follows Payments. A payment may bear the id of a contract that is kept elsewhere: then it
    is no business of ours."""

    name = "Contracts"

    @singledispatchmethod
    def policy(self, event: Any, work: Any) -> None:
        """What a contract does about its payment; nothing about events without a rule."""

    @policy.register
    def _(self, event: Payment.Completed, work: Work) -> None:
        contract = _contract(event, work)
        if contract is None:
            return
        contract.settle(event.originator_id)
        work.add(
            Earnings.calculate(
                contract.contract_id,
                event.originator_id,
                contract.payee.id,
                event.amount,
                contract.platform_fee_percent,
            )
        )

    @policy.register
    def _(self, event: Payment.Refunded, work: Work) -> None:
        if event.contract_id is None:
            return
        earnings: Earnings | None = work.find(Earnings.create_id(event.originator_id))
        if earnings is not None:
            earnings.reverse(event.amount_refunded)

    @policy.register
    def _(self, event: Payment.Failed, work: Work) -> None:
        contract = _contract(event, work)
        if contract is not None:
            contract.miss(event.originator_id, event.failure.code)

    @policy.register
    def _(self, event: Payment.Cancelled, work: Work) -> None:
        contract = _contract(event, work)
        if contract is not None:
            contract.miss(event.originator_id, event.reason)


def _contract(
    event: Payment.Completed | Payment.Failed | Payment.Cancelled, work: Work
) -> Contract | None:
    if event.contract_id is None:
        return None
    contract: Contract | None = work.find(Contract.create_id(event.contract_id))
    return contract
