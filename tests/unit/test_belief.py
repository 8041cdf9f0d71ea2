"""What a report of the gateway means for a payment."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.belief import Expectation, Verdict, judge
from domain.gateway_report import (
    GatewayReport,
    TransactionKind,
    TransactionStatus,
    cart_id_for,
    payment_id_of,
)
from domain.money import money
from tests.unit.domain_kit import PAGE_REF, PAYMENT_ID, SAR_10, report

EXPECTED = Expectation(
    amount=SAR_10,
    cart_ids=[f"{PAYMENT_ID}-a1"],
    transaction_refs={PAGE_REF},
    current_ref=PAGE_REF,
    capture=True,
)
FOLLOW_UPS = [TransactionKind.REFUND, TransactionKind.VOID, TransactionKind.RELEASE]


AUTHORIZES = replace(EXPECTED, capture=False)


def verdict(**changes: Any) -> Verdict:
    """What a report with `changes` means."""
    return judge(report(**changes), EXPECTED).verdict


def test_the_right_money_for_the_right_cart_is_believed() -> None:
    assert verdict() is Verdict.PAID


@pytest.mark.parametrize("kind", FOLLOW_UPS)
@pytest.mark.parametrize("status", TransactionStatus)
def test_a_follow_up_is_never_taken_for_a_sale(
    kind: TransactionKind, status: TransactionStatus
) -> None:
    assert verdict(kind=kind, status=status) is Verdict.IRRELEVANT


@pytest.mark.parametrize(
    "status", [s for s in TransactionStatus if s.is_refusal], ids=lambda s: s.value
)
def test_a_refusal_of_the_current_page_counts(status: TransactionStatus) -> None:
    assert verdict(status=status) is Verdict.REFUSED


def test_a_refusal_of_an_earlier_page_does_not_count() -> None:
    earlier = "TST0000000000000"
    assert verdict(status=TransactionStatus.DECLINED, transaction_ref=earlier) is Verdict.IRRELEVANT


@pytest.mark.parametrize("status", [TransactionStatus.ON_HOLD, TransactionStatus.PENDING])
def test_a_held_transaction_is_neither_paid_nor_refused(status: TransactionStatus) -> None:
    assert verdict(status=status) is Verdict.HELD


def test_an_authorised_payment_request_is_not_paid_yet() -> None:
    assert verdict(kind=TransactionKind.PAYMENT_REQUEST) is Verdict.HELD


def test_a_sale_that_settles_a_deferred_payment_is_believed() -> None:
    deferred = {"transaction_ref": "TST0000000000009", "previous_ref": PAGE_REF, "cart_id": ""}
    assert verdict(**deferred) is Verdict.PAID


def test_an_empty_cart_is_believed_with_a_reference_of_ours_only() -> None:
    assert verdict(cart_id="") is Verdict.PAID
    assert verdict(cart_id="", transaction_ref="TST5555555555555") is Verdict.DOUBTED


def test_the_reason_of_a_doubt_names_both_amounts() -> None:
    judgement = judge(report(amount=money("1.00", "SAR")), EXPECTED)
    assert "1.00" in judgement.reason
    assert "10.00" in judgement.reason


def test_an_authorization_is_believed_where_one_was_asked_for_and_nowhere_else() -> None:
    authorization = report(kind=TransactionKind.AUTHORIZATION)
    assert judge(authorization, AUTHORIZES).verdict is Verdict.AUTHORIZED
    assert judge(authorization, EXPECTED).verdict is Verdict.DOUBTED


def test_an_authorised_hold_is_held_until_the_capture_that_brings_its_money() -> None:
    lifted = report(kind=TransactionKind.AUTHORIZATION)
    asked = replace(EXPECTED, is_verified=True)
    assert judge(lifted, asked).verdict is Verdict.HELD
    assert judge(replace(lifted, amount=money("9.00", "SAR")), asked).verdict is Verdict.DOUBTED
    settled = replace(asked, settled_refs={PAGE_REF})
    assert judge(lifted, settled).verdict is Verdict.IRRELEVANT


def test_a_sale_where_only_an_authorization_was_asked_for_is_doubted() -> None:
    assert judge(report(), AUTHORIZES).verdict is Verdict.DOUBTED


def test_a_sale_that_follows_where_an_authorization_was_asked_for_is_believed() -> None:
    follower = report(transaction_ref="TST0000000000009", previous_ref=PAGE_REF)
    assert judge(follower, AUTHORIZES).verdict is Verdict.PAID


def test_a_capture_in_part_that_is_called_a_sale_is_believed_of_the_gateway_itself() -> None:
    nine = money("9.00", "SAR")
    part = report(transaction_ref="TST0000000000009", previous_ref=PAGE_REF, amount=nine)
    known = replace(AUTHORIZES, known={PAGE_REF: SAR_10})
    assert judge(part, replace(known, is_verified=True)).verdict is Verdict.PAID
    assert judge(part, known).verdict is Verdict.DOUBTED


def test_a_refusal_of_other_money_is_doubted() -> None:
    declined = {"status": TransactionStatus.DECLINED}
    assert verdict(**declined, amount=money("99.00", "SAR")) is Verdict.DOUBTED
    assert verdict(**declined, amount=money("10.00", "AED")) is Verdict.DOUBTED
    assert verdict(**declined, amount=SAR_10 * 0) is Verdict.REFUSED
    assert verdict(**declined, amount=None) is Verdict.REFUSED


@pytest.mark.parametrize("expected", [EXPECTED, AUTHORIZES], ids=["sale", "authorization"])
@pytest.mark.parametrize("kind", TransactionKind)
def test_only_what_can_be_the_page_itself_refuses_a_payment(
    kind: TransactionKind, expected: Expectation
) -> None:
    declined = report(kind=kind, status=TransactionStatus.DECLINED)
    is_page = kind in {
        TransactionKind.SALE,
        TransactionKind.AUTHORIZATION,
        TransactionKind.PAYMENT_REQUEST,
    }
    assert (judge(declined, expected).verdict is Verdict.REFUSED) == is_page


def test_what_followed_a_page_and_failed_leaves_the_page_as_it_was() -> None:
    failed = {"transaction_ref": "TST0000000000009", "previous_ref": PAGE_REF}
    assert verdict(**failed, status=TransactionStatus.ERROR) is Verdict.IRRELEVANT
    assert verdict(**failed, status=TransactionStatus.EXPIRED) is Verdict.REFUSED


def test_an_authorization_of_other_money_is_doubted() -> None:
    other = report(kind=TransactionKind.AUTHORIZATION, amount=money("10.01", "SAR"))
    assert judge(other, AUTHORIZES).verdict is Verdict.DOUBTED


def test_a_capture_is_believed_only_of_a_transaction_of_this_payment() -> None:
    capture = {"kind": TransactionKind.CAPTURE, "transaction_ref": "TST0000000000009"}
    ours, stranger = report(**capture, previous_ref=PAGE_REF), report(**capture)
    assert judge(ours, EXPECTED).verdict is Verdict.PAID
    assert judge(stranger, EXPECTED).verdict is Verdict.DOUBTED


REPORTS = st.builds(
    GatewayReport,
    transaction_ref=st.sampled_from([PAGE_REF, "TST0000000000007"]),
    kind=st.sampled_from(TransactionKind),
    status=st.sampled_from(TransactionStatus),
    cart_id=st.sampled_from([f"{PAYMENT_ID}-a1", f"{PAYMENT_ID}-a2", "", "ORD-1"]),
    amount=st.sampled_from([None, SAR_10, money("9.99", "SAR"), money("10.00", "AED")]),
    previous_ref=st.sampled_from([None, PAGE_REF, "TST0000000000006"]),
)


@given(REPORTS)
def test_only_an_authorised_report_of_the_exact_money_is_ever_paid(said: GatewayReport) -> None:
    if judge(said, EXPECTED).verdict is Verdict.PAID:
        assert said.status is TransactionStatus.AUTHORISED
        assert said.amount == SAR_10
        assert said.kind in {TransactionKind.SALE, TransactionKind.CAPTURE}
        assert said.cart_id != "ORD-1" or said.previous_ref == PAGE_REF


@given(REPORTS)
def test_only_an_authorised_report_of_the_exact_money_is_ever_authorized(
    said: GatewayReport,
) -> None:
    if judge(said, AUTHORIZES).verdict is Verdict.AUTHORIZED:
        assert said.status is TransactionStatus.AUTHORISED
        assert said.amount == SAR_10
        assert said.kind is TransactionKind.AUTHORIZATION


@given(REPORTS)
def test_what_people_read_never_decides(said: GatewayReport) -> None:
    in_other_words = replace(said, code="999", message="Authorised", instrument="4111")
    assert judge(said, EXPECTED).verdict is judge(in_other_words, EXPECTED).verdict


@given(st.uuids(), st.sampled_from("arckv"), st.integers(min_value=1, max_value=10**6))
def test_a_payment_is_found_again_by_its_cart(payment_id: Any, purpose: str, number: int) -> None:
    cart_id = cart_id_for(payment_id, purpose, number)
    assert payment_id_of(cart_id) == payment_id
    assert len(cart_id) <= 64


@pytest.mark.parametrize("cart_id", ["", "ORD-1001-a1", "z" * 36, "null"])
def test_a_cart_of_somebody_else_has_no_payment(cart_id: str) -> None:
    assert payment_id_of(cart_id) is None
