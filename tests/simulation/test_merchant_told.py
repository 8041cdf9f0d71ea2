"""Merchants are told on schedule, however long their endpoint fails; payments do not wait."""

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest

from application.confirmations import ORDER_WAIT_MAX, RETRY_DELAYS, Delivery
from application.payment_gateway import NotAttempted
from domain.confirmation import Confirmation
from system.following import Following
from system.testing import SystemUnderTest
from tests.simulation import scenarios

DOWN = Delivery(503)


def attempts(s: SystemUnderTest) -> list[datetime]:
    """The times of all failed attempts."""
    kinds = {"confirmation.attempt_failed", "confirmation.exhausted"}
    return [
        datetime.fromisoformat(e["timestamp"].replace("Z", "+00:00"))
        for e in s.events()
        if e["type"] in kinds
    ]


def test_the_saga_completes_while_the_merchant_is_still_being_told() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.merchant_failing(s)
        assert s.payment(payment_id).status == "completed"
        assert s.saga(payment_id).status == "completed"
        assert s.merchant.messages == []
        s.wait(timedelta(seconds=6))
        assert s.merchant.events_told == ["payment.completed"]


def test_a_failing_endpoint_is_tried_on_schedule_over_75_hours_and_then_given_up() -> None:
    with SystemUnderTest() as s:
        s.merchant.answers.extend([DOWN] * 20)
        payment_id = scenarios.paid(s)
        s.wait(timedelta(hours=100))
        times = attempts(s)
        assert len(times) == len(RETRY_DELAYS) + 1
        assert times[-1] - times[0] > timedelta(hours=75)
        for delay, (earlier, later) in zip(RETRY_DELAYS, pairwise(times), strict=True):
            assert delay <= later - earlier <= delay * 1.1 + timedelta(seconds=1)
        assert [e["type"] for e in s.events()].count("confirmation.exhausted") == 1
        assert s.saga(payment_id).status == "completed"
        assert s.agenda.next_due_at() is None


def test_the_last_attempt_may_be_the_one_that_succeeds() -> None:
    with SystemUnderTest() as s:
        s.merchant.answers.extend([DOWN] * len(RETRY_DELAYS))
        scenarios.paid(s)
        s.wait(timedelta(hours=100))
        assert s.merchant.events_told == ["payment.completed"]
        assert "confirmation.exhausted" not in [e["type"] for e in s.events()]


def test_a_merchant_who_is_gone_is_not_tried_again() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.merchant_gone(s)
        s.wait(timedelta(hours=100))
        assert len(attempts(s)) == 1
        assert s.merchant.messages == []
        assert s.saga(payment_id).status == "completed"


def test_an_endpoint_that_asks_for_time_gets_it() -> None:
    with SystemUnderTest() as s:
        s.merchant.answers.append(Delivery(429, retry_after=timedelta(hours=1)))
        scenarios.paid(s)
        s.wait(timedelta(minutes=59))
        assert s.merchant.messages == []
        s.wait(timedelta(minutes=2))
        assert s.merchant.events_told == ["payment.completed"]


def test_nobody_can_ask_for_more_than_a_day() -> None:
    with SystemUnderTest() as s:
        s.merchant.answers.append(Delivery(503, retry_after=timedelta(days=365)))
        scenarios.paid(s)
        s.wait(timedelta(hours=25))
        assert s.merchant.events_told == ["payment.completed"]


@pytest.mark.parametrize("status_code", [301, 400, 404, 500, None])
def test_everything_but_a_2xx_is_tried_again(status_code: int | None) -> None:
    with SystemUnderTest() as s:
        s.merchant.answers.append(Delivery(status_code, error=None if status_code else "refused"))
        scenarios.paid(s)
        s.wait(timedelta(seconds=6))
        assert s.merchant.events_told == ["payment.completed"]


@pytest.mark.parametrize("status_code", [200, 201, 204])
def test_any_2xx_is_enough(status_code: int) -> None:
    with SystemUnderTest() as s:
        s.merchant.answers.append(Delivery(status_code))
        scenarios.paid(s)
        assert "confirmation.delivered" in [e["type"] for e in s.events()]
        assert s.agenda.next_due_at() is None


def test_a_merchant_is_told_the_envelope_of_the_event() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.paid(s)
        [message] = s.merchant.messages
        [event] = [e for e in s.events() if e["type"] == "payment.completed"]
        assert message["id"] == event["id"]
        assert message["aggregateId"] == str(payment_id)
        assert message["data"]["transactionRef"] == event["data"]["transactionRef"]


def test_money_given_back_later_tells_the_merchant_nothing_new() -> None:
    with SystemUnderTest() as s:
        scenarios.paid_after_cancelling(s)
        s.wait(timedelta(hours=3))
        assert s.merchant.events_told == ["payment.cancelled"]


# Order


