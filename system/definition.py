"""Who follows whom: the whole system in one place (design 3)."""

from eventsourcing.system import System

from application.gateway import Gateway
from system.followers.agenda import Agenda
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

LOGS = (
    PaymentsFollower,
    PaymentSagasFollower,
    Gateway,
    WebhooksFollower,
    ConfirmationsFollower,
    ContractsFollower,
    OperationsFollower,
)
"""The applications that have events of their own."""

PAYSAGA = System(
    pipes=[
        [PaymentsFollower, PaymentSagasFollower, PaymentsFollower],
        [Gateway, PaymentSagasFollower],
        [WebhooksFollower, PaymentSagasFollower, WebhooksFollower],
        [PaymentsFollower, ConfirmationsFollower, PaymentSagasFollower],
        [PaymentsFollower, ContractsFollower, PaymentsFollower],
        [PaymentsFollower, OperationsFollower],
        [PaymentSagasFollower, OperationsFollower],
        [Gateway, OperationsFollower],
        [PaymentSagasFollower, Agenda],
        [ConfirmationsFollower, Agenda],
        [WebhooksFollower, Agenda],
        [ContractsFollower, Agenda],
        [PaymentsFollower, PaymentsView],
        [PaymentSagasFollower, SagasView],
        *([log, Journal] for log in LOGS),
        [WebhooksFollower, WebhooksView],
        [ConfirmationsFollower, ConfirmationsView],
        [ContractsFollower, ContractsView],
    ]
)
"""Each pipe reads from left to right: the right one follows the left one's log."""
