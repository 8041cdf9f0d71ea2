"""Commands survive conflicts, and any past state can be had again."""

from datetime import timedelta
from uuid import UUID

import pytest
from eventsourcing.application import AggregateNotFoundError
from eventsourcing.persistence import IntegrityError

from application.event_log import CONFLICT_ATTEMPTS_MAX
from application.payments import NewPayment
from domain.event import current_context
from domain.keyed_request import IdempotencyKeyReused
from domain.money import money
from domain.payment import Payment
from system.testing import SystemUnderTest
from tests.simulation import scenarios

KEY = UUID("22222222-2222-4222-8222-222222222222")
TEA = NewPayment(money("10.00", "SAR"), "Tea", fingerprint="tea")


def test_a_command_that_lost_a_race_is_decided_anew() -> None:
    with SystemUnderTest() as s:
        payment_id, payments = scenarios.opened(s), s.applications.payments
        seen = []

        def decide(payment: Payment) -> None:
            seen.append(payment.status.value)
            if len(seen) == 1:
                payments.cancel(payment_id, "a rival was quicker")
            payment.cancel("too late")

        with s.acting("test"):
            payments.change(payment_id, decide)
        assert seen == ["processing", "cancelled"]
        assert payments.get(payment_id).cancellation_reason == "a rival was quicker"


def test_a_command_that_always_loses_gives_up() -> None:
    with SystemUnderTest() as s:
        payment_id, payments = scenarios.new_payment(s), s.applications.payments
        decided = []

        def decide(payment: Payment) -> None:
            decided.append(payment.version)
            rival = payments.get(payment_id)
            _touch(rival)
            payments.record(rival)
            _touch(payment)

        with s.acting("test"), pytest.raises(IntegrityError):
            payments.change(payment_id, decide)
        assert len(decided) == CONFLICT_ATTEMPTS_MAX
        assert decided == sorted(set(decided))


def _touch(payment: Payment) -> None:
    payment.trigger_event(
        Payment.Processing,
        transaction_ref="TST1",
        gateway_provider="paytabs",
        page_url=None,
        page_expires_at=current_context().now,
    )


def test_the_same_key_and_request_meet_the_same_payment() -> None:
    with SystemUnderTest() as s, s.acting("test"):
        first, was_there = s.applications.payments.initiate(TEA, KEY)
        again, was_there_again = s.applications.payments.initiate(TEA, KEY)
        assert (was_there, was_there_again) == (False, True)
        assert first.id == again.id == KEY
        assert len(s.applications.payments.history(KEY)) == 1


def test_the_same_key_for_another_request_is_refused() -> None:
    with SystemUnderTest() as s, s.acting("test"):
        s.applications.payments.initiate(TEA, KEY)
        coffee = NewPayment(money("10.00", "SAR"), "Coffee", fingerprint="coffee")
        with pytest.raises(IdempotencyKeyReused):
            s.applications.payments.initiate(coffee, KEY)


def test_a_payment_can_be_seen_as_it_was_at_any_version() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.paid(s)
        payments = s.applications.payments
        statuses = [payments.get(payment_id, version=n).status for n in (1, 2, 3)]
        assert statuses == ["initiated", "processing", "completed"]


def test_a_payment_can_be_seen_as_it_was_at_any_moment() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.paid(s)
        payments = s.applications.payments
        for event in payments.history(payment_id):
            seen = payments.get_as_of(payment_id, event.timestamp)
            assert seen.version == event.originator_version
        assert payments.get_as_of(payment_id, s.clock.now()).version == 3


def test_before_its_first_event_there_was_no_payment() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.paid(s)
        before = s.applications.payments.history(payment_id)[0].timestamp - timedelta(seconds=1)
        with pytest.raises(AggregateNotFoundError):
            s.applications.payments.get_as_of(payment_id, before)


def test_an_event_outside_any_context_is_refused() -> None:
    with SystemUnderTest() as s:
        with pytest.raises(LookupError):
            s.applications.payments.initiate(TEA)
        assert list(s.applications.payments.all()) == []


def test_reading_a_log_in_pages_misses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("application.event_log.NOTIFICATIONS_MAX", 3)
    with SystemUnderTest() as s:
        for _ in range(10):
            scenarios.new_payment(s)
        assert len({event.originator_id for event in s.applications.payments.all()}) == 10
