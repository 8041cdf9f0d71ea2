"""All applications of one process, built on one store."""

from typing import Any

from application.event_log import EventLog
from application.gateway import Gateway
from application.ports import Clock, Ids, Persistence
from application.vault import Vault
from domain.saga_steps import SagaTimings
from system.definition import PAYSAGA
from system.followers.agenda import Agenda
from system.followers.base import BatchFollower
from system.followers.confirmations import ConfirmationsFollower
from system.followers.contracts import ContractsFollower
from system.followers.operations import OperationsFollower
from system.followers.payment_sagas import PaymentSagasFollower
from system.followers.payments import PaymentsFollower
from system.followers.webhooks import WebhooksFollower
from system.projections.confirmations_view import ConfirmationsView
from system.projections.contracts_view import ContractsView
from system.projections.journal import Journal
from system.projections.payments_view import PaymentsView
from system.projections.sagas_view import SagasView
from system.projections.webhooks_view import WebhooksView

LOG_NAMES: tuple[str, ...] = tuple(PAYSAGA.nodes)
"""The names of all applications; each has its log under that name."""


class Applications:
    """The applications by name. Each also knows how to follow (design 3)."""

    def __init__(
        self,
        persistence: Persistence,
        *,
        clock: Clock,
        ids: Ids,
        vault: Vault,
        timings: SagaTimings,
        gateway_name: str,
    ) -> None:
        self.clock = clock
        self.ids = ids
        self.vault = vault
        self.payments = PaymentsFollower(persistence, clock, ids, vault)
        self.sagas = PaymentSagasFollower(persistence, clock, timings, gateway_name)
        self.gateway = Gateway(persistence, clock)
        self.webhooks = WebhooksFollower(persistence, clock, vault)
        self.confirmations = ConfirmationsFollower(persistence, clock)
        self.contracts = ContractsFollower(persistence, clock, vault)
        self.operations = OperationsFollower(persistence, clock, ids)
        self.agenda = Agenda(persistence, clock)
        self.payments_view = PaymentsView(persistence, clock)
        self.sagas_view = SagasView(persistence, clock)
        self.journal = Journal(persistence, clock)
        self.webhooks_view = WebhooksView(persistence, clock)
        self.confirmations_view = ConfirmationsView(persistence, clock)
        self.contracts_view = ContractsView(persistence, clock)
        self.by_name: dict[str, EventLog[Any]] = {
            application.name: application
            for application in vars(self).values()
            if isinstance(application, EventLog)
        }

    def followers(self) -> list[tuple[BatchFollower, list[EventLog[Any]]]]:
        """Each follower with the logs it follows, in the order of `PAYSAGA`."""
        return [
            (follower, [self.by_name[leader] for leader in leaders])
            for name, leaders in PAYSAGA.follows.items()
            if isinstance(follower := self.by_name[name], BatchFollower)
        ]

    def followers_of(self, log: EventLog[Any]) -> list[BatchFollower]:
        """The followers of one log."""
        return [follower for follower, leaders in self.followers() if log in leaders]

    def close(self) -> None:
        """Closes the applications; the store stays open."""
        for application in self.by_name.values():
            application.close()
