"""What the saga does when the gateway hangs, refuses, repeats itself or stays away."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from application.payment_gateway import Outcome, Refusal, Refused, Unknown
from domain.gateway_call import Operation
from domain.gateway_report import TransactionKind, TransactionStatus
from domain.money import money
from domain.saga_money import ATTEMPTS_MAX, QUERIES_MAX
from domain.saga_steps import SagaTimings, Step
from system.handlers import Handler
from system.testing import SystemUnderTest
from system.work_item import WorkItem, WorkKind
from tests.simulation import scenarios
from tests.simulation.scenarios import DUPLICATE, INVALID, RATE_LIMITED, SHORTLY, TIME_OUT


def operations(s: SystemUnderTest) -> list[str]:
    """What the gateway was asked, in order."""
    return [e["data"]["operation"] for e in s.events() if e["type"] == "gateway.requested"]


def test_a_lost_page_request_is_asked_after_before_another_page_is_opened() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.hanging_gateway(s)
        assert operations(s) == ["open_page", "query_cart", "open_page"]
        assert s.payment(payment_id).status == "completed"


def test_each_page_request_has_a_cart_of_its_own() -> None:
    with SystemUnderTest() as s:
        saga = s.saga(scenarios.hanging_gateway(s))
        assert saga.cart_ids == [f"{saga.payment_id}-a1", f"{saga.payment_id}-a2"]


def test_a_lost_page_that_was_paid_all_the_same_completes_the_payment() -> None:
    with SystemUnderTest() as s:
        s.gateway.fall_ill(outcome=TIME_OUT, is_done=True)
        payment_id = scenarios.new_payment(s)
        s.follow()
        assert s.work_once()
        s.gateway.pay(payment_id, silently=True)
        s.wait(SHORTLY)
        assert s.payment(payment_id).status == "completed"
        assert s.saga(payment_id).cart_ids == [f"{payment_id}-a1"]


def test_a_duplicate_request_is_asked_after_like_a_lost_one() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.duplicate_request(s)
        assert operations(s) == ["open_page", "query_cart", "open_page"]
        assert s.payment(payment_id).status == "completed"


def test_a_full_gateway_is_left_alone_for_as_long_as_it_asked() -> None:
    with SystemUnderTest() as s:
        s.gateway.fall_ill(outcome=replace(RATE_LIMITED, retry_after_ms=30_000))
        payment_id = scenarios.opened(s)
        s.wait(timedelta(seconds=29))
        assert operations(s) == ["open_page"]
        s.wait(timedelta(seconds=2))
        assert operations(s) == ["open_page", "open_page"]
        assert s.payment(payment_id).status == "processing"


def test_a_full_gateway_that_names_no_time_is_left_alone_for_a_minute() -> None:
    with SystemUnderTest() as s:
        s.gateway.fall_ill(outcome=replace(RATE_LIMITED, retry_after_ms=None))
        scenarios.opened(s)
        s.wait(timedelta(seconds=59))
        assert operations(s) == ["open_page"]
        s.wait(timedelta(seconds=2))
        assert operations(s) == ["open_page", "open_page"]


def test_a_refused_page_fails_the_payment_with_the_gateways_words() -> None:
    with SystemUnderTest() as s:
        payment = s.payment(scenarios.refused_by_the_gateway(s))
        assert payment.status == "failed"
        assert payment.failure is not None
        assert payment.failure.code == "gateway_refused"
        assert payment.failure.message == "Invalid currency code"
        assert s.merchant.events_told == ["payment.failed"]
        assert s.saga(payment.id).status == "compensated"


def test_a_payment_gives_up_when_the_gateway_only_refuses_to_be_asked() -> None:
    with SystemUnderTest() as s:
        s.gateway.fall_ill(calls=10_000, outcome=RATE_LIMITED)
        payment_id = scenarios.opened(s)
        s.wait(timedelta(minutes=22))
        payment = s.payment(payment_id)
        assert payment.status == "failed"
        assert payment.failure is not None
        assert payment.failure.code == "gateway_unavailable"
        assert s.merchant.events_told == ["payment.failed"]
        assert s.agenda.next_due_at() is None


def test_a_payment_gives_up_when_the_gateway_never_answers_again() -> None:
    with SystemUnderTest() as s:
        s.gateway.fall_ill(calls=10_000, outcome=TIME_OUT)
        payment_id = scenarios.opened(s)
        s.wait(timedelta(minutes=22))
        payment = s.payment(payment_id)
        assert payment.status == "failed"
        assert payment.failure is not None
        assert payment.failure.code == "gateway_unavailable"
        assert s.merchant.events_told == ["payment.failed"]
        assert s.agenda.next_due_at() is None


def test_a_gateway_that_recovers_in_time_costs_nothing_but_time() -> None:
    with SystemUnderTest() as s:
        s.gateway.fall_ill(calls=6, outcome=TIME_OUT)
        payment_id = scenarios.opened(s)
        s.wait(timedelta(minutes=10))
        assert s.payment(payment_id).next_action is not None
        s.gateway.pay(payment_id)
        s.run()
        assert s.payment(payment_id).status == "completed"


def test_the_waits_between_attempts_grow_up_to_a_limit() -> None:
    with SystemUnderTest() as s:
        s.gateway.fall_ill(calls=10_000, outcome=TIME_OUT)
        scenarios.opened(s)
        s.wait(timedelta(minutes=15))
        assert 15 <= len(operations(s)) <= 25


def paid_in_secret(s: SystemUnderTest) -> UUID:
    """A page that nobody was told of is paid, while another request for a page is on its way."""
    s.gateway.fall_ill(outcome=TIME_OUT, is_done=True)
    payment_id = scenarios.opened(s)
    s.clock.move_to(s.agenda.next_due_at() or s.clock.now())
    assert s.work_once()
    s.follow()
    assert s.saga(payment_id).cart_ids == [f"{payment_id}-a1", f"{payment_id}-a2"]
    s.gateway.pay(payment_id)
    s.follow()
    return payment_id


@pytest.mark.parametrize("outcome", [RATE_LIMITED, DUPLICATE, INVALID, TIME_OUT, None])
def test_whatever_comes_of_a_second_page_does_not_undo_a_paid_payment(
    outcome: Outcome | None,
) -> None:
    with SystemUnderTest() as s:
        payment_id = paid_in_secret(s)
        if outcome is not None:
            s.gateway.fall_ill(outcome=outcome)
        assert s.work_once()
        s.wait(timedelta(minutes=30))
        assert s.payment(payment_id).status == "completed"
        assert s.saga(payment_id).status == "completed"
        assert s.saga(payment_id).steps[Step.OPEN_AT_GATEWAY].status == "succeeded"
        assert len(s.saga(payment_id).cart_ids) == 2
        assert s.gateway.net_of(payment_id) == Decimal("10.00")


def test_both_pages_of_a_payment_may_be_paid_and_one_payment_is_given_back() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.hanging_gateway(s)
        first = next(iter(s.gateway.transactions.values()))
        late = replace(first, status=TransactionStatus.AUTHORISED, amount=money("10.00", "SAR"))
        s.gateway.transactions[late.transaction_ref] = late
        s.receive(late)
        s.wait(timedelta(days=1))
        assert s.payment(payment_id).status == "completed"
        assert s.saga(payment_id).status == "completed"
        assert s.gateway.net_of(payment_id) == Decimal("10.00")


def test_a_refusal_that_concerns_an_earlier_page_does_not_fail_the_payment() -> None:
    with SystemUnderTest() as s:
        s.gateway.fall_ill(outcome=TIME_OUT, is_done=True)
        payment_id = scenarios.opened(s)
        s.wait(SHORTLY)
        first = next(iter(s.gateway.transactions.values()))
        s.receive(replace(first, status=TransactionStatus.EXPIRED))
        s.run()
        assert s.payment(payment_id).status == "processing"


PROOF_AFTER = SagaTimings().proof_after


def refunds_get_lost(s: SystemUnderTest) -> Handler:
    """A handler whose refunds never reach the gateway, and nobody knows."""
    handle = s.handlers[WorkKind.GATEWAY_CALL]

    def handled(item: WorkItem) -> None:
        call = s.applications.sagas.get(item.aggregate_id).calls[item.work_id]
        if call.operation is Operation.REFUND:
            s.gateway.fall_ill(outcome=TIME_OUT)
        handle(item)

    return handled


class TestMoneyOnItsWayBack:
    """Refunds that the saga asks for, when the gateway is not well."""

    def test_a_lost_refund_is_asked_after_and_never_repeated(self) -> None:
        with SystemUnderTest() as s:
            payment_id = scenarios.cancelled_before_paying(s)
            s.gateway.fall_ill(outcome=TIME_OUT, is_done=True)
            s.gateway.pay(payment_id)
            s.wait(timedelta(hours=3))
            assert operations(s).count("refund") == 1
            assert s.gateway.net_of(payment_id) == 0
            assert s.saga(payment_id).status == "compensated"

    def test_a_refund_that_provably_never_arrived_is_asked_for_anew(self) -> None:
        with SystemUnderTest() as s:
            payment_id = scenarios.cancelled_before_paying(s)
            s.gateway.fall_ill(outcome=TIME_OUT)
            s.gateway.pay(payment_id)
            s.wait(PROOF_AFTER)
            assert operations(s).count("refund") == 1
            s.wait(timedelta(minutes=2))
            assert operations(s).count("refund") == 2
            assert s.gateway.net_of(payment_id) == 0
            assert s.saga(payment_id).status == "compensated"

    def test_a_lost_refund_that_is_done_late_is_found_and_not_repeated(self) -> None:
        with SystemUnderTest() as s:
            payment_id = scenarios.cancelled_before_paying(s)
            s.gateway.fall_ill(outcome=TIME_OUT, done_after=PROOF_AFTER / 2)
            s.gateway.pay(payment_id)
            s.wait(timedelta(hours=3))
            assert operations(s).count("refund") == 1
            assert s.gateway.net_of(payment_id) == 0
            assert s.saga(payment_id).status == "compensated"

    def test_a_refund_that_never_arrives_is_parked_for_a_person_after_some_attempts(self) -> None:
        with SystemUnderTest() as s:
            payment_id = scenarios.cancelled_before_paying(s)
            s.handlers = {**s.handlers, WorkKind.GATEWAY_CALL: refunds_get_lost(s)}
            s.gateway.pay(payment_id)
            s.wait(timedelta(hours=3))
            saga = s.saga(payment_id)
            assert operations(s).count("refund") == ATTEMPTS_MAX
            assert saga.status == "parked"
            assert saga.parked_detail is not None
            assert "10.00" in saga.parked_detail

    def test_a_refund_that_stays_pending_is_parked_after_so_many_questions(self) -> None:
        with SystemUnderTest() as s:
            payment_id = scenarios.cancelled_before_paying(s)
            s.gateway.follow_up_status = TransactionStatus.PENDING
            s.gateway.pay(payment_id)
            s.wait(timedelta(days=30))
            assert s.saga(payment_id).status == "compensating"
            s.wait(timedelta(days=30))
            saga = s.saga(payment_id)
            assert operations(s).count("refund") == 1
            assert sum(call.about is not None for call in saga.calls.values()) == QUERIES_MAX
            assert saga.status == "parked"

    def test_a_refund_refused_for_now_is_asked_for_again(self) -> None:
        with SystemUnderTest() as s:
            payment_id = scenarios.cancelled_before_paying(s)
            s.gateway.fall_ill(outcome=RATE_LIMITED)
            s.gateway.pay(payment_id)
            s.wait(timedelta(hours=3))
            assert s.gateway.net_of(payment_id) == 0
            assert s.saga(payment_id).status == "compensated"

    def test_a_refund_refused_for_good_is_parked_with_advice(self) -> None:
        with SystemUnderTest() as s:
            payment_id = scenarios.cancelled_before_paying(s)
            s.gateway.fall_ill(outcome=Refused(Refusal.INVALID_REQUEST, "342", "No balance"))
            s.gateway.pay(payment_id)
            s.wait(timedelta(hours=3))
            assert s.saga(payment_id).status == "parked"
            row = s.row("view_sagas", s.saga(payment_id).id)
            assert row is not None
            assert "dashboard" in row["advice"]

    def test_a_query_that_hangs_is_repeated_until_it_is_answered(self) -> None:
        with SystemUnderTest() as s:
            payment_id = scenarios.cancelled_before_paying(s)
            s.gateway.fall_ill(outcome=TIME_OUT, is_done=True)
            s.gateway.fall_ill(calls=4, outcome=Unknown("cut"))
            s.gateway.pay(payment_id)
            s.wait(timedelta(hours=3))
            assert s.gateway.net_of(payment_id) == 0
            assert s.saga(payment_id).status == "compensated"


def test_an_interrupted_page_request_is_treated_as_lost() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.new_payment(s)
        s.follow()
        item = s.agenda.claim_next(s.clock.now())
        assert item is not None
        s.agenda.put_back(item, s.clock.now(), was_begun=True)
        s.wait(SHORTLY)
        assert operations(s) == ["open_page", "query_cart", "open_page"]
        assert len(s.gateway.transactions) == 1
        assert s.payment(payment_id).next_action is not None


def test_a_held_payment_waits_for_the_gateways_review() -> None:
    with SystemUnderTest() as s:
        payment_id = scenarios.opened(s)
        held = scenarios.paid_report(s, payment_id, status=TransactionStatus.ON_HOLD)
        s.gateway.transactions[held.transaction_ref] = held
        s.receive(held)
        s.wait(timedelta(days=3))
        assert s.payment(payment_id).status == "processing"
        capture = replace(
            held,
            status=TransactionStatus.AUTHORISED,
            kind=TransactionKind.CAPTURE,
            transaction_ref="TST9999999999999",
            previous_ref=held.transaction_ref,
        )
        s.receive(capture)
        s.run()
        assert s.payment(payment_id).status == "completed"


def test_a_page_is_queried_by_reference_and_a_lost_call_by_cart() -> None:
    with SystemUnderTest() as s:
        scenarios.opened(s)
        s.wait(timedelta(minutes=2))
        assert set(operations(s)) == {Operation.OPEN_PAGE, Operation.QUERY_TRANSACTION}
