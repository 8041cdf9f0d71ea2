"""Notifications are kept once, however often they come."""

from dataclasses import replace
from uuid import UUID

from application.payment_gateway import GatewayNotification, Unreadable
from domain.gateway_report import GatewayReport
from domain.webhook import Webhook
from system.testing import SystemUnderTest
from tests.simulation import scenarios
from tests.unit.domain_kit import PAYMENT_ID, at, report


def received(said: GatewayReport | None = None) -> Webhook:
    """A notification that was just recorded."""
    with at():
        return Webhook.receive(
            UUID(int=1),
            payment_id=PAYMENT_ID,
            provider="paytabs",
            report=said or report(),
            payload={},
            personal=None,
            signature="0" * 64,
            headers={},
            ip_address=None,
        )


def test_a_webhook_is_processed_once() -> None:
    webhook = received()
    with at():
        webhook.process(PAYMENT_ID, "paid")
        webhook.process(PAYMENT_ID, "paid")
        webhook.fail("too late")
    assert webhook.status == "processed"
    assert len(webhook.pending_events) == 2


def test_a_webhook_counts_how_often_it_was_seen() -> None:
    webhook = received()
    with at():
        webhook.see_again()
        webhook.see_again()
    assert webhook.times_seen == 3


def test_two_notifications_of_the_same_fact_have_one_identity() -> None:
    assert report().identity == report(message="in other words", code="1").identity
    assert report().identity != report(transaction_ref="TST2").identity


def test_the_same_bytes_are_the_same_webhook_and_other_bytes_another() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.opened(s)
        said = scenarios.paid_report(s, payment_id)
        first = s.receive(said)
        assert s.receive(said) == first
        assert s.receive(replace(said, message="in other words")) != first
        assert s.applications.webhooks.get(first).times_seen == 2


def test_a_webhook_of_an_unknown_payment_names_no_payment() -> None:
    with SystemUnderTest() as s:
        webhook_id = s.receive(report(cart_id="ORD-1001-a1"))
        s.run()
        webhook = s.applications.webhooks.get(webhook_id)
        assert webhook.payment_id is None
        assert webhook.status == "failed"


def test_an_unreadable_webhook_fails_at_once_and_stops_no_follower() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.opened(s)
        unread = GatewayNotification(
            provider="paytabs",
            report=Unreadable("tran_total: an amount is not a decimal number"),
            payload={"tran_total": "1,000.00"},
            personal={},
            signature="0" * 64,
            received_at=s.clock.now(),
        )
        with s.acting("gateway"):
            webhook_id = s.applications.webhooks.receive(
                unread, body=b"{}", headers={}, ip_address=None, payment_id=payment_id
            )
        s.run()
        webhook = s.applications.webhooks.get(webhook_id)
        assert (webhook.status, webhook.payment_id, webhook.report) == ("failed", payment_id, None)
        told = {e["type"]: e["data"] for e in s.events() if e["aggregateId"] == str(webhook_id)}
        assert told["webhook.received"]["transactionRef"] is None
        assert told["webhook.failed"]["reason"] == (
            "unreadable: tran_total: an amount is not a decimal number"
        )
        s.receive(scenarios.paid_report(s, payment_id))
        s.run()
        assert s.payment(payment_id).status == "completed"
