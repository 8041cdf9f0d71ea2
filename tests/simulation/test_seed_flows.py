"""The flows that the system was built for, good and bad, in one thread on a virtual clock."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from domain.gateway_call import Operation
from domain.money import money
from domain.saga_steps import Step, StepStatus
from system.projections.sagas_view import shown_status
from system.testing import SystemUnderTest
from tests.simulation import scenarios
from tests.simulation.scenarios import SEED_STORIES, SLOW_STORIES, Story

STORIES = pytest.mark.parametrize(
    "story", [*SEED_STORIES, *SLOW_STORIES], ids=lambda story: story.__name__
)


def test_a_paid_payment_is_completed_and_its_merchant_told_once() -> None:
    with SystemUnderTest(seed=1) as s:
        payment = s.payment(scenarios.paid(s))
        assert payment.status == "completed"
        assert payment.amount_captured == money("10.00", "SAR")
        assert s.saga(payment.id).status == "completed"
        assert s.merchant.events_told == ["payment.completed"]
        assert s.gateway.net_of(payment.id) == Decimal("10.00")


def test_the_customer_is_sent_to_the_page_while_it_waits() -> None:
    with SystemUnderTest() as s:
        payment = s.payment(scenarios.opened(s))
        assert payment.status == "processing"
        assert payment.next_action is not None
        assert payment.next_action.url.endswith(s.gateway.page_of(payment.id).transaction_ref)
        assert s.saga(payment.id).status == "waiting"


def test_every_step_of_a_paid_payment_succeeded_once() -> None:
    with SystemUnderTest() as s:
        saga = s.saga(scenarios.paid(s))
        assert {state.status for state in saga.steps.values()} == {StepStatus.SUCCEEDED}
        assert saga.steps[Step.OPEN_AT_GATEWAY].attempts == 1
        assert not saga.deadlines


def test_a_declined_card_fails_the_payment_and_its_merchant_is_told_why() -> None:
    with SystemUnderTest() as s:
        payment = s.payment(scenarios.declined(s))
        assert payment.status == "failed"
        assert payment.failure is not None
        assert payment.failure.code == "card_declined"
        assert payment.failure.gateway_code == "310"
        assert s.saga(payment.id).status == "compensated"
        assert s.merchant.events_told == ["payment.failed"]
        assert s.merchant.messages[0]["data"]["code"] == "card_declined"


def test_a_failed_payment_is_undone_in_reverse_order() -> None:
    with SystemUnderTest() as s:
        scenarios.declined(s)
        undone = [e["data"]["step"] for e in s.events() if e["type"] == "saga.step_compensated"]
        assert undone == ["open_at_gateway", "create_record"]


def test_a_customer_who_presses_cancel_cancels_the_payment() -> None:
    with SystemUnderTest() as s:
        payment = s.payment(scenarios.cancelled_by_customer(s))
        assert payment.status == "cancelled"
        assert payment.cancellation_reason == "cancelled_by_customer"
        assert s.saga(payment.id).status == "compensated"
        assert s.merchant.events_told == ["payment.cancelled"]


def test_a_payment_without_callback_url_completes_without_a_confirmation() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.paid_without_callback_url(s)
        assert s.saga(payment_id).status == "completed"
        assert s.merchant.messages == []
        assert list(s.applications.confirmations.all()) == []


def test_a_merchant_may_cancel_before_the_customer_pays() -> None:
    with SystemUnderTest() as s:
        payment = s.payment(scenarios.cancelled_before_paying(s))
        assert payment.status == "cancelled"
        assert payment.cancellation_reason == "requested_by_merchant"
        assert payment.next_action is None
        assert s.saga(payment.id).status == "compensated"
        assert s.merchant.events_told == ["payment.cancelled"]


def test_a_payment_cancelled_before_its_page_never_reaches_the_gateway() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.cancelled_before_the_page(s)
        s.wait(timedelta(hours=2))
        assert s.gateway.transactions == {}
        assert s.saga(payment_id).status == "compensated"
        assert s.agenda.next_due_at() is None


def test_a_cancel_while_the_gateway_opens_the_page_gives_no_page_out() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.new_payment(s)
        s.follow()
        assert s.work_once()
        s.cancel_payment(payment_id)
        s.run()
        assert s.payment(payment_id).next_action is None
        assert s.saga(payment_id).status == "compensated"


def test_a_cancel_while_the_payment_settles_gives_the_money_back() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.opened(s)
        s.gateway.pay(payment_id)
        s.cancel_payment(payment_id)
        s.run()
        assert s.payment(payment_id).status == "cancelled"
        assert s.gateway.net_of(payment_id) == 0
        assert s.saga(payment_id).status == "compensated"


def test_money_that_comes_after_a_cancel_is_given_back_exactly_once() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.paid_after_cancelling(s)
        s.receive(replace(s.gateway.page_of(payment_id), message="Approved"))
        s.wait(timedelta(days=2))
        refunds = [r for r in s.gateway.transactions.values() if r.kind == "refund"]
        assert len(refunds) == 1
        assert s.gateway.net_of(payment_id) == 0
        assert s.payment(payment_id).status == "cancelled"
        assert s.saga(payment_id).status == "compensated"


def test_money_paid_silently_after_a_cancel_is_found_and_given_back() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.cancelled_before_paying(s)
        s.gateway.pay(payment_id, silently=True)
        s.wait(timedelta(hours=2))
        assert s.gateway.net_of(payment_id) == 0
        assert s.saga(payment_id).status == "compensated"


def test_an_abandoned_page_expires_and_the_merchant_is_told() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.opened(s)
        s.wait(timedelta(minutes=20))
        assert s.payment(payment_id).status == "processing"
        s.wait(timedelta(minutes=2))
        assert s.payment(payment_id).status == "cancelled"
        assert s.payment(payment_id).cancellation_reason == "expired"
        assert s.merchant.events_told == ["payment.cancelled"]
        s.wait(timedelta(hours=4))
        assert s.saga(payment_id).status == "compensated"
        assert s.agenda.next_due_at() is None


def test_money_that_comes_after_the_page_ran_out_is_given_back_exactly_once() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.opened(s)
        s.wait(timedelta(minutes=25))
        s.gateway.pay(payment_id)
        s.wait(timedelta(hours=3))
        assert s.gateway.net_of(payment_id) == 0
        assert sum(r.kind == "refund" for r in s.gateway.transactions.values()) == 1
        assert s.payment(payment_id).cancellation_reason == "expired"


def test_a_lost_callback_is_found_by_reconciliation() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.opened(s)
        s.gateway.pay(payment_id, silently=True)
        s.run()
        assert s.payment(payment_id).status == "processing"
        s.wait(timedelta(seconds=61))
        assert s.payment(payment_id).status == "completed"
        assert s.merchant.events_told == ["payment.completed"]


def test_a_lost_callback_of_a_declined_card_is_found_too() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.opened(s)
        s.gateway.decline(payment_id, silently=True)
        s.wait(timedelta(seconds=61))
        assert s.payment(payment_id).status == "failed"


def test_the_gaps_between_reconciliations_grow() -> None:
    with SystemUnderTest() as s:
        scenarios.opened(s)
        s.wait(timedelta(minutes=20))
        asked = [e for e in s.events() if e["data"].get("operation") == "query_transaction"]
        assert 4 <= len(asked) <= 6


def test_a_callback_that_comes_twice_has_no_second_effect() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.told_twice(s)
        kinds = [e["type"] for e in s.events()]
        assert kinds.count("payment.completed") == 1
        assert kinds.count("webhook.repeated") == 2
        assert kinds.count("webhook.received") == 1
        assert s.gateway.net_of(payment_id) == Decimal("10.00")
        assert s.merchant.events_told == ["payment.completed"]


def test_a_callback_may_be_quicker_than_the_answer_to_our_own_call() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.new_payment(s)
        s.follow()
        assert s.work_once()
        s.gateway.pay(payment_id)
        webhooks_first = sorted(s.followings, key=lambda f: f.leader.name != "Webhooks")
        s.followings = webhooks_first
        s.run()
        assert s.payment(payment_id).status == "completed"
        assert s.saga(payment_id).status == "completed"
        assert len(s.saga(payment_id).cart_ids) == 1


def test_a_notification_of_an_unknown_payment_is_kept_as_failed() -> None:
    with SystemUnderTest() as s:
        scenarios.unknown_payment(s)
        failed = [e for e in s.events() if e["type"] == "webhook.failed"]
        assert [e["data"]["reason"] for e in failed] == ["unknown_payment"]


def test_a_refund_notification_is_never_taken_for_a_sale() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.refund_notified(s)
        assert s.payment(payment_id).status == "processing"
        outcomes = [e["data"]["outcome"] for e in s.events() if e["type"] == "webhook.processed"]
        assert outcomes == ["irrelevant"]
        s.gateway.pay(payment_id)
        s.run()
        assert s.payment(payment_id).status == "completed"


@STORIES
def test_every_story_ends_quietly(story: Story) -> None:
    with SystemUnderTest(seed=5) as s:
        payment_id = story(s)
        s.wait(timedelta(days=5))
        assert s.saga(payment_id).status in {"completed", "compensated"}
        assert s.agenda.next_due_at() is None
        payment = s.payment(payment_id)
        assert (payment.status in {"completed", "refunded"}) == bool(payment.amount_captured)
        kept = payment.amount_captured - payment.amount_refunded
        assert s.gateway.net_of(payment_id) == kept.amount
        assert s.gateway.held_of(payment_id) == 0


@STORIES
def test_the_views_agree_with_the_events(story: Story) -> None:
    with SystemUnderTest(seed=6) as s:
        payment, saga = s.payment(story(s)), None
        row = s.row("view_payments", payment.id)
        saga = s.saga(payment.id)
        saga_row = s.row("view_sagas", saga.id)
        assert row is not None
        assert saga_row is not None
        assert shown_status(saga_row) == saga.status
        shown = {
            "status": payment.status,
            "version": payment.version,
            "transaction_ref": payment.transaction_ref,
            "amount_captured": payment.amount_captured.amount,
            "amount_refunded": payment.amount_refunded.amount,
            "cancellation_reason": payment.cancellation_reason,
            "page_url": payment.next_action.url if payment.next_action else None,
            "updated_at": payment.modified_on,
        }
        assert {name: row.get(name) for name in shown} == shown


@STORIES
def test_the_view_of_refunds_agrees_with_the_events(story: Story) -> None:
    with SystemUnderTest(seed=6) as s:
        for refund in s.payment(story(s)).refunds.values():
            row = s.row("view_refunds", refund.refund_id)
            assert row is not None
            for name in ("status", "reason", "created_at", "transaction_ref"):
                assert row.get(name) == getattr(refund, name), name
            assert row["amount"] == refund.amount.amount


@STORIES
def test_the_same_seed_gives_the_same_events_to_the_letter(story: Story) -> None:
    def history() -> list[dict[str, object]]:
        with SystemUnderTest(seed=7) as s:
            story(s)
            return s.events()

    assert history() == history()


def test_another_seed_gives_other_ids() -> None:
    with SystemUnderTest(seed=1) as one, SystemUnderTest(seed=2) as other:
        assert scenarios.paid(one) != scenarios.paid(other)


@STORIES
def test_one_correlation_id_finds_everything_that_belongs_to_a_payment(story: Story) -> None:
    with SystemUnderTest(seed=8) as s:
        correlation_id = s.payment(story(s)).correlation_id
        sagas = [e for e in s.events() if e["aggregateType"] in {"PaymentSaga", "GatewayCall"}]
        assert sagas
        ids = {e["correlationId"] for e in sagas if e["type"] != "saga.notification_handled"}
        assert correlation_id in ids


@STORIES
def test_every_cause_that_is_named_is_an_event_that_happened(story: Story) -> None:
    with SystemUnderTest(seed=9) as s:
        story(s)
        events = s.events()
        ids = {e["id"] for e in events}
        assert {e["causationId"] for e in events} - {None} <= ids


def test_no_personal_data_is_stored_in_the_clear() -> None:
    with SystemUnderTest() as s:
        scenarios.paid(s)
        logs = s.applications.by_name.values()
        stored = b"".join(n.state for log in logs for n in log.recorder.select_notifications(0, 99))
        for secret in (b"Sara", b"sara@example.com", b"+966500000000", b"King Rd"):
            assert secret not in stored


def test_the_view_shows_the_client_to_whoever_may_see_it() -> None:
    with SystemUnderTest() as s:
        row = s.row("view_payments", scenarios.paid(s))
        assert row is not None
        assert row["client_info"]["name"] == "Sara Omar"


def test_many_payments_do_not_disturb_each_other() -> None:
    with SystemUnderTest() as s:
        ids = [scenarios.new_payment(s) for _ in range(30)]
        s.run()
        for number, payment_id in enumerate(ids):
            (s.gateway.pay, s.gateway.decline, s.cancel_payment)[number % 3](payment_id)
        s.run()
        statuses = [s.payment(payment_id).status.value for payment_id in ids]
        assert statuses == ["completed", "failed", "cancelled"] * 10


def test_a_gateway_is_asked_once_for_each_call_of_the_saga() -> None:
    with SystemUnderTest() as s:
        saga = s.saga(scenarios.paid(s))
        [call] = saga.calls.values()
        assert call.operation is Operation.OPEN_PAGE
        assert len(s.gateway.transactions) == 1
