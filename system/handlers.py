"""What the dispatcher does for each kind of work: the only place, besides HTTP, that does I/O."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from eventsourcing.application import AggregateNotFoundError
from eventsourcing.persistence import IntegrityError

from application.confirmations import MerchantNotifier, look_again_at
from application.envelope import envelope
from application.payment_gateway import (
    FollowUpRequest,
    NotAttempted,
    Outcome,
    PageRequest,
    PaymentGateway,
    Refusal,
    Refused,
    Unknown,
)
from application.rows import RowChange
from domain.confirmation import Confirmation
from domain.event import PaySagaAggregate, acting
from domain.gateway_call import Operation
from domain.payment_saga import Call, PaymentSaga
from domain.saga_steps import Deadline
from system.applications import Applications
from system.followers.confirmations import Told
from system.payment_finder import PaymentFinder
from system.webhook_matching import WebhookMatchHandler
from system.work_item import WorkItem, WorkKind

Handler = Callable[[WorkItem], None]

WAITS_FOR_EARLIER = "waits_for_earlier"
"""Why a message is held back whose payment has an earlier one that is still being tried."""

PAUSE_MS_MIN = 100

DESCRIPTIONS = {
    Operation.REFUND: "Refund",
    Operation.CAPTURE: "Capture",
    Operation.VOID: "Release of an authorization",
}


class GatewayCallHandler:
    """Asks the gateway what a saga wants asked, and records what came of it.

    `public_url` is where the gateway and the customer's browser reach us. `recovered_at`: the
    database was set back then to an earlier state, so that money may have been moved of which it
    knows nothing.
    """

    def __init__(
        self,
        applications: Applications,
        gateway: PaymentGateway,
        public_url: str,
        recovered_at: datetime | None,
    ) -> None:
        self._applications = applications
        self._gateway = gateway
        self._public_url = public_url.rstrip("/")
        self._recovered_at = recovered_at

    def __call__(self, item: WorkItem) -> None:
        epoch = self._applications.gateway.epoch()
        saga = self._applications.sagas.get(item.aggregate_id)
        if not saga.awaits(item.work_id):
            self._applications.gateway.record(rows=[item.done()], epoch=epoch)
            return
        call = saga.calls[item.work_id]
        sent_at = self._applications.clock.now()
        with acting(item.context(sent_at)):
            outcome = self._outcome(saga, call, item, sent_at)
        now = self._applications.clock.now()
        with acting(item.context(now)):
            try:
                self._applications.gateway.record_outcome(
                    item.payment_id,
                    call,
                    outcome,
                    gateway=self._gateway.name,
                    sent_at=sent_at,
                    rows=[item.done()],
                )
            except IntegrityError:
                self._applications.gateway.record(rows=[item.done()], epoch=epoch)

    def _outcome(self, saga: PaymentSaga, call: Call, item: WorkItem, now: datetime) -> Outcome:
        if item.attempts > 1 and not call.operation.is_query:
            return Unknown("an earlier attempt was cut short and may have gone out")
        if self._may_be_forgotten(saga, call):
            return Unknown("it may have gone out before the database was recovered")
        if saga.is_closing and call.operation is Operation.CAPTURE:
            return Refused(Refusal.GAVE_UP, "gave_up", "the payment was closed before its capture")
        if call.not_after is not None and now > call.not_after:
            return Refused(Refusal.GAVE_UP, "gave_up", "the gateway could not be reached in time")
        return self._ask(call, item)

    def _may_be_forgotten(self, saga: PaymentSaga, call: Call) -> bool:
        """True for the first attempt to move money of a payment that is older than the recovery:
        its cart follows from what came before, so an earlier one would bear the same."""
        if self._recovered_at is None or not call.operation.is_follow_up:
            return False
        tried = [other for other in saga.calls.values() if other.operation is call.operation]
        is_first = [other.cart_id for other in tried].count(call.cart_id) == 1
        return is_first and saga.created_on < self._recovered_at

    def _ask(self, call: Call, item: WorkItem) -> Outcome:
        if call.operation is Operation.QUERY_TRANSACTION:
            return self._gateway.query_transaction(call.transaction_ref or "")
        if call.operation is Operation.QUERY_CART:
            return self._gateway.query_cart(call.cart_id or "")
        if call.operation is Operation.REFUND:
            return self._gateway.refund(self._follow_up(call))
        if call.operation is Operation.CAPTURE:
            return self._gateway.capture(self._follow_up(call))
        if call.operation is Operation.VOID:
            return self._gateway.void(self._follow_up(call))
        return self._gateway.open_page(self._page_request(call, item))

    def _follow_up(self, call: Call) -> FollowUpRequest:
        assert call.amount is not None
        return FollowUpRequest(
            cart_id=call.cart_id or "",
            amount=call.amount,
            description=DESCRIPTIONS[call.operation],
            transaction_ref=call.transaction_ref or "",
            callback_url=self._callback_url,
        )

    def _page_request(self, call: Call, item: WorkItem) -> PageRequest:
        payment = self._applications.payments.get(item.payment_id)
        ttl = self._applications.sagas.timings.page_ttl
        return PageRequest(
            cart_id=call.cart_id or "",
            amount=payment.amount,
            description=payment.description,
            capture=payment.captures_itself,
            payment_method=payment.payment_method,
            client=self._applications.vault.open_client(payment.client),
            return_url=f"{self._public_url}/v1/return/{self._gateway.name}/{payment.id}",
            callback_url=self._callback_url,
            page_ttl_minutes=max(1, int(ttl.total_seconds() // 60)),
        )

    @property
    def _callback_url(self) -> str:
        return f"{self._public_url}/v1/webhooks/{self._gateway.name}"


class SagaDeadlineHandler:
    """Tells a saga that one of its deadlines has passed: that it had was seen when the work was
    claimed, whatever a clock that was put back since then says."""

    def __init__(self, applications: Applications) -> None:
        self._applications = applications

    def __call__(self, item: WorkItem) -> None:
        now = max(self._applications.clock.now(), item.due_at)
        with acting(item.context(now)):
            self._applications.sagas.reach_deadline(
                item.aggregate_id, Deadline(item.detail or ""), rows=[item.done()]
            )


class ConfirmationHandler:
    """Delivers a payment's event to its merchant. `to_json` writes exact decimals."""

    def __init__(
        self,
        applications: Applications,
        notifier: MerchantNotifier,
        to_json: Callable[[Any], bytes],
    ) -> None:
        self._applications = applications
        self._confirmations = applications.confirmations
        self._notifier = notifier
        self._to_json = to_json

    def __call__(self, item: WorkItem) -> None:
        epoch = self._confirmations.epoch()
        confirmation = self._confirmations.get(item.aggregate_id)
        if not confirmation.awaits(item.work_id):
            self._confirmations.record(rows=[item.done()], epoch=epoch)
            return
        *earlier, event = self._told_so_far(confirmation)
        now = self._applications.clock.now()
        look_again = look_again_at(confirmation, self._confirmations_of(earlier), now)
        if look_again is not None:
            self._postpone(item, WAITS_FOR_EARLIER, look_again)
        else:
            self._deliver(item, confirmation, event)

    def _told_so_far(self, confirmation: Confirmation) -> list[PaySagaAggregate.Event]:
        """What the merchant is to be told of this payment, up to this event."""
        log = self._applications.payments
        events = log.events.get(confirmation.payment_id, lte=confirmation.payment_version)
        return [event for event in events if isinstance(event, Told)]

    def _confirmations_of(self, events: list[PaySagaAggregate.Event]) -> Iterator[Confirmation]:
        """Those that were asked for: an operator may have skipped one."""
        for event in events:
            id = Confirmation.create_id(event.originator_id, event.originator_version)
            with suppress(AggregateNotFoundError):
                yield self._confirmations.get(id)

    def _deliver(
        self, item: WorkItem, confirmation: Confirmation, event: PaySagaAggregate.Event
    ) -> None:
        body = self._to_json(envelope(event, self._applications.vault, "PROCESSED"))
        sent_at = self._applications.clock.now()
        try:
            message_id = str(confirmation.event_id)
            with acting(item.context(sent_at)):
                delivery = self._notifier.send(confirmation.url, message_id, body, sent_at)
        except NotAttempted as pause:
            wait = timedelta(milliseconds=max(pause.retry_after_ms, PAUSE_MS_MIN))
            self._postpone(item, pause.reason, self._applications.clock.now() + wait)
            return
        now = self._applications.clock.now()

        def rows_for(next_at: datetime | None) -> list[RowChange]:
            return [item.done() if next_at is None else item.again_at(next_at)]

        with acting(item.context(now)):
            self._confirmations.record_delivery(confirmation.id, delivery, now, rows_for)

    def _postpone(self, item: WorkItem, reason: str, until: datetime) -> None:
        with acting(item.context(self._applications.clock.now())):
            self._confirmations.postpone(item.aggregate_id, reason, until, [item.again_at(until)])


class InstalmentHandler:
    """Tells a contract that the day of one of its instalments has come."""

    def __init__(self, applications: Applications) -> None:
        self._applications = applications

    def __call__(self, item: WorkItem) -> None:
        with acting(item.context(self._applications.clock.now())):
            self._applications.contracts.fall_due(
                item.aggregate_id, int(item.detail or ""), rows=[item.done()]
            )


def handlers(
    applications: Applications,
    *,
    gateway: PaymentGateway,
    notifier: MerchantNotifier,
    to_json: Callable[[Any], bytes],
    public_url: str,
    finder: PaymentFinder,
    recovered_at: datetime | None = None,
) -> Mapping[WorkKind, Handler]:
    """The handler of each kind of work; for `recovered_at` see `GatewayCallHandler`."""
    return {
        WorkKind.WEBHOOK_MATCH: WebhookMatchHandler(applications, finder),
        WorkKind.GATEWAY_CALL: GatewayCallHandler(applications, gateway, public_url, recovered_at),
        WorkKind.SAGA_DEADLINE: SagaDeadlineHandler(applications),
        WorkKind.INSTALMENT: InstalmentHandler(applications),
        WorkKind.CONFIRMATION: ConfirmationHandler(applications, notifier, to_json),
    }
