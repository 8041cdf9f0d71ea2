"""Bugs that the simulation found when it asked whether an operator can end what is parked, and
when it was made harder: each as the shortest story in which it showed."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import pytest
from eventsourcing.persistence import IntegrityError

from application.payment_gateway import Outcome, Succeeded
from domain.gateway_report import TransactionKind, TransactionStatus
from domain.saga_steps import SagaStatus
from system.following import Following
from system.testing import SystemUnderTest
from tests.simulation.money_kit import DAY, assert_ended, moves, opened, paid, sar


@pytest.fixture
def s() -> Iterator[SystemUnderTest]:
    with SystemUnderTest(seed=9) as system:
        yield system


def paid_with_more(answer: Outcome) -> Outcome:
    """A false answer: a payment of 10.00 was paid with 30.00."""
    assert isinstance(answer, Succeeded)
    done = TransactionStatus.AUTHORISED
    reports = [replace(r, status=done, amount=sar("30.00")) for r in answer.reports]
    return replace(answer, reports=tuple(reports))


def parked_for_a_false_answer(s: SystemUnderTest, payment_id: UUID) -> None:
    """A forged callback makes us ask about the page, and the gateway's answer is false."""
    unclear = replace(s.gateway.page_of(payment_id), status=TransactionStatus.UNKNOWN)
    s.gateway.fall_ill(1, paid_with_more)
    s.receive(unclear)
    s.run()
    assert s.saga(payment_id).status is SagaStatus.PARKED


def paid_with_another_amount(s: SystemUnderTest) -> UUID:
    """The gateway's books really say that a payment of 10.00 was paid with 30.00."""
    payment_id = opened(s)
    s.gateway.asked[s.gateway.page_of(payment_id).transaction_ref] = sar("30.00")
    s.gateway.pay(payment_id)
    s.run()
    assert s.saga(payment_id).status is SagaStatus.PARKED
    return payment_id


def test_what_was_never_paid_is_not_given_back_for_an_answer_that_was_false_once(
    s: SystemUnderTest,
) -> None:
    payment_id = opened(s, "manual")
    s.gateway.decline(payment_id)
    s.run()
    parked_for_a_false_answer(s, payment_id)

    s.compensate(payment_id)
    s.run()

    assert_ended(s, payment_id, "failed", "0")
    assert moves(s, TransactionKind.VOID) == []


def test_a_captured_authorization_is_not_let_go_for_an_answer_that_was_false_once(
    s: SystemUnderTest,
) -> None:
    payment_id = paid(s, "manual")
    s.capture_payment(payment_id)
    s.run()
    parked_for_a_false_answer(s, payment_id)

    s.compensate(payment_id)
    s.run()

    assert_ended(s, payment_id, "completed", "10.00")
    assert moves(s, TransactionKind.RELEASE) == []


def test_what_a_completed_payment_took_is_never_given_back_for_a_doubt(
    s: SystemUnderTest,
) -> None:
    payment_id = paid(s)
    parked_for_a_false_answer(s, payment_id)
    s.gateway.fall_ill(1, paid_with_more)

    s.compensate(payment_id)
    s.run()

    assert s.saga(payment_id).status is SagaStatus.PARKED
    assert moves(s, TransactionKind.REFUND) == []


def test_of_doubted_money_only_the_rest_goes_back_after_a_refund_in_the_dashboard(
    s: SystemUnderTest,
) -> None:
    payment_id = paid_with_another_amount(s)
    s.gateway.refund_in_dashboard(payment_id, sar("4.00"))
    s.wait(40 * DAY)

    s.compensate(payment_id)
    s.run()

    assert_ended(s, payment_id, "cancelled", "0")


def test_a_refund_refused_as_a_whole_is_asked_for_again_for_the_rest(s: SystemUnderTest) -> None:
    payment_id = paid_with_another_amount(s)
    told = s.gateway.notify
    s.gateway.notify = lambda report: None
    s.gateway.refund_in_dashboard(payment_id, sar("4.00"))
    s.gateway.notify = told

    s.compensate(payment_id)
    s.run()

    assert_ended(s, payment_id, "cancelled", "0")


def lose_sight(s: SystemUnderTest, payment_id: UUID) -> None:
    """For a day the gateway's queries find nothing of a payment."""
    s.gateway.hide(lambda report: report in s.gateway.of(payment_id), DAY)