def refunded(s: SystemUnderTest) -> UUID:
    """A payment that is given back while its merchant's endpoint may still fail."""
    payment_id = scenarios.paid(s)
    s.refund_payment(payment_id)
    s.run()
    return payment_id


def test_a_later_event_waits_for_the_earlier_one_that_is_still_being_tried() -> None:
    with SystemUnderTest() as s:
        s.merchant.answers.extend([DOWN] * 2)
        refunded(s)
        assert s.merchant.messages == []
        s.wait(timedelta(minutes=10))
        assert s.merchant.events_told == ["payment.completed", "payment.refunded"]
        assert len(attempts(s)) == 2


def test_a_later_event_waits_an_hour_and_no_longer() -> None:
    with SystemUnderTest() as s:
        s.merchant.answers.extend([DOWN] * 4)
        refunded(s)
        s.wait(ORDER_WAIT_MAX - timedelta(minutes=1))
        assert s.merchant.messages == []
        assert len(attempts(s)) == 4
        s.wait(timedelta(minutes=2))
        assert s.merchant.events_told == ["payment.refunded"]
        s.wait(timedelta(hours=3))
        assert s.merchant.events_told == ["payment.refunded", "payment.completed"]


def test_what_was_given_up_holds_nothing_up() -> None:
    with SystemUnderTest() as s:
        s.merchant.answers.append(Delivery(410))
        refunded(s)
        assert s.merchant.events_told == ["payment.refunded"]


def test_a_message_held_back_costs_no_attempt_and_the_saga_no_time() -> None:
    with SystemUnderTest() as s:
        s.merchant.answers.extend([DOWN] * 20)
        payment_id = scenarios.authorized(s)
        s.capture_payment(payment_id)
        s.run()
        assert s.payment(payment_id).status == "completed"
        assert s.saga(payment_id).status == "completed"
        [postponed] = [e for e in s.events() if e["type"] == "confirmation.postponed"]
        assert postponed["data"]["told"] == "payment.completed"
        assert postponed["data"]["reason"] == "waits_for_earlier"
        assert len(attempts(s)) == 1


def test_after_an_outage_of_ours_the_order_is_kept_all_the_same() -> None:
    with SystemUnderTest() as s:
        s.merchant.answers.append(DOWN)
        payment_id = scenarios.opened(s)
        s.gateway.pay(payment_id)
        s.follow()
        s.refund_payment(payment_id)
        s.follow()
        s.clock.move_to(s.clock.now() + 3 * ORDER_WAIT_MAX)
        s.wait(timedelta(minutes=10))
        assert s.merchant.events_told == ["payment.completed", "payment.refunded"]


def test_other_payments_do_not_wait() -> None:
    with SystemUnderTest() as s:
        s.merchant.answers.append(DOWN)
        scenarios.paid(s)
        other = scenarios.paid(s)
        assert [message["aggregateId"] for message in s.merchant.messages] == [str(other)]


# Not let through


def test_an_open_breaker_postpones_without_counting_an_attempt() -> None:
    with SystemUnderTest() as s:
        s.merchant.answers.extend([NotAttempted("circuit_open", 60_000)] * 30)
        payment_id = scenarios.paid(s)
        assert s.saga(payment_id).status == "completed"
        s.wait(timedelta(minutes=29, seconds=59))
        assert s.merchant.messages == []
        s.wait(timedelta(minutes=1))
        assert s.merchant.events_told == ["payment.completed"]
        [delivered] = [e for e in s.events() if e["type"] == "confirmation.delivered"]
        assert delivered["data"]["attempt"] == 1
        assert [e["type"] for e in s.events()].count("confirmation.postponed") == 1


def test_an_open_breaker_between_attempts_leaves_the_schedule_whole() -> None:
    with SystemUnderTest() as s:
        s.merchant.answers.extend([DOWN, NotAttempted("circuit_open", 60_000), *[DOWN] * 20])
        scenarios.paid(s)
        s.wait(timedelta(hours=100))
        assert len(attempts(s)) == len(RETRY_DELAYS) + 1
        assert [e["type"] for e in s.events()].count("confirmation.postponed") == 1


# Told again


def told_of(s: SystemUnderTest, payment_id: UUID) -> Confirmation:
    """The confirmation of a payment's completion."""
    version = s.payment(payment_id).version
    return s.applications.confirmations.get(Confirmation.create_id(payment_id, version))


def redeliver(s: SystemUnderTest, confirmation: Confirmation) -> None:
    with s.acting("operator"):
        s.applications.confirmations.redeliver(confirmation.id, "olga")


