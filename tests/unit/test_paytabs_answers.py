"""Every answer PayTabs may give comes back as one of three outcomes."""

import json
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.payment_gateway import HostedPage, Outcome, Refusal, Refused, Succeeded, Unknown
from domain.gateway_report import GatewayReport, TransactionKind, TransactionStatus
from domain.money import Money
from interface.paytabs.answers import Expected, follow_up_outcome, page_outcome, query_outcome
from interface.paytabs.transport import Answer

EXAMPLES = Path(__file__).parent / "paytabs_answers"
SALE = Expected(cart_id="CART-77-a1", amount=Money(Decimal("149.50"), "SAR"))


def example(name: str) -> Any:
    return json.loads((EXAMPLES / f"{name}.json").read_text())


def answer(content: object, status: int = 200, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, json.dumps(content).encode())


def page(content: object, status: int = 200, **headers: str) -> Outcome:
    return page_outcome(answer(content, status, **headers), SALE, encrypted=True)


def query(content: object, status: int = 200, expected: Expected | None = None) -> Outcome:
    return query_outcome(answer(content, status), expected or Expected())


def follow_up(content: dict[str, Any], status: int = 200, **changes: Any) -> Outcome:
    asked = Expected(
        cart_id="CART-77-v1",
        amount=Money(Decimal("149.50"), "SAR"),
        previous_ref="TST2630100000105",
        kinds=frozenset({TransactionKind.VOID, TransactionKind.RELEASE}),
    )
    return follow_up_outcome(answer(content, status), replace(asked, **changes))


def only_report(outcome: Outcome) -> GatewayReport:
    assert isinstance(outcome, Succeeded)
    assert outcome.page is None
    (report,) = outcome.reports
    return report


@dataclass(frozen=True)
class Told:
    kind: TransactionKind
    status: TransactionStatus
    amount: str | None
    code: str | None
    instrument: str | None
    previous_ref: str | None = None


K, S = TransactionKind, TransactionStatus
VISA = "Visa 4111 11## #### 1111"
HELD, PAID = "TST2630100000105", "TST2630100000104"
TRANSACTIONS = {
    "sale_authorised": Told(K.SALE, S.AUTHORISED, "149.50", "G40404", VISA),
    "auth_on_hold": Told(K.AUTHORIZATION, S.ON_HOLD, "149.50", "G50505", VISA),
    "payment_request_pending": Told(
        K.PAYMENT_REQUEST, S.PENDING, "149.50", "234320099887", "SADAD (IFS)"
    ),
    "page_not_used": Told(K.SALE, S.OPEN, None, None, None),
    "page_declined_at_once": Told(K.SALE, S.DECLINED, "149.50", "313", VISA),
    "refund_done": Told(K.REFUND, S.AUTHORISED, "40.00", "G60606", VISA, PAID),
    "refund_waiting": Told(K.REFUND, S.PENDING, "40.00", "600", VISA, PAID),
    "capture_done": Told(K.CAPTURE, S.AUTHORISED, "100.00", "G70707", VISA, HELD),
    "void_done": Told(K.VOID, S.AUTHORISED, "149.50", "G80808", VISA, HELD),
    "void_as_release": Told(K.RELEASE, S.AUTHORISED, "49.50", "G90909", VISA, HELD),
    "void_refused_on_hold": Told(K.VOID, S.ERROR, "149.50", "120", VISA, HELD),
}


@pytest.mark.parametrize("name", TRANSACTIONS)
def test_a_transaction_is_told_in_words_that_no_gateway_owns(name: str) -> None:
    report = only_report(query(example(name)))
    told = Told(
        kind=report.kind,
        status=report.status,
        amount=str(report.amount.amount) if report.amount else None,
        code=report.code,
        instrument=report.instrument,
        previous_ref=report.previous_ref,
    )
    assert told == TRANSACTIONS[name]


def test_every_example_of_an_answer_is_understood_or_refused_on_purpose() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.json")}
    others = {"page_created", "cart_of_four", "cart_empty", "invoice_paid", "token_details"}
    apart = {name for name in names if name.startswith(("callback_", "error_"))}
    assert names == TRANSACTIONS.keys() | others | apart


