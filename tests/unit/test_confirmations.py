"""When merchants are told again."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.confirmations import (
    JITTER,
    RETRY_AFTER_MAX,
    RETRY_DELAYS,
    Delivery,
    next_attempt_at,
)
from domain.confirmation import Confirmation
from domain.event import PaymentEventType
from tests.unit.domain_kit import CALLBACK_URL, NOW, PAYMENT_ID, at

COMPLETED = PaymentEventType.PAYMENT_COMPLETED


def tried(times: int, payment_id: UUID = PAYMENT_ID) -> Confirmation:
    """A confirmation that failed so often already."""
    with at():
        confirmation = Confirmation.request(payment_id, 3, COMPLETED, CALLBACK_URL)
        for _ in range(times):
            confirmation.fail_attempt(500, "HTTP 500", NOW)
    return confirmation


@given(st.integers(0, len(RETRY_DELAYS) - 1), st.uuids())
def test_each_wait_is_the_schedules_with_at_most_a_tenth_more(times: int, payment_id: UUID) -> None:
    next_at = next_attempt_at(tried(times, payment_id), Delivery(500), NOW)
    assert next_at is not None
    assert RETRY_DELAYS[times] <= next_at - NOW <= RETRY_DELAYS[times] * (1 + JITTER)


def test_the_schedule_covers_75_hours() -> None:
    assert sum(RETRY_DELAYS, timedelta(0)) > timedelta(hours=75)


def test_after_the_last_wait_nothing_is_left_to_try() -> None:
    assert next_attempt_at(tried(len(RETRY_DELAYS)), Delivery(500), NOW) is None


@pytest.mark.parametrize("delivery", [Delivery(200), Delivery(204), Delivery(410)])
def test_a_success_and_a_410_end_it(delivery: Delivery) -> None:
    assert next_attempt_at(tried(0), delivery, NOW) is None


def test_a_replay_gives_the_same_times() -> None:
    assert next_attempt_at(tried(2), Delivery(500), NOW) == next_attempt_at(
        tried(2), Delivery(500), NOW
    )


def test_merchants_are_not_all_tried_at_the_same_moment() -> None:
    times = {next_attempt_at(tried(3, UUID(int=n)), Delivery(500), NOW) for n in range(20)}
    assert len(times) > 10


@given(st.timedeltas(min_value=timedelta(0)))
def test_retry_after_lengthens_a_wait_and_never_shortens_it(asked: timedelta) -> None:
    plain = next_attempt_at(tried(1), Delivery(503), NOW)
    delayed = next_attempt_at(tried(1), Delivery(503, retry_after=asked), NOW)
    assert plain is not None
    assert delayed == max(plain, NOW + min(asked, RETRY_AFTER_MAX))


def test_a_confirmation_ends_once() -> None:
    confirmation = tried(1)
    with at():
        confirmation.deliver(200)
        confirmation.deliver(200)
        confirmation.fail_attempt(500, "HTTP 500", None)
    assert confirmation.status == "delivered"
    assert confirmation.attempts == 2
    assert len(confirmation.pending_events) == 3


def test_every_event_of_a_confirmation_says_what_is_told() -> None:
    confirmation, given_up = tried(1), tried(0)
    with at():
        confirmation.deliver(200)
        given_up.fail_attempt(410, "HTTP 410", None)
    events: list[Any] = [*confirmation.pending_events, *given_up.pending_events]
    assert {event.told for event in events} == {COMPLETED}
    assert len(events) == 5


def test_there_is_one_confirmation_for_each_event() -> None:
    assert Confirmation.create_id(PAYMENT_ID, 3) == Confirmation.create_id(PAYMENT_ID, 3)
    assert Confirmation.create_id(PAYMENT_ID, 3) != Confirmation.create_id(PAYMENT_ID, 4)
