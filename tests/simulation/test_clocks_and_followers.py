"""Clocks go back, workers are late, followers are overtaken: nothing is lost or done twice."""

from datetime import timedelta
from decimal import Decimal

import pytest
from eventsourcing.persistence import IntegrityError

from domain.saga_steps import SagaStatus
from system.following import Following
from system.testing import SystemUnderTest
from tests.simulation.money_kit import CALLBACK_URL, DAY, MINUTE, TIME_OUT, sar
from tests.simulation.saga_kit import HOUR, circuit_open_for, opened, paid

# Time


def test_a_deadline_is_not_lost_when_the_clock_is_put_back_after_its_claim(
    s: SystemUnderTest,
) -> None:
    payment_id = opened(s)
    due_at = s.next_due_at()
    assert due_at is not None
    s.clock.move_to(due_at)
    [work_id] = s.agenda.due(due_at)
    item = s.agenda.claim(work_id)

    s.clock.jump_back(timedelta(seconds=3))
    s.handlers[item.kind](item)
    s.wait(HOUR)

    assert s.payment(payment_id).status == "cancelled"


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


def test_a_question_that_came_too_late_to_be_put_is_put_anew(s: SystemUnderTest) -> None:
    s.gateway.fall_ill(1, TIME_OUT, is_done=True)
    payment_id = opened(s)
    s.gateway.defer(payment_id)
    s.run()
    s.gateway.fall_ill(1, during=circuit_open_for(HOUR))
    s.wait(MINUTE / 2)

    s.gateway.settle_deferred(payment_id, silently=True)
    s.wait(3 * DAY)

    assert s.payment(payment_id).status == "completed"


# Followers


def test_a_merchant_may_be_told_before_the_saga_has_begun(s: SystemUnderTest) -> None:
    payment_id = s.create_payment("10.00", "SAR", "Tea", callback_url=CALLBACK_URL)
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


def test_a_follower_thought_dead_takes_nothing_in_for_a_second_time(s: SystemUnderTest) -> None:
    payment_id = paid(s, callback_url=CALLBACK_URL)
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
