"""Callbacks are read tolerantly where it is harmless, and refused where it is not."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.payment_gateway import GatewayNotification, Unreadable
from domain.gateway_report import GatewayReport, TransactionKind, TransactionStatus
from domain.money import Money
from interface.paytabs import InvalidNotification, parse_notification

EXAMPLES = Path(__file__).parent / "paytabs_answers"
NOW = datetime(2026, 10, 28, 10, 0, 6, tzinfo=UTC)
SIGNATURE = "0" * 64
CARD = "4111111111111111"


def example(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((EXAMPLES / f"{name}.json").read_text())
    return content


def parsed(content: object) -> GatewayNotification:
    return parse_notification(json.dumps(content).encode(), SIGNATURE, NOW)


def read(content: object) -> GatewayReport:
    report = parsed(content).report
    assert isinstance(report, GatewayReport)
    return report


def test_a_paid_sale_is_read_with_what_moved_not_what_the_cart_asked() -> None:
    notification = parsed(example("callback_authorised"))
    report = notification.report
    assert isinstance(report, GatewayReport)
    assert notification.provider == "paytabs"
    assert notification.signature == SIGNATURE
    assert notification.received_at == NOW
    assert (report.transaction_ref, report.cart_id) == ("TST2630100000104", "CART-77-a1")
    assert (report.kind, report.status) == (TransactionKind.SALE, TransactionStatus.AUTHORISED)
    assert report.amount == Money(Decimal("139.50"), "SAR")
    assert report.instrument == "Visa 4111 11## #### 1111"
    assert report.occurred_at == datetime(2026, 10, 28, 10, 0, 5, tzinfo=UTC)


def test_a_cancelled_page_names_no_means_of_payment() -> None:
    report = read(example("callback_cancelled"))
    assert report.status is TransactionStatus.CANCELLED
    assert (report.code, report.message, report.instrument) == ("321", "Cancelled", None)


def test_an_expired_payment_keeps_the_reference_of_the_acquirer() -> None:
    notification = parsed(example("callback_expired"))
    report = notification.report
    assert isinstance(report, GatewayReport)
    assert (report.status, report.instrument) == (TransactionStatus.EXPIRED, "Instapay")
    result = notification.payload["payment_result"]
    assert isinstance(result, dict)
    assert result["acquirer_rrn"] == "7c1f0a52-4111-4111-8111-111111111111"


def test_a_deferred_payment_settles_as_a_sale_after_its_request() -> None:
    report = read(example("callback_deferred_settled"))
    assert report.kind is TransactionKind.SALE
    assert report.previous_ref == "TST2630100000139"
    assert report.code == "10203040506071"


def test_a_capture_from_the_dashboard_is_a_capture() -> None:
    report = read(example("callback_capture"))
    assert report.kind is TransactionKind.CAPTURE
    assert report.previous_ref == "TST2630100000105"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("callback_*.json")), ids=lambda p: p.stem)
def test_the_payload_is_the_body_and_the_customer_is_kept_apart(path: Path) -> None:
    content = json.loads(path.read_text())
    for secret in ("cavv", "ucaf"):
        content.get("threeDSDetails", {}).pop(secret, None)
    notification = parsed(content)
    personal = {"customer_details", "shipping_details", "user_defined"}
    assert notification.payload | notification.personal == content
    assert not notification.payload.keys() & personal
    assert notification.personal.keys() <= personal


def test_only_fields_known_to_be_harmless_are_kept_in_the_clear() -> None:
    content = example("callback_authorised") | {
        "token": "2C4652BF67A3EA33C6B590FE658078BD",
        "customer_ref": "noura@example.com",
        "something_new": "Noura",
        "cart_description": {"name": "Noura"},
    }
    content["payment_info"] |= {"card_holder": "Noura Example", "token": "2C4652BF"}
    content["threeDSDetails"] |= {"cavv": "AAABBB", "ucaf": "CCCDDD", "eci": "05"}
    notification = parsed(content)
    kept = json.dumps([notification.payload, notification.personal])
    assert "Noura" not in json.dumps(notification.payload)
    assert "noura@example.com" not in json.dumps(notification.payload)
    assert not any(secret in kept for secret in ("2C4652BF", "AAABBB", "CCCDDD"))
    assert notification.personal["payment_info"] == {"card_holder": "Noura Example"}
    assert notification.personal["customer_ref"] == "noura@example.com"
    assert notification.personal["something_new"] == "Noura"
    assert notification.personal["cart_description"] == {"name": "Noura"}
    details = notification.payload["threeDSDetails"]
    assert isinstance(details, dict)
    assert (details["eci"], details.keys() & {"cavv", "ucaf"}) == ("05", set())


@pytest.mark.parametrize("block", ["payment_result", "payment_info", "threeDSDetails"])
def test_a_block_that_is_no_object_is_not_kept_in_the_clear(block: str) -> None:
    notification = parsed(example("callback_authorised") | {block: "Noura Example"})
    assert block not in notification.payload
    assert notification.personal[block] == "Noura Example"


@pytest.mark.parametrize(
    "change",
    [
        {"payment_info": None},
        {"customer_details": None},
        {"cart_id": ""},
        {"cart_id": None},
        {"tran_total": 139.5},
        {"profile_id": "90017"},
        {"something_new": {"deep": [1, "2", None, True]}},
        {"previous_tran_ref": ""},
    ],
)
def test_harmless_oddities_are_tolerated(change: dict[str, object]) -> None:
    report = read(example("callback_authorised") | change)
    assert report.status is TransactionStatus.AUTHORISED
    assert report.amount == Money(Decimal("139.50"), "SAR")


def test_numbers_are_kept_as_text_or_whole_numbers() -> None:
    body = b'{"tran_ref":"T1","a":1.10,"b":7,"c":1e3,"d":12345678901234567}'
    notification = parse_notification(body, SIGNATURE, NOW)
    assert notification.payload == {"tran_ref": "T1"}
    assert notification.personal == {"a": "1.10", "b": 7, "c": "1e3", "d": "12345678901234567"}


def test_a_number_as_transaction_reference_is_read_as_text() -> None:
    assert read({"tran_ref": 4111111111111111}).transaction_ref == CARD


@pytest.mark.parametrize(
    ("time", "moment"),
    [
        ("2026-10-28T14:00:00+04:00", datetime(2026, 10, 28, 10, tzinfo=UTC)),
        ("2026-10-28T10:00:00.123456789Z", datetime(2026, 10, 28, 10, 0, 0, 123456, UTC)),
        ("2026-10-28T10:00:00", None),
        ("0001-01-01T00:00:00+12:00", None),
        ("yesterday", None),
        (1793181600, None),
        (None, None),
    ],
)
def test_a_time_is_read_only_when_it_says_where(time: object, moment: datetime | None) -> None:
    content = example("callback_authorised")
    content["payment_result"]["transaction_time"] = time
    assert read(content).occurred_at == moment


@pytest.mark.parametrize("letter", ["a", "AA", "Z", "", None, 1])
def test_an_unheard_of_status_is_neither_paid_nor_failed(letter: object) -> None:
    content = example("callback_authorised")
    content["payment_result"]["response_status"] = letter
    assert read(content).status is TransactionStatus.UNKNOWN


@pytest.mark.parametrize(
    ("tran_type", "kind"),
    [
        ("SALE", TransactionKind.SALE),
        ("auth", TransactionKind.AUTHORIZATION),
        ("Payment Request", TransactionKind.PAYMENT_REQUEST),
        ("payment_request", TransactionKind.PAYMENT_REQUEST),
        ("Release", TransactionKind.RELEASE),
        ("Register", TransactionKind.UNKNOWN),
        (None, TransactionKind.UNKNOWN),
    ],
)
def test_the_kind_is_read_without_regard_to_case(
    tran_type: str | None, kind: TransactionKind
) -> None:
    assert read(example("callback_authorised") | {"tran_type": tran_type}).kind is kind


def test_full_card_numbers_are_masked_wherever_they_stand() -> None:
    content = example("callback_authorised") | {
        "cart_description": f"card {CARD}",
        "cart_id": CARD,
        "user_defined": {"udf1": ["4111-1111-1111-1111", int(CARD)], CARD: "x"},
        "customer_details": {"name": f"A {CARD}"},
    }
    content["payment_info"]["payment_description"] = CARD
    content["payment_result"]["response_message"] = f"declined {CARD}"
    notification = parsed(content)
    kept = json.dumps([notification.payload, notification.personal])
    assert CARD not in kept.replace("-", "")
    assert "411111######1111" in kept
    report = read(content)
    assert report.instrument == "Visa 411111######1111"
    assert report.cart_id == "411111######1111"
    assert report.message == "declined 411111######1111"


def test_card_secrets_are_dropped_and_harmless_check_results_stay() -> None:
    content = example("callback_authorised") | {"CVV": "123", "x": {"pan": "1", "card_number": "2"}}
    notification = parsed(content)
    assert "CVV" not in notification.payload | notification.personal
    assert notification.personal["x"] == {}
    result = notification.payload["payment_result"]
    assert isinstance(result, dict)
    assert result["cvv_result"] == " "


def test_a_cart_id_of_ours_is_never_touched() -> None:
    cart_id = "41111111-1111-4111-8111-111111111111-a1"
    notification = parsed(example("callback_authorised") | {"cart_id": cart_id})
    assert notification.payload["cart_id"] == notification.report.cart_id == cart_id


def test_text_that_no_database_takes_is_replaced() -> None:
    body = b'{"tran_ref":"T1","cart_description":"a\\u0000b\\ud800c\\ud83d\\ude00"}'
    payload = parse_notification(body, SIGNATURE, NOW).payload
    assert payload["cart_description"] == "a\ufffdb\ufffdc\U0001f600"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "not JSON"),
        (b"<html></html>", "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[]", "not a JSON object"),
        (b'"T1"', "not a JSON object"),
        (b'{"tran_ref":"T1","x":NaN}', "NaN is not a JSON number"),
        (b'{"tran_ref":"T1","x":-Infinity}', "-Infinity is not a JSON number"),
        (b"[" * 100_000, "nested deeper than 8"),
        (b"[" * 9 + b"]" * 9, "not a JSON object"),
        (b'{"tran_ref":"T1"', "not JSON"),
    ],
)
def test_what_is_no_json_object_is_refused_with_its_reason(body: bytes, problem: str) -> None:
    with pytest.raises(InvalidNotification, match=problem):
        parse_notification(body, SIGNATURE, NOW)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"{}", "tran_ref is missing"),
        (b'{"tran_ref":null}', "tran_ref is missing"),
        (b'{"tran_ref":""}', "tran_ref is missing"),
        (b'{"tran_ref":"a b"}', "tran_ref is not a transaction reference"),
        (b'{"tran_ref":{}}', "tran_ref is not text"),
        (b'{"tran_ref":true}', "tran_ref is not text"),
        (b'{"tran_ref":"T1","tran_ref":"T2"}', "the same key twice"),
        (b'{"tran_ref":"T1","payment_result":"A"}', "payment_result is not a JSON object"),
        (b'{"tran_ref":"T1","payment_info":7}', "payment_info is not a JSON object"),
        (
            b'{"tran_ref":"T1","payment_result":{},"tran_total":"1,5","tran_currency":"SAR"}',
            "tran_total: an amount is not a decimal number",
        ),
        (
            b'{"tran_ref":"T1","payment_result":{},"tran_total":"1.5","tran_currency":"ZZZ"}',
            "tran_total: an amount has an unknown currency",
        ),
        (b'{"tran_ref":"T1","x":' + b"[" * 8 + b"]" * 8 + b"}", "nested deeper than 8"),
        (b'{"tran_ref":"T1","x":[' + b"1," * 200 + b"1]}", "more than 200 fields"),
        (b'{"tran_ref":"T1","x":"' + b"y" * 4097 + b'"}', "longer than 4096"),
        (b'{"tran_ref":"T1","' + b"y" * 129 + b'":1}', "longer than 128"),
        (b'{"tran_ref":"T1","x":' + b"9" * 5000 + b"}", "longer than 4096"),
    ],
)
def test_an_object_that_cannot_be_relied_on_is_unreadable_and_says_why(
    body: bytes, problem: str
) -> None:
    report = parse_notification(body, SIGNATURE, NOW).report
    assert isinstance(report, Unreadable)
    assert problem in report.reason


@pytest.mark.parametrize(
    "change",
    [
        {"tran_total": "1,000.00"},
        {"tran_currency": "ZZZ"},
        {"payment_info": 7},
        {"x": [[[[[[[[[]]]]]]]]]},
        {"x": "y" * 5000},
        {"x": list(range(300))},
    ],
)
def test_an_unreadable_callback_is_kept_as_far_as_it_goes(change: dict[str, object]) -> None:
    notification = parsed(example("callback_authorised") | {"previous_tran_ref": "T0"} | change)
    report = notification.report
    assert isinstance(report, Unreadable)
    assert (report.cart_id, report.transaction_ref) == ("CART-77-a1", "TST2630100000104")
    assert report.previous_ref == notification.payload["previous_tran_ref"] == "T0"
    result = notification.payload["payment_result"]
    assert isinstance(result, dict)
    assert result["response_code"] == "G40404"
    assert "customer_details" in notification.personal
    assert len(json.dumps([notification.payload, notification.personal])) < 4096


def test_an_unreadable_reference_is_not_kept_as_it_came() -> None:
    notification = parsed({"tran_ref": "4111 1111 1111 1111", "cart_id": 7})
    assert notification.report == Unreadable("tran_ref is not a transaction reference")
    assert notification.payload == {"tran_ref": "4111 11## #### 1111", "cart_id": 7}


def test_long_keys_and_bad_text_of_a_huge_callback_are_not_kept() -> None:
    body = json.dumps({"k" * 200: 1, "cart_description": "a\0b", "x": "y" * 5000}).encode()
    notification = parse_notification(body, SIGNATURE, NOW)
    assert notification.payload == {"cart_description": "a\ufffdb"}
    assert notification.personal == {}


def test_eight_levels_are_still_read() -> None:
    body = b'{"tran_ref":"T1","x":' + b"[" * 7 + b"]" * 7 + b"}"
    assert isinstance(parse_notification(body, SIGNATURE, NOW).report, GatewayReport)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_read_or_refused_and_nothing_else(body: bytes) -> None:
    assert_read_or_refused(body)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
FIELD_NAMES = st.sampled_from(
    [
        *("tran_ref", "tran_type", "cart_id", "tran_total", "tran_currency", "cart_currency"),
        *("payment_result", "payment_info", "customer_details", "previous_tran_ref", "cvv"),
        *("response_status", "response_code", "transaction_time", "payment_description"),
    ]
)
CALLBACKS = st.dictionaries(
    FIELD_NAMES, JSON_VALUES | st.dictionaries(FIELD_NAMES, JSON_VALUES, max_size=4)
)


@given(JSON_VALUES | CALLBACKS | CALLBACKS.map(lambda fields: fields | {"tran_ref": "T1"}))
def test_arbitrary_json_is_read_or_refused_and_nothing_else(content: object) -> None:
    assert_read_or_refused(json.dumps(content).encode())


def assert_read_or_refused(body: bytes) -> None:
    notification = None
    with suppress(InvalidNotification):
        notification = parse_notification(body, SIGNATURE, NOW)
    if notification is not None:
        text = json.dumps([notification.payload, notification.personal], ensure_ascii=False)
        assert "\\u0000" not in text.encode().decode()
        report = notification.report
        assert report.reason if isinstance(report, Unreadable) else report.transaction_ref