def test_an_endpoint_that_fails_twelve_times_is_given_up_and_served_when_it_is_asked_for() -> None:
    with SystemUnderTest() as s:
        s.merchant.answers.extend([Delivery(500, response_body="oops")] * 12)
        payment_id = scenarios.paid(s)
        s.wait(timedelta(hours=100))
        assert (told_of(s, payment_id).status, told_of(s, payment_id).attempts) == ("exhausted", 10)
        redeliver(s, told_of(s, payment_id))
        s.wait(timedelta(minutes=6))
        confirmation = told_of(s, payment_id)
        assert (confirmation.status, confirmation.attempts) == ("delivered", 13)
        assert s.merchant.events_told == ["payment.completed"]
        assert s.agenda.next_due_at() is None


def test_what_was_delivered_can_be_delivered_again() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.paid(s)
        redeliver(s, told_of(s, payment_id))
        s.run()
        assert s.merchant.events_told == ["payment.completed"] * 2
        assert s.merchant.messages[0] == s.merchant.messages[1]


def test_a_redelivery_does_not_wait_for_the_schedule_and_replaces_what_is_left_of_it() -> None:
    with SystemUnderTest() as s:
        s.merchant.answers.extend([DOWN] * 4)
        payment_id = scenarios.paid(s)
        s.wait(timedelta(hours=1))
        redeliver(s, told_of(s, payment_id))
        s.wait(timedelta(seconds=10))
        assert s.merchant.events_told == ["payment.completed"]
        s.wait(timedelta(hours=100))
        assert s.merchant.events_told == ["payment.completed"]


def test_a_redelivery_asked_for_during_an_attempt_is_not_lost() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.merchant_failing(s)
        s.clock.move_to(s.clock.now() + timedelta(seconds=6))
        sent = s.merchant.send

        def asked_meanwhile(*arguments: Any) -> Delivery:
            s.merchant.send = sent  # type: ignore[method-assign]
            redeliver(s, told_of(s, payment_id))
            s.follow()
            return DOWN

        s.merchant.send = asked_meanwhile  # type: ignore[method-assign]
        s.run()
        assert s.merchant.events_told == ["payment.completed"]
        assert told_of(s, payment_id).attempts == 3
        assert s.agenda.next_due_at() is None


def test_all_that_failed_is_told_again_but_not_what_was_delivered() -> None:
    with SystemUnderTest() as s:
        delivered = scenarios.paid(s)
        s.merchant.answers.extend([Delivery(410), *[DOWN] * 3])
        given_up, failing = scenarios.paid(s), scenarios.paid(s)
        s.wait(timedelta(minutes=10))
        log = s.applications.confirmations
        ids = [told_of(s, payment).id for payment in (delivered, given_up, failing)]
        with s.acting("operator"):
            assert log.redeliver_failed(lambda: ids, "olga") == 2
            assert log.redeliver_failed(lambda: ids, "olga") == 0
        s.run()
        told = [UUID(message["aggregateId"]) for message in s.merchant.messages]
        assert sorted(told) == sorted([delivered, given_up, failing])


# Shown


def test_the_view_shows_where_each_confirmation_stands_and_what_the_endpoint_said() -> None:
    with SystemUnderTest() as s:
        s.merchant.answers.append(Delivery(503, response_body="under repair"))
        payment_id = scenarios.paid(s)
        row = s.row("view_confirmations", told_of(s, payment_id).id)
        assert row is not None
        assert (row["status"], row["attempts"], row["event_type"]) == (
            "pending",
            1,
            "payment.completed",
        )
        assert (row["last_status_code"], row["last_error"]) == (503, "HTTP 503")
        assert row["last_response_body"] == "under repair"
        assert row["failed_at"] < row["next_attempt_at"]
        s.wait(timedelta(seconds=6))
        row = s.row("view_confirmations", told_of(s, payment_id).id)
        assert row is not None
        assert (row["status"], row["attempts"], row["next_attempt_at"]) == ("delivered", 2, None)
        assert row["failed_at"] is None


# Whatever is killed


@pytest.mark.parametrize("steps", range(0, 60, 2))
def test_a_process_that_ends_anywhere_before_the_first_attempt_loses_nothing(steps: int) -> None:
    """After some steps of single followers the process is gone; a new one goes on from what is
    recorded."""
    with SystemUnderTest() as s:
        payment_id = scenarios.opened(s)
        s.gateway.pay(payment_id)
        for step in range(steps):
            s.followings[step % len(s.followings)].advance()
        s.followings = [Following(each.follower, each.leader) for each in s.followings]
        s.run()
        assert s.merchant.events_told == ["payment.completed"]


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("is_sent", [False, True])
def test_a_process_that_ends_during_the_first_attempt_makes_it_again(is_sent: bool) -> None:
    with SystemUnderTest() as s:
        sent = s.merchant.send

        def dies(*arguments: Any) -> Delivery:
            s.merchant.send = sent  # type: ignore[method-assign]
            if is_sent:
                sent(*arguments)
            raise Killed

        s.merchant.send = dies  # type: ignore[method-assign]
        with pytest.raises(Killed):
            scenarios.paid(s)
        s.run()
        assert s.merchant.events_told == ["payment.completed"] * (2 if is_sent else 1)