def test_a_dashboard_refund_that_the_gateway_loses_sight_of_is_not_forgotten(
    s: SystemUnderTest,
) -> None:
    payment_id = paid(s)
    lose_sight(s, payment_id)

    s.gateway.refund_in_dashboard(payment_id, sar("4.00"))
    s.wait(3 * DAY)

    assert s.payment(payment_id).amount_refunded == sar("4.00")


def test_a_hold_released_in_part_that_the_gateway_loses_sight_of_is_not_kept(
    s: SystemUnderTest,
) -> None:
    payment_id = opened(s)
    lose_sight(s, payment_id)
    s.gateway.hold(payment_id)

    s.gateway.release(payment_id, sar("4.00"))
    s.wait(3 * DAY)

    assert_ended(s, payment_id, "cancelled", "0")


def test_what_the_gateway_never_finds_is_asked_about_for_days_and_not_for_ever(
    s: SystemUnderTest,
) -> None:
    payment_id = paid(s)
    page = s.gateway.page_of(payment_id)
    lie = replace(
        page,
        kind=TransactionKind.REFUND,
        transaction_ref="TST9999999999999",
        previous_ref=page.transaction_ref,
    )

    s.receive(lie)
    s.wait(30 * DAY)
    asked = len(s.saga(payment_id).calls)
    s.wait(30 * DAY)

    assert_ended(s, payment_id, "completed", "10.00")
    assert len(s.saga(payment_id).calls) == asked


def test_a_capture_in_the_dashboard_may_be_heard_of_before_what_it_takes(
    s: SystemUnderTest,
) -> None:
    payment_id = opened(s, "manual")
    told = s.gateway.notify
    s.gateway.notify = lambda report: None
    s.gateway.pay(payment_id)
    s.gateway.notify = told

    s.gateway.capture_in_dashboard(payment_id, sar("4.00"))
    s.wait(8 * DAY)

    assert_ended(s, payment_id, "completed", "4.00")


def test_a_payment_captured_in_the_dashboard_at_once_is_not_taken_for_a_voided_one(
    s: SystemUnderTest,
) -> None:
    payment_id = opened(s, "manual")
    s.gateway.pay(payment_id)
    s.gateway.capture_in_dashboard(payment_id, sar("10.00"))
    s.run()

    assert_ended(s, payment_id, "completed", "10.00")


def test_what_the_dashboard_captured_of_a_cancelled_payment_goes_back_and_the_rest_is_let_go(
    s: SystemUnderTest,
) -> None:
    payment_id = paid(s, "manual")
    s.cancel_payment(payment_id)
    s.gateway.capture_in_dashboard(payment_id, sar("4.00"))

    s.wait(8 * DAY)

    assert_ended(s, payment_id, "cancelled", "0")


def test_what_the_dashboard_captures_while_we_let_the_rest_go_goes_back(
    s: SystemUnderTest,
) -> None:
    payment_id = paid(s, "manual")
    s.capture_payment(payment_id, sar("4.00"))
    s.follow()
    s.work_once()
    s.gateway.capture_in_dashboard(payment_id, sar("2.00"))

    s.wait(8 * DAY)

    assert_ended(s, payment_id, "completed", "4.00")


def test_an_authorization_voided_while_it_is_captured_closes_its_payment(
    s: SystemUnderTest,
) -> None:
    payment_id = paid(s, "manual")
    s.capture_payment(payment_id)
    s.follow()

    s.gateway.void_in_dashboard(payment_id, sar("10.00"))
    s.run()

    assert s.payment(payment_id).status == "cancelled"
    assert s.saga(payment_id).status is SagaStatus.COMPENSATED


def test_a_follower_thought_dead_takes_nothing_in_for_a_second_time(s: SystemUnderTest) -> None:
    payment_id = paid(s)
    [living] = [
        following
        for following in s.followings
        if (following.follower.name, following.leader.name) == ("PaymentSagas", "Payments")
    ]
    thought_dead = Following(living.follower, living.leader)
    assert thought_dead.position == living.position
    s.refund_payment(payment_id, sar("4.00"))
    s.run()
    s.refund_payment(payment_id, sar("1.00"))

    with pytest.raises(IntegrityError):
        thought_dead.advance()
    s.run()

    assert s.gateway.net_of(payment_id) == Decimal("5.00")
