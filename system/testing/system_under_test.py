"""Runs all of PaySaga in one thread and in memory, on a virtual clock, from a seed."""

import json
from collections.abc import Collection
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from application.envelope import envelope, public_value
from application.payment_gateway import GatewayNotification
from application.payments import NewPayment
from application.vault import Vault
from domain.event import EventContext, Metadata, acting
from domain.gateway_report import GatewayReport
from domain.money import Money, money
from domain.payment import Payment
from domain.payment_saga import PaymentSaga
from domain.saga_steps import SagaTimings
from system.agenda_store import MemoryAgendaStore
from system.applications import Applications
from system.dispatcher import perform
from system.following import Following
from system.handlers import handlers
from system.payment_finder import PaymentFinder
from system.persistence.memory import MemoryClientKeys, MemoryPersistence
from system.persistence.tables import PAYMENTS_VIEW, WEBHOOKS_VIEW
from system.testing.gateway_double import GatewayDouble
from system.testing.merchant_double import MerchantDouble
from system.testing.time_and_ids import SeededIds, VirtualClock

ROUNDS_MAX = 100_000
"""More rounds than any test needs: what is not quiet by then never will be."""


class SystemUnderTest:
    """The same followers, agenda and handlers as in production, without threads or servers.

    Nothing happens between your commands: `run` lets everything happen that is due, `wait` lets
    time pass. The same seed and the same commands give the same events, to the letter.

        with SystemUnderTest(seed=1) as s:
            payment_id = s.create_payment("10.00", "SAR", "Tea")
            s.run()
            s.gateway.pay(payment_id)
            s.run()
            assert s.payment(payment_id).status == "completed"

    `gateway` is the gateway's double (with the customer's side), `merchant` the merchant's.
    `followings` and `handlers` are what `run` uses, for tests that choose an order of their own.
    """

    def __init__(self, seed: int = 0, timings: SagaTimings | None = None) -> None:
        self.clock = VirtualClock()
        self.ids = SeededIds(seed)
        self.persistence = MemoryPersistence()
        self.vault = Vault(MemoryClientKeys(), self.ids)
        self.persistence.tables.vault = self.vault
        self.applications = Applications(
            self.persistence,
            clock=self.clock,
            ids=self.ids,
            vault=self.vault,
            timings=timings or SagaTimings(),
            gateway_name=GatewayDouble.name,
        )
        self.gateway = GatewayDouble(self.clock, self._notify)
        self.merchant = MerchantDouble()
        self.agenda = MemoryAgendaStore(self.persistence.tables)
        self.finder = PaymentFinder(self.applications.payments, self._payment_with)
        self.handlers = handlers(
            self.applications,
            gateway=self.gateway,
            notifier=self.merchant,
            to_json=_to_json,
            public_url="https://paysaga.example",
            finder=self.finder,
        )
        self.followings = [
            Following(follower, leader)
            for follower, leaders in self.applications.followers()
            for leader in leaders
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.applications.close()

    def create_payment(self, amount: str, currency: str, description: str, **request: Any) -> UUID:
        """Records a request for a payment, as `POST /v1/payments` does; see `NewPayment`."""
        with self.acting("test"):
            new = NewPayment(money(amount, currency), description, **request)
            payment, _ = self.applications.payments.initiate(new)
        return payment.id

    def cancel_payment(self, payment_id: UUID, reason: str = "requested_by_merchant") -> None:
        """Cancels a payment, as `POST /v1/payments/{id}/cancel` does."""
        with self.acting("test"):
            self.applications.payments.cancel(payment_id, reason)

    def capture_payment(self, payment_id: UUID, amount: Money | None = None) -> None:
        """Captures an authorized payment, as `POST /v1/payments/{id}/capture` does."""
        with self.acting("test"):
            self.applications.payments.capture(payment_id, amount)

    def refund_payment(
        self, payment_id: UUID, amount: Money | None = None, reason: str | None = None
    ) -> UUID:
        """Refunds a payment, as `POST /v1/payments/{id}/refunds` does; returns the refund's id."""
        refund_id = self.ids.uuid()
        with self.acting("test"):
            self.applications.payments.refund(payment_id, refund_id, amount, reason)
        return refund_id

    def receive(self, report: GatewayReport) -> UUID:
        """Takes a notification from the gateway, as `POST /v1/webhooks/paytabs` does."""
        payload = public_value(report, lambda sealed: None)
        notification = GatewayNotification(
            provider=self.gateway.name,
            report=report,
            payload=json.loads(_to_json(payload)),
            personal={},
            signature="0" * 64,
            received_at=self.clock.now(),
        )
        payment = self.finder.find(report)
        with self.acting("gateway"):
            return self.applications.webhooks.receive(
                notification,
                body=_to_json(payload),
                headers={},
                ip_address="203.0.113.9",
                payment=payment,
            )

    def _payment_with(self, transaction_refs: Collection[str]) -> UUID | None:
        """See `PaymentQueries.payment_of`."""
        rows = self.persistence.tables.rows
        webhooks, payments = rows[WEBHOOKS_VIEW.name].values(), rows[PAYMENTS_VIEW.name].items()
        known = {row["transaction_ref"]: row["payment_id"] for row in webhooks if row["payment_id"]}
        known |= {row.get("transaction_ref"): payment_id for (payment_id,), row in payments}
        return next((known[ref] for ref in sorted(transaction_refs) if ref in known), None)

    def replay_webhook(self, webhook_id: UUID, actor: str = "operator") -> None:
        """Has a saga told again, as `POST /v1/webhooks/{id}/replay` does."""
        webhooks = self.applications.webhooks
        report = webhooks.get(webhook_id).report
        payment = self.finder.find(report) if report else None
        with self.acting(actor):
            webhooks.replay(webhook_id, actor, payment.id if payment else None)

    def come_back(self, payment_id: UUID) -> None:
        """The customer's browser comes back, as it does to `/v1/return/paytabs/{id}`."""
        with self.acting("gateway"):
            self.applications.sagas.hurry(PaymentSaga.create_id(payment_id), "customer_returned")

    def _notify(self, report: GatewayReport) -> None:
        self.receive(report)

    def run(self) -> None:
        """Lets everything happen that is due now, and what follows from it."""
        for _ in range(ROUNDS_MAX):
            self.follow()
            if not self.work_once():
                return
        raise RuntimeError(f"the system is not quiet after {ROUNDS_MAX} rounds")

    def wait(self, duration: timedelta) -> None:
        """Lets time pass; whatever falls due meanwhile happens at its time."""
        end = self.clock.now() + duration
        self.run()
        while (due_at := self.next_due_at()) is not None and due_at <= end:
            self.clock.move_to(due_at)
            self.gateway.catch_up()
            self.run()
        self.clock.move_to(end)

    def next_due_at(self) -> datetime | None:
        """When the next thing happens by itself, here or at the gateway; None: never."""
        moments = (self.agenda.next_due_at(), self.gateway.next_due_at())
        return min((moment for moment in moments if moment is not None), default=None)

    def follow(self) -> None:
        """Lets the followers take in everything recorded so far; no outside work is done."""
        while sum(following.advance() for following in self.followings):
            continue

    def work_once(self) -> bool:
        """Does the piece of outside work that has been due longest; False when there is none."""
        item = self.agenda.claim_next(self.clock.now())
        if item is not None:
            perform(self.handlers[item.kind], item, self.agenda, self.clock)
        return item is not None

    def retry(self, payment_id: UUID, actor: str = "operator") -> None:
        """Lets a parked saga try again, as `POST /v1/payments/{id}/saga/retry` does."""
        with self.acting(actor):
            self.applications.sagas.retry(PaymentSaga.create_id(payment_id), actor)

    def compensate(self, payment_id: UUID, actor: str = "operator") -> None:
        """Gives a parked saga up, as `POST /v1/payments/{id}/saga/compensate` does."""
        with self.acting(actor):
            self.applications.sagas.compensate(PaymentSaga.create_id(payment_id), actor)

    def payment(self, payment_id: UUID) -> Payment:
        """The payment as it is now."""
        return self.applications.payments.get(payment_id)

    def saga(self, payment_id: UUID) -> PaymentSaga:
        """The saga of a payment as it is now."""
        return self.applications.sagas.get(PaymentSaga.create_id(payment_id))

    def row(self, table: str, *key: Any) -> dict[str, Any] | None:
        """A row of a view, or None."""
        return self.persistence.tables.rows[table].get(key)

    def events(self) -> list[dict[str, Any]]:
        """Every event of every log in public form (contract 6), by time."""
        recorded = [event for log in self.applications.by_name.values() for event in log.all()]
        recorded.sort(key=lambda event: event.timestamp)
        return [envelope(event, self.vault, "PROCESSED") for event in recorded]

    def acting(self, source: str) -> Any:
        """A context for commands of your own, each with a fresh correlation id."""
        return acting(EventContext(Metadata(str(self.ids.uuid()), source=source), self.clock.now()))


def _to_json(value: Any) -> bytes:
    return json.dumps(value, default=str, separators=(",", ":")).encode()
