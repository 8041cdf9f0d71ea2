"""Money that cannot be believed, and a gateway that never answers one question."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from application.payment_gateway import Unknown
from domain.money import money
from domain.saga_steps import SagaTimings
from system.testing import SystemUnderTest


def paid_less(s: SystemUnderTest, payment_id: UUID) -> None:
    """The gateway takes 9.00 of the 10.00 and says so."""
    page = s.gateway.page_of(payment_id)
    s.gateway.pay(payment_id, silently=True)
    report = s.gateway.transactions[page.transaction_ref]
    odd = replace(report, amount=money("9.00", "SAR"))
    s.gateway.transactions[page.transaction_ref] = odd
    s.receive(odd)
    s.run()


@pytest.mark.parametrize("is_cancelled_before", [False, True])
def test_an_operator_who_gives_a_payment_up_gives_odd_money_back_as_it_came(
    is_cancelled_before: bool,
) -> None:
    with SystemUnderTest() as s:
        payment_id = s.create_payment("10.00", "SAR", "Tea")
        s.run()
        if is_cancelled_before:
            s.cancel_payment(payment_id)
            s.run()
        paid_less(s, payment_id)
        assert s.saga(payment_id).status == "parked"
        with s.acting("operator"):
            s.applications.sagas.compensate(s.saga(payment_id).id, "olga")
        s.wait(timedelta(days=40))
        assert s.payment(payment_id).status == "cancelled"
        assert s.saga(payment_id).status == "compensated"
        assert s.gateway.net_of(payment_id) == Decimal("0.00")


def test_a_question_that_is_never_answered_is_asked_ever_more_rarely() -> None:
    timings = SagaTimings(retry_base=timedelta(milliseconds=200), retry_max=timedelta(seconds=10))
    with SystemUnderTest(timings=timings) as s:
        payment_id = s.create_payment("10.00", "SAR", "Tea")
        s.run()
        s.gateway.fall_ill(10**9, Unknown("unreadable"))
        s.wait(timedelta(days=1))
        in_a_day = s.saga(payment_id).version
        s.wait(timedelta(days=3))
        assert in_a_day < 80
        assert s.saga(payment_id).version <= in_a_day + 12
