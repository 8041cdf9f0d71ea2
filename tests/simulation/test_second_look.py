"""Bugs that a reader found where the simulation was blind, each as a short story."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from uuid import UUID

import pytest

from application.payment_gateway import NotAttempted, Outcome, Refusal, Refused, Succeeded
from domain.gateway_report import GatewayReport, TransactionKind, TransactionStatus
from domain.saga_steps import SagaStatus
from domain.security_incident import SecurityIncident
from system.testing import SystemUnderTest
from tests.simulation import money_kit
from tests.simulation.money_kit import DAY, INVALID, TIME_OUT, follow, sar

HOUR = timedelta(hours=1)
TOO_MANY = Refused(Refusal.RATE_LIMITED, "5", "Too many requests, try again later.")


@pytest.fixture
def s() -> Iterator[SystemUnderTest]:
    with SystemUnderTest(seed=9) as system:
        yield system


opened = partial(money_kit.opened, callback_url=None)
paid = partial(money_kit.paid, callback_url=None)


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


def test_a_pending_refund_that_the_gateway_loses_sight_of_is_not_asked_for_again(
    s: SystemUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment_id = paid(s)
    s.gateway.follow_up_status = TransactionStatus.PENDING
    s.refund_payment(payment_id, sar("4.00"))
    s.run()
    [refund] = refunds(s, payment_id)

    with monkeypatch.context() as blind:
        blind.setattr(s.gateway, "query_transaction", lambda ref: Succeeded())
        blind.setattr(s.gateway, "query_cart", lambda cart_id: Succeeded())
        s.wait(3 * DAY)

    assert refunds(s, payment_id) == [refund]
    s.gateway.decide(refund.transaction_ref, is_done=True, silently=True)
    s.wait(2 * DAY)
    assert s.payment(payment_id).amount_refunded == sar("4.00")
    assert s.gateway.net_of(payment_id) == Decimal("6.00")


def test_of_two_attempts_in_one_cart_the_one_that_may_still_be_done_counts(
    s: SystemUnderTest,
) -> None:
    payment_id = paid(s)
    s.gateway.follow_up_status = TransactionStatus.PENDING
    s.gateway.fall_ill(1, TIME_OUT, is_done=True)
    refund_id = s.refund_payment(payment_id, sar("4.00"))
    s.run()
    [refund] = refunds(s, payment_id)
    refused = replace(refund, transaction_ref="TST8888", status=TransactionStatus.DECLINED)
    s.gateway.transactions["TST8888"] = refused

    s.wait(HOUR)

    assert s.payment(payment_id).refunds[refund_id].status == "pending"


def with_a_refund_given_up(s: SystemUnderTest, monkeypatch: pytest.MonkeyPatch) -> UUID:
    """No request for a refund of 4.00 ever reaches the gateway, until a person has to look."""
    payment_id = paid(s)
    with monkeypatch.context() as cut_off:
        cut_off.setattr(s.gateway, "refund", lambda request: TIME_OUT)
        s.refund_payment(payment_id, sar("4.00"))
        s.wait(2 * DAY)
    assert s.saga(payment_id).status is SagaStatus.PARKED
    return payment_id


def test_an_operators_retry_is_another_attempt_at_what_came_to_nothing(
    s: SystemUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment_id = with_a_refund_given_up(s, monkeypatch)

    s.retry(payment_id)
    s.wait(DAY)

    assert s.saga(payment_id).status is SagaStatus.COMPLETED
    assert s.payment(payment_id).amount_refunded == sar("4.00")
    assert s.gateway.net_of(payment_id) == Decimal("6.00")


def test_a_refund_that_an_operator_makes_in_the_dashboard_instead_is_that_refund(
    s: SystemUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment_id = with_a_refund_given_up(s, monkeypatch)

    s.gateway.refund_in_dashboard(payment_id, sar("4.00"))
    s.wait(DAY)
    s.retry(payment_id)
    s.wait(DAY)

    assert s.saga(payment_id).status is SagaStatus.COMPLETED
    assert [r.status for r in s.payment(payment_id).refunds.values()] == ["succeeded"]
    assert s.payment(payment_id).amount_refunded == sar("4.00")
    assert s.gateway.net_of(payment_id) == Decimal("6.00")


def test_what_was_voided_in_the_dashboard_without_a_word_needs_nobody(
    s: SystemUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment_id = paid(s, "manual")
    with monkeypatch.context() as cut_off:
        cut_off.setattr(s.gateway, "notify", lambda report: None)
        s.gateway.void_in_dashboard(payment_id, sar("10.00"))

    s.wait(8 * DAY)

    assert s.payment(payment_id).status == "cancelled"
    assert s.saga(payment_id).status is SagaStatus.COMPENSATED


def test_an_operator_may_give_money_back_in_the_dashboard_and_retry(
    s: SystemUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment_id = opened(s)
    s.cancel_payment(payment_id)
    s.run()
    s.gateway.fall_ill(1, INVALID)
    s.gateway.pay(payment_id)
    s.run()
    with monkeypatch.context() as cut_off:
        cut_off.setattr(s.gateway, "notify", lambda report: None)
        s.gateway.refund_in_dashboard(payment_id, sar("10.00"))
    assert s.saga(payment_id).status is SagaStatus.PARKED

    s.retry(payment_id)
    s.run()

    assert s.saga(payment_id).status is SagaStatus.COMPENSATED
    assert s.gateway.net_of(payment_id) == 0


@pytest.mark.parametrize("status", [TransactionStatus.EXPIRED, TransactionStatus.VOIDED])
def test_an_authorization_that_the_bank_let_go_needs_nobody(
    s: SystemUnderTest, status: TransactionStatus
) -> None:
    payment_id = paid(s, "manual")
    page = s.gateway.page_of(payment_id)
    s.gateway.transactions[page.transaction_ref] = replace(page, status=status)

    s.wait(8 * DAY)

    assert s.payment(payment_id).status == "cancelled"
    assert s.saga(payment_id).status is SagaStatus.COMPENSATED


def test_a_sale_that_follows_a_strange_transaction_is_not_believed(s: SystemUnderTest) -> None:
    payment_id = opened(s)
    sale = replace(
        s.gateway.page_of(payment_id),
        transaction_ref="TST7777",
        previous_ref="TST6666",
        status=TransactionStatus.AUTHORISED,
        amount=sar("10.00"),
    )

    s.receive(sale)
    s.run()

    assert s.payment(payment_id).status == "processing"
    [incident] = list(s.applications.operations.all())
    assert isinstance(incident, SecurityIncident.Recorded)


@pytest.mark.parametrize("outcome", [TIME_OUT, TOO_MANY], ids=["lost", "put off"])
def test_a_capture_that_never_arrived_is_not_repeated_for_a_cancelled_payment(
    s: SystemUnderTest, outcome: Outcome
) -> None:
    payment_id = paid(s, "manual")
    s.gateway.fall_ill(1, outcome, during=lambda: s.cancel_payment(payment_id))
    s.capture_payment(payment_id)

    s.wait(HOUR)

    captures = [r for r in s.gateway.of(payment_id) if r.kind is TransactionKind.CAPTURE]
    assert not captures
    assert s.saga(payment_id).status is SagaStatus.COMPENSATED
    assert s.payment(payment_id).capture_pending is None
    assert s.gateway.held_of(payment_id) == 0


def test_what_is_held_is_watched_while_an_operator_is_awaited(s: SystemUnderTest) -> None:
    s.gateway.fall_ill(1, TIME_OUT, is_done=True)
    payment_id = opened(s)
    s.wait(timedelta(seconds=30))
    first, second = s.gateway.pages_of(payment_id)
    s.cancel_payment(payment_id)
    s.run()
    s.gateway.fall_ill(1, INVALID)
    s.gateway.pay(payment_id, transaction_ref=first.transaction_ref)
    s.run()
    s.gateway.hold(payment_id, transaction_ref=second.transaction_ref)
    s.wait(3 * DAY)
    assert s.saga(payment_id).status is SagaStatus.PARKED
    s.retry(payment_id)
    s.run()

    s.gateway.release(payment_id, silently=True)
    s.wait(2 * DAY)

    assert s.gateway.net_of(payment_id) == 0
    assert s.saga(payment_id).status is SagaStatus.COMPENSATED


def test_a_capture_that_waits_for_the_gateway_is_not_sent_for_a_cancelled_payment(
    s: SystemUnderTest,
) -> None:
    payment_id = paid(s, "manual")
    s.gateway.fall_ill(1, during=open_circuit)
    s.capture_payment(payment_id)
    s.run()
    s.cancel_payment(payment_id)

    s.wait(HOUR)

    assert [r.kind for r in s.gateway.of(payment_id)] == ["authorization", "void"]
    assert s.saga(payment_id).status is SagaStatus.COMPENSATED
    assert s.payment(payment_id).capture_pending is None


def open_circuit() -> None:
    raise NotAttempted("open", 300_000)


def test_a_release_that_fails_in_the_dashboard_leaves_the_hold_as_it_was(
    s: SystemUnderTest,
) -> None:
    payment_id = opened(s)
    s.gateway.hold(payment_id)
    s.run()
    page = s.gateway.page_of(payment_id)
    failed = replace(
        page,
        kind=TransactionKind.CAPTURE,
        transaction_ref="TST7777",
        previous_ref=page.transaction_ref,
        status=TransactionStatus.ERROR,
    )

    s.receive(failed)
    s.run()
    s.gateway.release(payment_id, silently=True)
    s.wait(2 * DAY)

    assert s.payment(payment_id).status == "completed"


def test_what_is_parked_for_a_doubt_is_not_doubted_anew_each_day(s: SystemUnderTest) -> None:
    payment_id = opened(s)
    s.gateway.defer(payment_id)
    s.run()
    s.cancel_payment(payment_id)
    s.run()
    follow(s, s.gateway.page_of(payment_id), TransactionKind.SALE, sar("12.00"))

    s.wait(10 * DAY)

    assert s.saga(payment_id).status is SagaStatus.PARKED
    assert len(list(s.applications.operations.all())) == 1
    s.compensate(payment_id)
    s.run()
    assert s.saga(payment_id).status is SagaStatus.COMPENSATED
    assert s.gateway.net_of(payment_id) == 0


@pytest.mark.parametrize("number", [0, 1])
def test_of_two_authorizations_the_bank_may_let_either_go(s: SystemUnderTest, number: int) -> None:
    s.gateway.fall_ill(1, TIME_OUT, is_done=True)
    payment_id = opened(s, "manual")
    s.wait(timedelta(seconds=30))
    first, second = s.gateway.pages_of(payment_id)
    s.gateway.pay(payment_id, transaction_ref=first.transaction_ref)
    s.run()
    s.gateway.fall_ill(1, INVALID)
    s.gateway.pay(payment_id, transaction_ref=second.transaction_ref)
    s.run()
    page = s.gateway.pages_of(payment_id)[number]
    lapsed = replace(page, status=TransactionStatus.EXPIRED)
    s.gateway.transactions[page.transaction_ref] = lapsed

    s.wait(8 * DAY)
    s.retry(payment_id)
    s.run()

    assert s.payment(payment_id).status == "cancelled"
    assert s.saga(payment_id).status is SagaStatus.COMPENSATED
    assert s.gateway.held_of(payment_id) == 0


@pytest.mark.parametrize("how", [TransactionStatus.DECLINED, TransactionStatus.CANCELLED])
def test_a_report_that_closed_a_payment_may_be_contradicted_in_silence(
    s: SystemUnderTest, how: TransactionStatus
) -> None:
    payment_id = opened(s)
    page = s.gateway.page_of(payment_id)
    s.receive(replace(page, status=how, amount=sar("10.00")))
    s.run()
    assert s.payment(payment_id).is_closed

    s.gateway.pay(payment_id, silently=True)
    s.wait(DAY)

    assert s.gateway.net_of(payment_id) == 0


@pytest.mark.parametrize("hours", [0.5, 1.5, 2.5, 3])
def test_money_that_comes_hours_after_a_cancel_goes_back(s: SystemUnderTest, hours: float) -> None:
    payment_id = opened(s)
    s.cancel_payment(payment_id)
    s.wait(HOUR * hours)

    s.gateway.pay(payment_id, silently=True)
    s.wait(DAY)

    assert s.payment(payment_id).status == "cancelled"
    assert s.gateway.net_of(payment_id) == 0


def test_what_gave_money_back_is_never_given_back_itself(s: SystemUnderTest) -> None:
    payment_id = opened(s)
    s.gateway.defer(payment_id)
    odd = follow(s, s.gateway.page_of(payment_id), TransactionKind.SALE, sar("12.00"))
    s.receive(odd)
    s.run()
    s.gateway.refund_in_dashboard(payment_id, sar("4.00"))
    s.wait(40 * DAY)
    assert s.saga(payment_id).status is SagaStatus.PARKED

    s.compensate(payment_id)
    s.run()

    asked = [call for call in s.saga(payment_id).calls.values() if call.operation.is_follow_up]
    assert {call.transaction_ref for call in asked} == {odd.transaction_ref}
