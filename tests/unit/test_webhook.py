"""Notifications are kept once, however often they come."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from eventsourcing.persistence import IntegrityError

from application.payment_gateway import GatewayNotification, Unreadable
from application.payments import NewPayment
from domain.gateway_report import GatewayReport, TransactionKind, TransactionStatus
from domain.money import money
from domain.webhook import TIMES_SEEN_MAX, PaymentUnknown, Webhook, WebhookUnreadable
from system.testing import SystemUnderTest
from system.webhook_matching import LOOK_FOR
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
        webhook.see_again("digest")
        webhook.see_again("digest")
    assert webhook.times_seen == 3


def test_a_webhook_that_comes_without_end_is_not_recorded_without_end() -> None:
    webhook = received()
    with at():
        for _ in range(2 * TIMES_SEEN_MAX):
            webhook.see_again("digest")
    assert webhook.times_seen == TIMES_SEEN_MAX
    assert len(webhook.pending_events) == TIMES_SEEN_MAX


def test_two_notifications_of_the_same_fact_have_one_identity() -> None:
    assert report().identity == report(message="in other words", code="1").identity
    assert report().identity != report(transaction_ref="TST2").identity


@pytest.mark.parametrize("change", [{}, {"message": "in other words"}, {"code": "G1"}])
def test_the_same_fact_is_the_same_webhook_in_whatever_words(change: dict[str, Any]) -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.opened(s)
        said = scenarios.paid_report(s, payment_id)
        first = s.receive(said)
        assert s.receive(replace(said, **change)) == first
        s.run()
        assert s.applications.webhooks.get(first).times_seen == 2
        types = [e["type"] for e in s.events() if e["aggregateId"] == str(first)]
        assert sorted(types) == ["webhook.processed", "webhook.received", "webhook.repeated"]
        assert [e["type"] for e in s.events()].count("payment.completed") == 1


@pytest.mark.parametrize(
    "change",
    [
        {"transaction_ref": "TST2"},
        {"kind": TransactionKind.REFUND},
        {"status": TransactionStatus.DECLINED},
        {"amount": money("1.00", "SAR")},
        {"amount": None},
        {"cart_id": "ORDER-1"},
        {"previous_ref": "TST1"},
    ],
)
def test_what_says_something_else_is_another_webhook(change: dict[str, Any]) -> None:
    with SystemUnderTest() as s:
        said = scenarios.paid_report(s, scenarios.opened(s))
        assert s.receive(replace(said, **change)) != s.receive(said)


@pytest.mark.parametrize(
    "change", [{"kind": TransactionKind.UNKNOWN}, {"status": TransactionStatus.UNKNOWN}]
)
def test_of_what_is_not_understood_only_the_same_bytes_are_the_same(change: dict[str, Any]) -> None:
    with SystemUnderTest() as s:
        said = replace(scenarios.paid_report(s, scenarios.opened(s)), **change)
        first = s.receive(said)
        assert s.receive(said) == first
        assert s.receive(replace(said, message="in other words")) != first


def test_a_repetition_is_answered_though_others_are_always_quicker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def be_late(*_aggregates: Webhook, **_rows: Any) -> None:
        raise IntegrityError("somebody else was quicker")

    with SystemUnderTest() as s:
        webhook_id = s.receive(report(cart_id="ORD-1001-a1"))
        monkeypatch.setattr(s.applications.webhooks, "record", be_late)
        assert s.receive(report(cart_id="ORD-1001-a1")) == webhook_id


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
                unread, body=b"{}", headers={}, ip_address=None, payment=s.payment(payment_id)
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


def test_an_unreadable_webhook_makes_the_saga_ask_soon() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.opened(s)
        s.gateway.pay(payment_id, silently=True)
        notification = GatewayNotification(
            "paytabs", Unreadable("payment_info is not an object"), {}, {}, "0" * 64, s.clock.now()
        )
        with s.acting("gateway"):
            s.applications.webhooks.receive(
                notification, body=b"{}", headers={}, ip_address=None, payment=s.payment(payment_id)
            )
        s.wait(timedelta(seconds=6))
        assert s.payment(payment_id).status == "completed"


EARLY = report(cart_id="", transaction_ref="TST0000000000001")


def test_a_webhook_that_came_too_early_is_matched_when_its_payment_turns_up() -> None:
    with SystemUnderTest() as s:
        webhook_id = s.receive(EARLY)
        s.wait(timedelta(hours=3))
        assert s.applications.webhooks.get(webhook_id).status == "failed"
        payment_id = scenarios.opened(s)
        assert s.gateway.page_of(payment_id).transaction_ref == EARLY.transaction_ref
        s.wait(timedelta(hours=4))
        webhook = s.applications.webhooks.get(webhook_id)
        assert (webhook.payment_id, webhook.status) == (payment_id, "processed")
        types = [e["type"] for e in s.events() if e["aggregateId"] == str(webhook_id)]
        assert types == [
            "webhook.received",
            "webhook.failed",
            "webhook.matched",
            "webhook.processed",
        ]
        matched = next(e for e in s.events() if e["type"] == "webhook.matched")
        assert matched["correlationId"] == s.payment(payment_id).correlation_id


def test_a_webhook_is_matched_by_its_cart_with_a_payment_that_is_recorded_later() -> None:
    with SystemUnderTest() as s:
        payment_id = UUID("7c1c8f3e-6f0a-4f0f-9f64-3a3f5d3f0b11")
        webhook_id = s.receive(report(cart_id=f"{payment_id}-a1", transaction_ref="TST7"))
        s.run()
        with s.acting("test"):
            request = NewPayment(money("10.00", "SAR"), "Tea")
            s.applications.payments.initiate(request, payment_id)
        s.wait(timedelta(seconds=5))
        webhook = s.applications.webhooks.get(webhook_id)
        assert (webhook.payment_id, webhook.status) == (payment_id, "processed")


def test_a_webhook_whose_payment_never_turns_up_is_looked_for_so_long_only() -> None:
    with SystemUnderTest() as s:
        webhook_id = s.receive(EARLY)
        s.run()
        looks = 0
        while (due_at := s.next_due_at()) is not None:
            s.wait(due_at - s.clock.now())
            looks += 1
        assert looks == 18
        assert s.clock.now() - s.applications.webhooks.get(webhook_id).created_on > LOOK_FOR
        assert s.applications.webhooks.get(webhook_id).status == "failed"
        assert [e["type"] for e in s.events()] == ["webhook.received", "webhook.failed"]


def test_a_replayed_webhook_is_told_to_the_saga_and_changes_no_money() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.opened(s)
        s.gateway.pay(payment_id, silently=True)
        webhook_id = s.receive(s.gateway.page_of(payment_id))
        s.run()
        before = s.payment(payment_id).version
        for _ in range(3):
            s.replay_webhook(webhook_id)
            s.run()
        webhook = s.applications.webhooks.get(webhook_id)
        assert (webhook.status, webhook.outcome) == ("processed", "paid")
        types = [e["type"] for e in s.events() if e["aggregateId"] == str(webhook_id)]
        assert (
            types
            == ["webhook.received", "webhook.processed"]
            + [
                "webhook.replayed",
                "webhook.processed",
            ]
            * 3
        )
        s.wait(timedelta(days=2))
        assert s.payment(payment_id).version == before
        assert s.gateway.net_of(payment_id) == money("10.00", "SAR").amount
        assert s.merchant.events_told == ["payment.completed"]


def test_a_replay_matches_a_webhook_whose_payment_is_known_by_now() -> None:
    with SystemUnderTest() as s:
        webhook_id = s.receive(EARLY)
        s.run()
        with pytest.raises(PaymentUnknown):
            s.replay_webhook(webhook_id)
        payment_id = scenarios.opened(s)
        s.replay_webhook(webhook_id)
        s.run()
        webhook = s.applications.webhooks.get(webhook_id)
        assert (webhook.payment_id, webhook.status) == (payment_id, "processed")
        s.wait(timedelta(days=3))
        types = [e["type"] for e in s.events() if e["aggregateId"] == str(webhook_id)]
        assert types.count("webhook.matched") == 0


def test_what_cannot_be_read_cannot_be_replayed() -> None:
    with at():
        webhook = Webhook.receive(
            UUID(int=1),
            payment_id=PAYMENT_ID,
            provider="paytabs",
            report=None,
            payload={},
            personal=None,
            signature="0" * 64,
            headers={},
            ip_address=None,
        )
        with pytest.raises(WebhookUnreadable):
            webhook.replay("operator", PAYMENT_ID)
        assert len(webhook.pending_events) == 1


def test_an_old_message_cannot_move_a_payment_backwards() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.opened(s)
        page = s.gateway.page_of(payment_id)
        s.gateway.pay(payment_id)
        s.run()
        settled = s.payment(payment_id).version
        for status in TransactionStatus:
            old = replace(page, status=status, amount=money("10.00", "SAR"))
            webhook_id = s.receive(old)
            s.run()
            s.replay_webhook(webhook_id)
            s.run()
        s.wait(timedelta(days=40))
        assert s.payment(payment_id).status == "completed"
        assert s.payment(payment_id).version == settled
        assert s.gateway.net_of(payment_id) == money("10.00", "SAR").amount


def test_each_status_of_the_view_is_that_of_the_webhook() -> None:
    for story in (scenarios.paid, scenarios.told_too_early, scenarios.unknown_payment):
        with SystemUnderTest() as s:
            story(s)
            rows = s.persistence.tables.rows["view_webhooks"]
            assert rows
            for (webhook_id,), row in rows.items():
                webhook = s.applications.webhooks.get(webhook_id)
                for name in ("status", "payment_id", "outcome", "reason", "times_seen", "version"):
                    assert row.get(name) == getattr(webhook, name), (story.__name__, name)
