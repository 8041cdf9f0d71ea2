"""Each bug that the simulation found, as the shortest story in which it showed."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from uuid import UUID

import pytest

from application.payment_gateway import NotAttempted, Outcome, Succeeded
from domain.gateway_report import (
    GatewayReport,
    TransactionKind,
    TransactionStatus,
    cart_id_for,
)
from domain.payment_saga import PaymentSaga
from domain.saga_steps import SagaStatus, Step
from domain.security_incident import SecurityIncident
from system.testing import SystemUnderTest
from tests.simulation import money_kit
from tests.simulation.money_kit import DAY, INVALID, MINUTE, TIME_OUT, sar


@pytest.fixture
def s() -> Iterator[SystemUnderTest]:
    with SystemUnderTest(seed=9) as system:
        yield system


opened = partial(money_kit.opened, callback_url=None)
paid = partial(money_kit.paid, callback_url=None)


def with_two_pages(s: SystemUnderTest, capture_method: str = "automatic") -> UUID:
    """The answer to the first request for a page is lost, so that a second page is opened."""
    s.gateway.fall_ill(1, TIME_OUT, is_done=True)
    payment_id = opened(s, capture_method)
    s.wait(MINUTE / 2)
    return payment_id


def garbled_status(answer: Outcome) -> Outcome:
    assert isinstance(answer, Succeeded)
    unknown = TransactionStatus.UNKNOWN
    return replace(answer, reports=tuple(replace(r, status=unknown) for r in answer.reports))


def done_with_more(answer: Outcome) -> Outcome:
    """A false answer: it was done, with another amount."""
    assert isinstance(answer, Succeeded)
    done = TransactionStatus.AUTHORISED
    reports = [replace(r, status=done, amount=sar("30.00")) for r in answer.reports]
    return replace(answer, reports=tuple(reports))


def undone(s: SystemUnderTest, payment_id: UUID) -> list[Step]:
    history = s.applications.sagas.history(s.saga(payment_id).id)
    return [event.step for event in history if isinstance(event, PaymentSaga.StepCompensated)]


def test_returned_money_is_a_step_undone_before_the_record_is_closed(s: SystemUnderTest) -> None:
    payment_id = paid(s, "manual")

    s.wait(8 * DAY)

    assert undone(s, payment_id) == [Step.SETTLE, Step.OPEN_AT_GATEWAY, Step.CREATE_RECORD]


def test_a_payment_is_not_closed_while_its_authorization_cannot_be_let_go(
    s: SystemUnderTest,
) -> None:
    payment_id = paid(s, "manual")
    s.wait(6 * DAY)
    s.gateway.fall_ill(1, INVALID)

    s.wait(2 * DAY)

    assert s.saga(payment_id).status is SagaStatus.PARKED
    assert s.payment(payment_id).status == "authorized"
    s.retry(payment_id)
    s.run()
    assert s.payment(payment_id).status == "cancelled"
    assert s.gateway.held_of(payment_id) == 0


def test_a_repeated_refund_of_a_compensation_ends_it(s: SystemUnderTest) -> None:
    payment_id = opened(s)
    s.cancel_payment(payment_id)
    s.run()
    s.gateway.fall_ill(1, TIME_OUT, is_done=False)
    s.gateway.pay(payment_id)

    s.wait(20 * MINUTE)

    assert s.saga(payment_id).status is SagaStatus.COMPENSATED
    assert not s.saga(payment_id).follow_ups_under_way


def test_a_repetition_is_not_sent_when_the_first_attempt_is_heard_of_in_time(
    s: SystemUnderTest,
) -> None:
    payment_id = paid(s)
    s.gateway.fall_ill(1, TIME_OUT, is_done=True)
    s.refund_payment(payment_id, sar("4.00"))
    s.run()
    [refund] = [r for r in s.gateway.of(payment_id) if r.kind is TransactionKind.REFUND]
    hidden = s.gateway.transactions[refund.transaction_ref]
    s.gateway.transactions[refund.transaction_ref] = replace(hidden, cart_id="not yet shown")
    s.wait(2 * MINUTE)
    for _ in range(10):
        s.clock.move_to(s.next_due_at() or s.clock.now())
        s.work_once()
        s.follow()
        if s.saga(payment_id).awaits(list(s.saga(payment_id).calls)[-1]):
            newest = list(s.saga(payment_id).calls.values())[-1]
            if newest.refund_id:
                break
    else:
        pytest.fail("the refund was not to be repeated")
    s.gateway.transactions[refund.transaction_ref] = hidden

    s.receive(hidden)
    s.follow()
    s.run()

    assert s.gateway.net_of(payment_id) == Decimal("6.00")


def test_proof_counts_from_when_the_call_was_lost_not_from_when_it_was_due(
    s: SystemUnderTest,
) -> None:
    payment_id = paid(s)
    s.gateway.fall_ill(1, TIME_OUT, done_after=timedelta(seconds=150))
    s.refund_payment(payment_id, sar("4.00"))
    s.follow()
    s.clock.move_to(s.clock.now() + 10 * MINUTE)

    s.wait(10 * MINUTE)

    assert s.gateway.net_of(payment_id) == Decimal("6.00")


def test_a_partial_capture_of_a_cancelled_payment_leaves_nothing_on_hold(
    s: SystemUnderTest,
) -> None:
    payment_id = paid(s, "manual")
    s.gateway.fall_ill(1, TIME_OUT, is_done=True)
    s.capture_payment(payment_id, sar("6.00"))
    s.run()
    s.cancel_payment(payment_id)

    s.wait(10 * MINUTE)

    assert s.gateway.net_of(payment_id) == 0
    assert s.gateway.held_of(payment_id) == 0
    assert undone(s, payment_id)[:2] == [Step.CAPTURE, Step.SETTLE]


def test_every_reason_for_parking_is_kept_and_tried_again(s: SystemUnderTest) -> None:
    payment_id = with_two_pages(s)
    s.cancel_payment(payment_id)
    s.run()
    s.gateway.fall_ill(2, INVALID)
    for page in s.gateway.pages_of(payment_id):
        s.gateway.pay(payment_id, transaction_ref=page.transaction_ref)
    s.run()
    assert s.saga(payment_id).status is SagaStatus.PARKED
    row = s.row("view_sagas", s.saga(payment_id).id)
    assert row is not None
    assert row["parked_detail"]

    s.retry(payment_id)
    s.run()

    assert s.saga(payment_id).status is SagaStatus.COMPENSATED
    assert s.gateway.net_of(payment_id) == 0
    assert row["parked_detail"] is None


def test_a_capture_of_a_payment_that_is_being_given_up_is_refused(s: SystemUnderTest) -> None:
    payment_id = paid(s, "manual")
    s.wait(6 * DAY)
    s.gateway.fall_ill(1, INVALID)
    s.wait(2 * DAY)

    s.capture_payment(payment_id)
    s.run()

    assert s.payment(payment_id).capture_pending is None


def test_a_callback_of_another_kind_is_no_proof_that_a_refund_never_happened(
    s: SystemUnderTest,
) -> None:
    payment_id = paid(s)
    s.gateway.follow_up_status = TransactionStatus.PENDING
    s.refund_payment(payment_id, sar("4.00"))
    s.run()
    page = s.gateway.page_of(payment_id)
    cart_id = cart_id_for(payment_id, "r", 1)

    for amount in ("1.00", "2.00", "4.00"):
        s.receive(replace(page, cart_id=cart_id, amount=sar(amount)))
        s.wait(5 * MINUTE)

    refunds = [r for r in s.gateway.of(payment_id) if r.kind is TransactionKind.REFUND]
    assert len(refunds) == 1
    assert len(list(s.applications.operations.all())) == 3


def test_a_wrong_amount_in_the_callback_of_a_refund_is_a_security_event(s: SystemUnderTest) -> None:
    payment_id = paid(s)
    s.refund_payment(payment_id, sar("4.00"))
    s.run()
    [refund] = [r for r in s.gateway.of(payment_id) if r.kind is TransactionKind.REFUND]

    s.receive(replace(refund, amount=sar("9.00")))
    s.run()

    incidents = list(s.applications.operations.all())
    assert [type(incident) for incident in incidents] == [SecurityIncident.Recorded]
    assert s.payment(payment_id).amount_refunded == sar("4.00")


def test_a_merchant_may_be_told_before_the_saga_has_begun(s: SystemUnderTest) -> None:
    payment_id = s.create_payment(
        "10.00", "SAR", "Tea", callback_url="https://merchant.example.com/told"
    )
    s.cancel_payment(payment_id)
    sagas = [f for f in s.followings if f.follower.name == "PaymentSagas"]
    others = [f for f in s.followings if f.follower.name != "PaymentSagas"]
    for _ in range(3):
        for following in others:
            following.advance()
    assert s.work_once()

    [on_confirmations] = [f for f in sagas if f.leader.name == "Confirmations"]
    while on_confirmations.advance():
        continue
    s.run()

    assert s.saga(payment_id).status is SagaStatus.COMPENSATED


def test_a_dashboard_refund_of_a_capture_is_not_taken_for_the_capture(s: SystemUnderTest) -> None:
    payment_id = paid(s, "manual")
    s.capture_payment(payment_id, sar("6.00"))
    s.run()

    s.gateway.refund_in_dashboard(payment_id, sar("2.00"))
    s.run()

    assert s.payment(payment_id).amount_refunded == sar("2.00")
    assert not list(s.applications.operations.all())


def test_a_dashboard_refund_may_be_heard_of_before_the_payment(s: SystemUnderTest) -> None:
    payment_id = opened(s)
    s.gateway.pay(payment_id, silently=True)

    s.gateway.refund_in_dashboard(payment_id, sar("3.00"))
    s.wait(5 * MINUTE)

    assert s.payment(payment_id).status == "completed"
    assert s.payment(payment_id).amount_refunded == sar("3.00")


def test_a_dashboard_refund_whose_status_is_unreadable_once_is_asked_after_again(
    s: SystemUnderTest,
) -> None:
    payment_id = paid(s)
    s.gateway.fall_ill(1, garbled_status)

    s.gateway.refund_in_dashboard(payment_id, sar("3.00"))
    s.wait(5 * MINUTE)

    assert s.payment(payment_id).amount_refunded == sar("3.00")


def test_a_dashboard_refund_never_reopens_a_cancelled_payment(s: SystemUnderTest) -> None:
    payment_id = opened(s)
    s.cancel_payment(payment_id)
    s.run()
    s.gateway.fall_ill(1, INVALID)
    s.gateway.pay(payment_id)
    s.run()

    s.gateway.refund_in_dashboard(payment_id, sar("4.00"))
    s.run()

    assert s.payment(payment_id).status == "cancelled"
    assert s.saga(payment_id).status is SagaStatus.COMPENSATED
    assert s.gateway.net_of(payment_id) == 0


def test_a_dashboard_refund_while_a_capture_is_in_doubt_is_not_forgotten(
    s: SystemUnderTest,
) -> None:
    payment_id = paid(s, "manual")
    s.gateway.fall_ill(4, garbled_status)
    s.capture_payment(payment_id)
    s.run()

    s.gateway.refund_in_dashboard(payment_id, sar("3.00"))
    s.wait(DAY)
    s.retry(payment_id)
    s.wait(2 * DAY)

    assert s.payment(payment_id).status == "completed"
    assert s.payment(payment_id).amount_refunded == sar("3.00")


def test_money_on_another_page_does_not_end_a_doubt(s: SystemUnderTest) -> None:
    payment_id = with_two_pages(s)
    first, second = s.gateway.pages_of(payment_id)
    s.gateway.fall_ill(1, garbled_status)
    s.gateway.pay(payment_id, transaction_ref=first.transaction_ref, silently=True)
    forged = replace(first, status=TransactionStatus.UNKNOWN)
    s.receive(forged)
    s.follow()
    s.work_once()
    s.follow()

    s.gateway.pay(payment_id, transaction_ref=second.transaction_ref)
    s.wait(2 * DAY)

    assert s.payment(payment_id).status == "completed"
    assert s.gateway.net_of(payment_id) == Decimal("10.00")


def test_a_page_held_before_the_saga_knew_it_is_watched(s: SystemUnderTest) -> None:
    s.gateway.fall_ill(1, TIME_OUT, is_done=True)
    payment_id = opened(s)
    s.gateway.hold(payment_id)
    s.run()
    s.cancel_payment(payment_id)
    s.wait(DAY)

    s.gateway.release(payment_id, silently=True)
    s.wait(2 * DAY)

    assert s.payment(payment_id).status == "cancelled"
    assert s.gateway.net_of(payment_id) == 0


def test_a_hold_heard_of_after_a_cancel_is_watched(s: SystemUnderTest) -> None:
    payment_id = opened(s)
    s.cancel_payment(payment_id)
    s.wait(2 * 60 * MINUTE)
    s.gateway.hold(payment_id)
    s.run()

    s.gateway.release(payment_id, silently=True)
    s.wait(2 * DAY)

    assert s.payment(payment_id).status == "cancelled"
    assert s.gateway.net_of(payment_id) == 0


def test_the_other_page_is_watched_after_one_was_paid(s: SystemUnderTest) -> None:
    payment_id = with_two_pages(s, "manual")
    first, second = s.gateway.pages_of(payment_id)
    s.gateway.pay(payment_id, transaction_ref=first.transaction_ref)
    s.gateway.pay(payment_id, transaction_ref=second.transaction_ref, silently=True)

    s.wait(2 * DAY)

    assert s.payment(payment_id).status == "authorized"
    assert s.gateway.held_of(payment_id) == Decimal("10.00")


def test_a_capture_in_part_of_a_page_the_saga_never_knew_is_believed_when_asked_after(
    s: SystemUnderTest,
) -> None:
    payment_id = with_two_pages(s)
    first, _ = s.gateway.pages_of(payment_id)
    s.gateway.transactions[first.transaction_ref] = replace(
        first, status=TransactionStatus.ON_HOLD, kind=TransactionKind.AUTHORIZATION
    )

    s.gateway.release(payment_id, sar("7.00"))
    s.run()

    assert s.payment(payment_id).status == "completed"
    assert s.payment(payment_id).amount_captured == sar("7.00")


def test_a_released_hold_is_not_watched_any_more(s: SystemUnderTest) -> None:
    payment_id = opened(s)
    s.gateway.hold(payment_id)
    s.run()
    s.gateway.release(payment_id, sar("7.00"))
    s.run()
    asked = len(s.saga(payment_id).calls)

    s.wait(5 * DAY)

    assert len(s.saga(payment_id).calls) == asked


def circuit_open_for_an_hour() -> None:
    raise NotAttempted("open", 3_600_000)


def test_a_question_that_came_too_late_to_be_put_is_put_anew(s: SystemUnderTest) -> None:
    s.gateway.fall_ill(1, TIME_OUT, is_done=True)
    payment_id = opened(s)
    s.gateway.defer(payment_id)
    s.run()
    s.gateway.fall_ill(1, during=circuit_open_for_an_hour)
    s.wait(MINUTE / 2)

    s.gateway.settle_deferred(payment_id, silently=True)
    s.wait(3 * DAY)

    assert s.payment(payment_id).status == "completed"


def test_a_rest_that_the_gateway_will_not_let_go_needs_a_person(s: SystemUnderTest) -> None:
    payment_id = paid(s, "manual")
    s.gateway.fall_ill(1, lambda answer: answer)
    s.gateway.fall_ill(1, INVALID)

    s.capture_payment(payment_id, sar("6.00"))
    s.run()

    assert s.payment(payment_id).status == "completed"
    assert s.saga(payment_id).status is SagaStatus.PARKED
    s.retry(payment_id)
    s.run()
    assert s.saga(payment_id).status is SagaStatus.COMPLETED
    assert s.gateway.held_of(payment_id) == 0


def test_an_authorization_voided_in_the_dashboard_closes_its_payment(s: SystemUnderTest) -> None:
    payment_id = paid(s, "manual")

    s.gateway.void_in_dashboard(payment_id, sar("10.00"))
    s.run()

    assert s.payment(payment_id).status == "cancelled"
    assert s.payment(payment_id).cancellation_reason == "voided_at_gateway"
    assert s.saga(payment_id).status is SagaStatus.COMPENSATED


def test_of_an_authorization_released_in_part_only_the_rest_is_let_go(s: SystemUnderTest) -> None:
    payment_id = paid(s, "manual")
    s.gateway.void_in_dashboard(payment_id, sar("3.00"))
    s.run()

    s.capture_payment(payment_id, sar("6.00"))
    s.run()

    assert s.saga(payment_id).status is SagaStatus.COMPLETED
    assert s.gateway.held_of(payment_id) == 0


def test_a_void_in_the_dashboard_ends_what_was_parked_for_it(s: SystemUnderTest) -> None:
    payment_id = paid(s, "manual")
    s.gateway.fall_ill(1, INVALID)
    s.cancel_payment(payment_id)
    s.run()
    assert s.saga(payment_id).status is SagaStatus.PARKED

    s.gateway.void_in_dashboard(payment_id, sar("10.00"))
    s.run()

    assert s.saga(payment_id).status is SagaStatus.COMPENSATED


def test_a_void_in_the_dashboard_does_not_leave_our_own_in_the_dark(s: SystemUnderTest) -> None:
    payment_id = paid(s, "manual")
    late: list[GatewayReport] = []
    s.gateway.notify = late.append
    s.gateway.void_in_dashboard(payment_id, sar("10.00"))
    s.gateway.fall_ill(1, TIME_OUT, is_done=True)
    s.gateway.fall_ill(3, done_with_more)
    s.cancel_payment(payment_id)
    s.wait(MINUTE * 5)
    assert s.saga(payment_id).status is SagaStatus.PARKED

    for report in late:
        s.receive(report)
    s.wait(DAY)

    assert s.saga(payment_id).status is SagaStatus.COMPENSATED
