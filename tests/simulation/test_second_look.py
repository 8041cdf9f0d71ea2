"""Bugs that a reader found where the simulation was blind, each as a short story."""

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest

from application.payment_gateway import Refusal, Refused, Unknown
from domain.gateway_report import GatewayReport, TransactionKind
from domain.money import Money, money
from system.testing import SystemUnderTest

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
TIME_OUT = Unknown("time-out")
NO_BALANCE = Refused(Refusal.INVALID_REQUEST, "342", "Refund balance exceeded")


@pytest.fixture
def s() -> Iterator[SystemUnderTest]:
    with SystemUnderTest(seed=9) as system:
        yield system


def sar(amount: str) -> Money:
    return money(amount, "SAR")


def opened(s: SystemUnderTest, capture_method: str = "automatic") -> UUID:
    payment_id = s.create_payment("10.00", "SAR", "Tea", capture_method=capture_method)
    s.run()
    return payment_id


def paid(s: SystemUnderTest, capture_method: str = "automatic") -> UUID:
    payment_id = opened(s, capture_method)
    s.gateway.pay(payment_id)
    s.run()
    return payment_id


def refunds(s: SystemUnderTest, payment_id: UUID) -> list[GatewayReport]:
    return [r for r in s.gateway.of(payment_id) if r.kind is TransactionKind.REFUND]


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