def test_a_redirect_is_a_hosted_page() -> None:
    content = example("page_created")
    expected = HostedPage("TST2630100000101", content["redirect_url"])
    assert page(content) == Succeeded(page=expected)


@pytest.mark.parametrize(
    "url",
    [
        "http://secure.paytabs.sa/payment/wr/1",
        "javascript:alert(1)",
        "https://",
        "/payment/wr/1",
        "https://secure.paytabs.sa/a b",
        "https://secure.paytabs.sa/\n",
        "https://[",
        "https://secure.paytabs.sa/" + "1" * 2048,
        {"href": "https://secure.paytabs.sa/"},
    ],
)
def test_a_page_that_no_customer_can_be_sent_to_is_unknown(url: object) -> None:
    assert isinstance(page(example("page_created") | {"redirect_url": url}), Unknown)


def test_a_plain_http_page_is_taken_from_a_gateway_reached_by_plain_http() -> None:
    content = example("page_created") | {"redirect_url": "http://127.0.0.1:8090/payment/wr/1"}
    outcome = page_outcome(answer(content), SALE, encrypted=False)
    assert isinstance(outcome, Succeeded)


def test_a_decline_instead_of_a_page_is_a_refusal() -> None:
    refusal = Refused(Refusal.INVALID_REQUEST, "313", "Transaction not permitted by issuer")
    assert page(example("page_declined_at_once")) == refusal


@pytest.mark.parametrize("name", ["sale_authorised", "auth_on_hold", "page_not_used"])
def test_any_other_result_instead_of_a_page_must_be_asked_after(name: str) -> None:
    assert page(example(name)) == Unknown("the gateway answered without a page to pay on")


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("error_authentication", 401, Refusal.AUTHENTICATION),
        ("error_authentication", 400, Refusal.AUTHENTICATION),
        ("error_authentication", 200, Refusal.AUTHENTICATION),
        ("error_invalid", 401, Refusal.AUTHENTICATION),
        ("error_duplicate", 409, Refusal.DUPLICATE),
        ("error_duplicate", 400, Refusal.DUPLICATE),
        ("error_invalid", 409, Refusal.DUPLICATE),
        ("error_too_many", 429, Refusal.RATE_LIMITED),
        ("error_too_many", 400, Refusal.RATE_LIMITED),
        ("error_invalid", 429, Refusal.RATE_LIMITED),
        ("error_invalid", 400, Refusal.INVALID_REQUEST),
        ("error_invalid", 200, Refusal.INVALID_REQUEST),
        ("error_currency", 400, Refusal.INVALID_REQUEST),
        ("error_not_found", 404, Refusal.INVALID_REQUEST),
    ],
)
def test_an_error_object_is_a_refusal(name: str, status: int, reason: Refusal) -> None:
    content = example(name)
    assert page(content, status) == Refused(reason, str(content["code"]), content["message"])
    assert follow_up(content, status) == page(content, status)


def test_an_unlisted_code_refuses_only_with_a_4xx() -> None:
    content = {"code": 777, "message": "Something new"}
    assert page(content, 422) == Refused(Refusal.INVALID_REQUEST, "777", "Something new")
    assert isinstance(page(content, 200), Unknown)
    assert isinstance(page(content, 408), Unknown)


def test_a_code_of_zero_is_no_error() -> None:
    assert isinstance(page(example("page_created") | {"code": 0}), Succeeded)


def test_a_code_written_as_text_is_read_and_a_message_hides_card_numbers() -> None:
    outcome = page({"code": "2", "message": "bad card 4111111111111111"}, 400)
    assert outcome == Refused(Refusal.INVALID_REQUEST, "2", "bad card 411111######1111")


