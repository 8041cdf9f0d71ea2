"""The log of payment sagas, and what the agenda and operators tell them."""

from collections.abc import Sequence
from uuid import UUID

from application.event_log import EventLog
from application.ports import Clock, Persistence
from application.rows import RowChange
from domain.payment_saga import PaymentSaga
from domain.saga_decider import SagaDecider
from domain.saga_steps import Deadline, SagaTimings


class PaymentSagas(EventLog[PaymentSaga]):
    """Holds `PaymentSaga`, one per payment. `gateway` is the provider's name."""

    name = "PaymentSagas"

    def __init__(
        self, persistence: Persistence, clock: Clock, timings: SagaTimings, gateway: str
    ) -> None:
        super().__init__(persistence, clock)
        self.timings = timings
        self.gateway = gateway

    def decider(self, saga: PaymentSaga) -> SagaDecider:
        """The one who decides for a saga, with this installation's timings."""
        return SagaDecider(saga, self.timings, self.gateway)

    def reach_deadline(
        self, saga_id: UUID, deadline: Deadline, rows: Sequence[RowChange] = ()
    ) -> None:
        """Tells a saga that a deadline has passed; harmless when it was cleared meanwhile.

        Raises:
            AggregateNotFoundError: there is no such saga.
        """
        self.change(saga_id, lambda saga: self.decider(saga).reach_deadline(deadline), rows)

    def hurry(self, saga_id: UUID, reason: str) -> None:
        """Lets a saga that waits for its customer ask earlier; see `SagaDecider.hurry`.

        Raises:
            AggregateNotFoundError: there is no such saga.
        """
        self.change(saga_id, lambda saga: self.decider(saga).hurry(reason))

    def retry(self, saga_id: UUID, actor: str) -> PaymentSaga:
        """An operator lets a parked saga try again; harmless when it is not parked.

        Raises:
            AggregateNotFoundError: there is no such saga.
        """
        return self.change(saga_id, lambda saga: self.decider(saga).retry(actor))

    def compensate(self, saga_id: UUID, actor: str) -> PaymentSaga:
        """An operator gives a parked saga's payment up; harmless when it is not parked.

        Raises:
            AggregateNotFoundError: there is no such saga.
        """
        return self.change(saga_id, lambda saga: self.decider(saga).compensate(actor))
