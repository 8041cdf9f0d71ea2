"""When a saga asks, repeats itself and gives up; and that it changes nothing when told twice."""

from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.payment import Failure
from domain.payment_saga import PaymentSaga
from domain.saga_decider import SagaDecider
from domain.saga_steps import COMPENSATIONS, Deadline, SagaTimings, Step
from tests.unit.domain_kit import NOW, PAGE_REF, PAYMENT_ID, SAR_10, at, report

TIMINGS = SagaTimings()
URL = "https://gateway.example/p"
REFUSED = Failure("gateway_refused", "No", "206")
TTL = TIMINGS.page_ttl


def begun() -> SagaDecider:
    """A saga that has asked for a page."""
    with at():
        saga = PaymentSaga.begin(PAYMENT_ID, SAR_10, NOW + TTL)
        decider = SagaDecider(saga, TIMINGS, "paytabs")
        decider.start()
    return decider


def waiting() -> SagaDecider:
    """A saga whose customer has the page."""
    decider = begun()
    with at():
        decider.page_opened(only_call(decider), PAGE_REF, URL)
    return decider


def only_call(decider: SagaDecider) -> UUID:
    """The id of the newest call."""
    return list(decider.saga.calls)[-1]


@given(st.integers(1, 10_000))
def test_retries_wait_longer_and_longer_up_to_a_limit(attempt: int) -> None:
    delay = TIMINGS.retry_delay(attempt)
    assert TIMINGS.retry_base <= delay <= TIMINGS.retry_max
    assert delay <= TIMINGS.retry_delay(attempt + 1)


@given(st.timedeltas(timedelta(0), timedelta(minutes=60)))
def test_the_next_reconciliation_is_always_ahead_and_never_misses_the_end(gone: timedelta) -> None:
    expires_at = NOW + TTL
    now = NOW + gone
    due_at = TIMINGS.next_reconciliation(NOW, expires_at, now)
    over_at = expires_at + TIMINGS.expiry_grace
    assert due_at > now
    assert due_at <= over_at or now >= over_at


def test_a_page_is_reconciled_after_a_minute_first() -> None:
    assert waiting().saga.deadlines == {Deadline.RECONCILE: NOW + timedelta(seconds=60)}


def test_an_answer_that_nobody_awaits_changes_nothing() -> None:
    decider = waiting()
    call_id = only_call(decider)
    count = len(decider.saga.pending_events)
    with at():
        decider.page_opened(call_id, "TST9", URL)
        decider.call_refused(call_id, REFUSED, None)
        decider.call_lost(call_id)
        decider.reports_received(UUID(int=9), [report()])
    assert len(decider.saga.pending_events) == count


def test_a_deadline_that_was_put_off_does_nothing_when_it_comes() -> None:
    decider = waiting()
    count = len(decider.saga.pending_events)
    with at(NOW + timedelta(seconds=59)):
        decider.reach_deadline(Deadline.RECONCILE)
    with at(NOW + timedelta(hours=9)):
        decider.reach_deadline(Deadline.LATE_MONEY)
    assert len(decider.saga.pending_events) == count


@pytest.mark.parametrize("retry_after_ms", [0, 500, 30_000])
def test_a_full_gateway_is_asked_again_with_a_fresh_cart(retry_after_ms: int) -> None:
    decider = begun()
    with at():
        decider.call_refused(only_call(decider), REFUSED, retry_after_ms)
    call = decider.saga.calls[only_call(decider)]
    assert call.cart_id == f"{PAYMENT_ID}-a2"
    assert call.due_at - NOW == max(TIMINGS.retry_base, timedelta(milliseconds=retry_after_ms))


def test_a_page_request_and_all_that_asks_after_it_end_with_the_payments_patience() -> None:
    decider = begun()
    with at():
        decider.call_lost(only_call(decider))
        decider.call_lost(only_call(decider))
    assert {call.not_after for call in decider.saga.calls.values()} == {NOW + TTL}


def test_a_saga_that_hears_the_merchant_was_told_before_the_payment_completed_still_ends() -> None:
    decider = waiting()
    with at():
        decider.notified(UUID(int=1), report())
        decider.merchant_told()
        assert decider.saga.status == "running"
        decider.payment_completed(is_told=True)
    assert decider.saga.status == "completed"


def test_a_saga_that_hears_the_merchant_was_told_of_a_cancel_first_never_completes() -> None:
    decider = waiting()
    with at():
        decider.notified(UUID(int=1), report())
        decider.merchant_told(is_closed=True)
        decider.notified(UUID(int=2), report())
        assert decider.saga.status == "compensating"
        decider.payment_closed("requested", is_told=True)
    kinds = [type(event) for event in decider.saga.pending_events]
    assert PaymentSaga.Completed not in kinds
    assert kinds.count(PaymentSaga.CompensationStarted) == 1


def test_a_saga_does_not_complete_before_its_payment_has_taken_the_money() -> None:
    decider = waiting()
    with at():
        decider.notified(UUID(int=1), report())
        decider.merchant_told()
        decider.notified(UUID(int=2), report())
        assert decider.saga.status == "running"
        decider.payment_completed(is_told=True)
    assert decider.saga.status == "completed"


def test_a_client_that_cancels_twice_compensates_once() -> None:
    decider = waiting()
    with at():
        decider.payment_closed("requested", is_told=False)
        count = len(decider.saga.pending_events)
        decider.payment_closed("requested", is_told=False)
    assert len(decider.saga.pending_events) == count
    assert decider.saga.status == "compensated"


def test_a_cancelled_page_that_was_given_out_is_watched_for_late_money() -> None:
    decider = waiting()
    with at():
        decider.payment_closed("requested", is_told=False)
    assert decider.saga.deadlines == {Deadline.LATE_MONEY: NOW + TIMINGS.late_money_after}


def test_every_step_that_leaves_a_trace_has_something_that_undoes_it() -> None:
    assert set(Step) - set(COMPENSATIONS) == {Step.AWAIT_CUSTOMER, Step.CONFIRM}