@pytest.mark.parametrize(
    ("headers", "wait_ms"),
    [
        ({"Retry_After": "7"}, 7000),
        ({"Retry_After": "999999999999999999"}, 86_400_000),
        ({"Retry_After": "-5"}, None),
        ({"Retry_After": "soon"}, None),
        ({"Retry_After": "٧"}, None),
        ({}, None),
        ({"Retry_After": "Wed, 28 Oct 2026 10:01:00 GMT"}, None),
        (
            {
                "Retry_After": "Wed, 28 Oct 2026 10:01:00 GMT",
                "Date": "Wed, 28 Oct 2026 10:00:30 GMT",
            },
            30_000,
        ),
        (
            {
                "Retry_After": "Wed, 28 Oct 2026 10:00:00 GMT",
                "Date": "Wed, 28 Oct 2026 10:00:30 GMT",
            },
            0,
        ),
    ],
)
def test_a_rate_limit_says_how_long_to_wait(headers: dict[str, str], wait_ms: int | None) -> None:
    outcome = page(example("error_too_many"), 429, **headers)
    assert isinstance(outcome, Refused)
    assert outcome.retry_after_ms == wait_ms


def test_a_sick_gateway_may_say_when_to_come_back() -> None:
    outcome = page(example("error_invalid"), 503, Retry_After="7")
    assert outcome == Unknown("the gateway answered HTTP 503", retry_after_ms=7_000)


def test_a_rate_limit_needs_no_json() -> None:
    outcome = page_outcome(Answer(429, {"Retry-After": "3"}, b"<html>"), SALE, encrypted=True)
    assert isinstance(outcome, Refused)
    assert (outcome.reason, outcome.retry_after_ms) == (Refusal.RATE_LIMITED, 3000)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 302, 307])
@pytest.mark.parametrize("name", ["page_created", "error_invalid", "sale_authorised"])
def test_a_5xx_or_a_redirect_is_unknown_whatever_it_holds(status: int, name: str) -> None:
    assert page(example(name), status) == Unknown(f"the gateway answered HTTP {status}")
    assert query(example(name), status) == Unknown(f"the gateway answered HTTP {status}")
    assert follow_up(example(name), status) == Unknown(f"the gateway answered HTTP {status}")


@pytest.mark.parametrize("status", [200, 204, 400, 401, 403, 404])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>blocked</body></html>",
        b'{"tran_ref":"TST26',
        b"\xff\xff",
        b"null",
        b"true",
        b'"text"',
        b"12",
        b"[" * 50_000,
        b'{"a":1,"a":2}',
        b"{}",
        b'{"error":true,"errorCode":200,"status":400}',
        b'{"tran_ref":{"x":1},"redirect_url":"https://a.example/"}',
        b'{"tran_ref":"T1","payment_result":"A","cart_id":["a"]}',
    ],
)
def test_an_answer_that_cannot_be_read_is_unknown(status: int, body: bytes) -> None:
    unread = Answer(status, {}, body)
    assert isinstance(page_outcome(unread, SALE, encrypted=True), Unknown)
    assert isinstance(query_outcome(unread, SALE), Unknown)
    assert isinstance(follow_up_outcome(unread, SALE), Unknown)


def test_a_page_for_a_follow_up_is_unknown() -> None:
    outcome = follow_up(example("page_created"))
    assert outcome == Unknown("the gateway's answer holds no result")


def test_an_array_for_a_page_or_a_follow_up_is_unknown() -> None:
    assert isinstance(page([example("page_created")]), Unknown)
    assert isinstance(follow_up_outcome(answer([example("void_done")]), Expected()), Unknown)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cart_id", "CART-78-a1"),
        ("cart_id", ""),
        ("cart_currency", "AED"),
        ("cart_amount", "149.51"),
        ("cart_amount", "14950"),
    ],
)
@pytest.mark.parametrize("name", ["page_created", "void_done", "sale_authorised"])
def test_an_answer_about_something_else_is_unknown(name: str, field: str, value: str) -> None:
    content = example(name) | {field: value}
    assert asked_for(name, content) == Unknown(f"{field} does not match what was asked")


def asked_for(name: str, content: dict[str, Any]) -> Outcome:
    if name == "page_created":
        return page(content)
    if name == "void_done":
        return follow_up(content)
    return query(content, expected=SALE)


def test_an_amount_written_differently_still_matches() -> None:
    assert isinstance(page(example("page_created") | {"cart_amount": "149.500"}), Succeeded)
    assert isinstance(page(example("page_created") | {"cart_amount": 149.5}), Succeeded)
    assert isinstance(page(example("page_created") | {"cart_currency": "sar"}), Succeeded)


