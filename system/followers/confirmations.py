"""Confirmations are asked for when a payment has something to tell its merchant."""

from typing import Any
from uuid import UUID

from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.system import ProcessApplication

from application.confirmations import Confirmations
from application.event_log import Work
from domain.confirmation import Confirmation
from domain.payment import Payment
from system.followers.base import BatchFollower

Told = (
    Payment.Authorized | Payment.Completed | Payment.Failed | Payment.Cancelled | Payment.Refunded
)
"""The events that merchants are told of (contract 7)."""


class ConfirmationsFollower(Confirmations, ProcessApplication[UUID], BatchFollower):
    """Follows Payments."""

    name = "Confirmations"

    @singledispatchmethod
    def policy(self, event: Any, work: Any) -> None:
        """Asks for a confirmation; nothing about events without a rule."""

    @policy.register
    def _(self, event: Told, work: Work) -> None:
        if event.callback_url is not None:
            work.add(
                Confirmation.request(
                    event.originator_id,
                    event.originator_version,
                    event.event_type,
                    event.callback_url,
                )
            )
