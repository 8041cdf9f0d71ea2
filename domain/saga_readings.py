"""What follows from the state of a payment's saga; nothing here changes it."""

from datetime import datetime
from uuid import UUID

from domain.gateway_call import Operation
from domain.gateway_report import GatewayReport
from domain.saga_steps import SagaStatus, Step, StepState, StepStatus
from domain.saga_values import Call


class SagaReadings:
    """Reads the state that `domain.payment_saga.PaymentSaga` keeps."""

    stage: SagaStatus
    steps: dict[Step, StepState]
    calls: dict[UUID, Call]
    answered: dict[UUID, datetime]
    authorization: GatewayReport | None
    settlement: GatewayReport | None
    resolved: set[str | None]
    is_closing: bool
    parked: dict[UUID | str | None, str]

    @property
    def money_known(self) -> list[GatewayReport]:
        """The transactions that brought the payment's money: the sale, or what was authorized and
        its capture."""
        return [money for money in (self.settlement, self.authorization) if money is not None]

    def is_running(self, step: Step) -> bool:
        """True while the step has started and has no result yet."""
        return step in self.steps and self.steps[step].status is StepStatus.RUNNING

    @property
    def status(self) -> SagaStatus:
        """Where the saga stands (contract 4): parked for as long as there is a reason for it."""
        return SagaStatus.PARKED if self.parked else self.stage

    @property
    def parked_detail(self) -> str | None:
        """Why the saga is parked; None when it is not."""
        return "; ".join(self.parked.values()) or None

    @property
    def follow_ups_under_way(self) -> list[Call]:
        """The newest attempt at each move of money whose fate is not known yet."""
        newest = {c.cart_id: c for c in self.calls.values() if c.operation.is_follow_up}
        return [call for cart_id, call in newest.items() if cart_id not in self.resolved]

    def is_resolved(self, call: Call) -> bool:
        """True when the fate of a move of money is known. All its attempts share one cart."""
        return call.operation.is_follow_up and call.cart_id in self.resolved

    def awaits(self, call_id: UUID) -> bool:
        """True when the call's answer is still wanted. A page nobody wants is not opened, money
        whose fate is known is neither moved nor asked after again."""
        call = self.calls.get(call_id)
        if call is None or call_id in self.answered:
            return False
        if self.is_resolved(self.calls[call.about] if call.about else call):
            return False
        return not (call.operation is Operation.OPEN_PAGE and self.is_closing)