def test_what_an_answer_does_not_repeat_is_not_held_against_it() -> None:
    content = example("page_created")
    thin = {name: content[name] for name in ("tran_ref", "redirect_url")}
    assert isinstance(page(thin), Succeeded)


def test_a_follow_up_is_believed_only_for_its_own_transaction_and_deed() -> None:
    content = example("void_done")
    assert only_report(follow_up(content)).status is TransactionStatus.AUTHORISED
    other = follow_up(content | {"previous_tran_ref": "TST2630100000199"})
    assert other == Unknown("previous_tran_ref does not match what was asked")
    sale = follow_up(content | {"tran_type": "Sale"})
    assert sale == Unknown("a sale does not match what was asked")


def test_a_partial_void_may_be_performed_as_a_release() -> None:
    outcome = follow_up(example("void_as_release"), amount=Money(Decimal("49.5"), "SAR"))
    assert only_report(outcome).kind is TransactionKind.RELEASE


def test_a_refused_follow_up_is_an_answer_not_a_refusal() -> None:
    report = only_report(follow_up(example("void_refused_on_hold")))
    assert report.status is TransactionStatus.ERROR
    assert report.message == "Previous transaction is on hold"


def test_a_cart_lists_its_transactions_newest_first_by_the_clock_of_the_gateway() -> None:
    outcome = query(example("cart_of_four"), expected=Expected(cart_id="CART-77-a1"))
    assert isinstance(outcome, Succeeded)
    refs = [report.transaction_ref[-3:] for report in outcome.reports]
    assert refs == ["122", "120", "121", "123"]
    assert outcome.reports[0].instrument == "Tamara"


def test_an_unknown_transaction_is_an_answer_without_reports() -> None:
    assert query(example("error_not_found"), 400) == Succeeded()
    assert query(example("cart_empty")) == Succeeded()


def test_other_errors_of_a_query_stay_refusals() -> None:
    outcome = query(example("error_authentication"), 401)
    assert isinstance(outcome, Refused)
    assert outcome.reason is Refusal.AUTHENTICATION


@pytest.mark.parametrize("spoilt", [None, 7, "text", [], {}, {"tran_type": "Sale"}])
def test_one_unreadable_element_makes_the_whole_list_unknown(spoilt: object) -> None:
    assert isinstance(query([*example("cart_of_four"), spoilt]), Unknown)


def test_an_element_of_another_cart_makes_the_whole_list_unknown() -> None:
    stranger = example("sale_authorised") | {"cart_id": "CART-78-a1"}
    outcome = query([*example("cart_of_four"), stranger], expected=SALE)
    assert outcome == Unknown("cart_id does not match what was asked")


@pytest.mark.parametrize("name", ["invoice_paid", "token_details"])
def test_the_answer_of_another_call_is_not_taken_for_an_unused_page(name: str) -> None:
    assert query(example(name)) == Unknown("neither tran_type nor payment_result was given")


def test_another_transaction_than_the_one_asked_for_is_unknown() -> None:
    outcome = query(example("sale_authorised"), expected=Expected(transaction_ref="TST1"))
    assert outcome == Unknown("tran_ref does not match what was asked")


def test_an_answer_with_a_full_card_number_keeps_only_the_mask() -> None:
    content = example("sale_authorised")
    content["payment_info"]["payment_description"] = "4111 1111 1111 1111"
    content["payment_result"]["response_message"] = "4111-1111-1111-1111"
    report = only_report(query(content))
    assert report.instrument == VISA
    assert report.message == "4111-11##-####-1111"


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(sorted(example("sale_authorised"))), inner, max_size=5)
        | st.dictionaries(st.sampled_from(["code", "message", "redirect_url"]), inner, max_size=3)
    ),
    max_leaves=15,
)


@given(ANY_JSON, st.sampled_from([200, 204, 302, 400, 401, 409, 429, 500]))
def test_no_answer_whatever_raises(content: object, status: int) -> None:
    outcomes = (
        page_outcome(answer(content, status), SALE, encrypted=True),
        query_outcome(answer(content, status), SALE),
        follow_up_outcome(answer(content, status), SALE),
    )
    assert all(isinstance(outcome, Succeeded | Refused | Unknown) for outcome in outcomes)
