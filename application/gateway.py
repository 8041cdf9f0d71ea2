"""The log of gateway calls: what was asked of the gateway and what came of it."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from application.event_log import EventLog
from application.payment_gateway import Outcome, Refused, Succeeded
from application.rows import RowChange
from domain.gateway_call import GatewayCall
from domain.payment_saga import Call


class Gateway(EventLog[GatewayCall]):
    """Holds `GatewayCall`."""

    name = "Gateway"

    def record_outcome(
        self,
        payment_id: UUID,
        call: Call,
        outcome: Outcome,
        *,
        gateway: str,
        sent_at: datetime,
        rows: Sequence[RowChange],
    ) -> None:
        """Records what was asked and what came of it, with the agenda's row in one transaction.

        Raises:
            IntegrityError: the outcome of this call was recorded before.
        """
        recorded = GatewayCall.request(
            call.call_id,
            payment_id=payment_id,
            operation=call.operation,
            cart_id=call.cart_id,
            transaction_ref=call.transaction_ref,
            amount=call.amount,
            sent_at=sent_at,
        )
        if isinstance(outcome, Succeeded):
            page = outcome.page
            recorded.succeed(
                gateway,
                page.transaction_ref if page else None,
                page.url if page else None,
                list(outcome.reports),
            )
        elif isinstance(outcome, Refused):
            recorded.refuse(
                outcome.reason.value, outcome.code, outcome.message, outcome.retry_after_ms
            )
        else:
            recorded.lose(outcome.reason)
        self.record(recorded, rows=rows)
