"""Counts events against their effects: whether a follower lost one, or took one in twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from domain.confirmation import Confirmation
from domain.gateway_call import GatewayCall
from domain.payment import Payment
from domain.payment_saga import PaymentSaga
from domain.webhook import Webhook
from system.applications import LOG_NAMES, Applications
from system.persistence.postgres import PostgresPersistence
from tests.e2e.fleet import Fleet
from tests.e2e.house import until
from tests.integration.production_kit import applications_on

SETTLING_SECONDS = 90
OUTCOMES = (GatewayCall.Succeeded, GatewayCall.Refused, GatewayCall.OutcomeUnknown)


def assert_nothing_lost_and_nothing_doubled(fleet: Fleet, payment_ids: Iterable[str]) -> None:
    """Everything has come to its end without a hand, and each event had its effect once."""
    for payment_id in payment_ids:
        until(lambda: _is_over(fleet, payment_id), SETTLING_SECONDS)  # noqa: B023
    until(lambda: not fleet.unread(), SETTLING_SECONDS)
    until(lambda: not fleet.rows("SELECT 1 FROM agenda WHERE due_at <= now()"), SETTLING_SECONDS)
    assert fleet.rows("SELECT * FROM parked_events") == []
    persistence = PostgresPersistence(fleet.database_url, pool_size=2)
    try:
        assert_each_event_had_its_effect_once(applications_on(persistence), persistence)
    finally:
        persistence.close()


def _is_over(fleet: Fleet, payment_id: str) -> bool:
    query = "SELECT 1 FROM view_sagas WHERE payment_id = %s AND status = 'completed'"
    return bool(fleet.rows(query, payment_id))


def assert_each_event_had_its_effect_once(
    applications: Applications, persistence: PostgresPersistence
) -> None:
    """Each follower, event by event."""
    logs = {name: list(applications.by_name[name].all()) for name in LOG_NAMES}
    payments, sagas = logs["Payments"], logs["PaymentSagas"]
    initiated = of(payments, Payment.Initiated)
    assert once(initiated) == once(of(sagas, PaymentSaga.Started), "payment_id")
    assert once(initiated) == once(of(sagas, PaymentSaga.Completed), "payment_id")
    asked = once([event.call for event in of(sagas, PaymentSaga.CallRequested)], "call_id")
    assert asked == once(of(logs["Gateway"], GatewayCall.Requested))
    assert asked == once(of(logs["Gateway"], *OUTCOMES))
    assert once(of(sagas, PaymentSaga.CallAnswered), "call_id") <= asked
    received = of(logs["Webhooks"], Webhook.Received)
    assert once(received) == once(of(logs["Webhooks"], Webhook.Processed))
    assert once(received) == once(of(sagas, PaymentSaga.NotificationHandled), "webhook_id")
    confirmed = once(of(logs["Confirmations"], Confirmation.Requested), "payment_id")
    assert once(of(payments, Payment.Completed)) == confirmed
    assert confirmed == once(of(logs["Confirmations"], Confirmation.Delivered), "payment_id")
    assert_views_agree(applications, persistence, list(initiated))


def of(events: Iterable[Any], *kinds: type) -> list[Any]:
    """The events of some kinds."""
    return [event for event in events if isinstance(event, kinds)]


def once(events: Iterable[Any], field: str = "originator_id") -> set[Any]:
    """What the events are about; fails when two are about the same."""
    counted = Counter(getattr(event, field) for event in events)
    doubled = {key: count for key, count in counted.items() if count > 1}
    assert not doubled, (field, doubled)
    return set(counted)


def assert_views_agree(
    applications: Applications, persistence: PostgresPersistence, initiated: list[Any]
) -> None:
    """The views show what the events say."""
    with persistence.connection() as connection:
        payments = connection.execute("SELECT payment_id, status, version FROM view_payments")
        shown = {row["payment_id"]: (row["status"], row["version"]) for row in payments}
        sagas = connection.execute("SELECT payment_id, status FROM view_sagas")
        saga_shown = {row["payment_id"]: row["status"] for row in sagas}
    assert shown.keys() == saga_shown.keys() == {event.originator_id for event in initiated}
    for payment_id, state in shown.items():
        payment = applications.payments.get(payment_id)
        assert state == (payment.status, payment.version)
        saga = applications.sagas.get(PaymentSaga.create_id(payment_id))
        assert saga_shown[payment_id] == saga.status


def assert_charged_once(fleet: Fleet, payment_ids: Iterable[str], price: str) -> None:
    """The simulator's books: everybody has paid, and nobody twice."""
    for payment_id in payment_ids:
        books = fleet.customer.books(payment_id)
        assert (books["charged"], books["refunded"], books["net"]) == (price, "0.00", price)
