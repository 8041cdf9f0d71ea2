"""Operations hear of what sagas could not believe, and of keys that the gateway refuses."""

from typing import Any
from uuid import UUID, uuid5

from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.system import ProcessApplication

from application.event_log import Work
from application.operations import Operations
from application.payment_gateway import Refusal
from domain.gateway_call import GatewayCall
from domain.payment_saga import PaymentSaga
from domain.security_incident import SecurityIncident
from system.followers.base import BatchFollower


class OperationsFollower(Operations, ProcessApplication[UUID], BatchFollower):
    """Follows PaymentSagas and Gateway."""

    name = "Operations"

    @singledispatchmethod
    def policy(self, event: Any, work: Any) -> None:
        """Records a security event; nothing about events without a rule."""

    @policy.register
    def _(self, event: PaymentSaga.ReportDoubted, work: Work) -> None:
        work.add(
            SecurityIncident.record(
                uuid5(event.event_id, "security"),
                kind="gateway_report_doubted",
                severity="high",
                ip_address=None,
                detail={
                    "paymentId": str(event.payment_id),
                    "transactionRef": event.report.transaction_ref,
                    "reason": event.reason,
                },
            )
        )

    @policy.register
    def _(self, event: GatewayCall.Refused, work: Work) -> None:
        if event.reason == Refusal.AUTHENTICATION:
            work.add(
                SecurityIncident.record(
                    uuid5(event.event_id, "security"),
                    kind="gateway_key_refused",
                    severity="high",
                    ip_address=None,
                    detail={"paymentId": str(event.payment_id), "message": event.message},
                )
            )
