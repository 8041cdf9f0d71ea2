"""Whatever strangers or a confused gateway send: never an error of ours, never a fact from them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from interface.paytabs import sign_body
from interface.web.incident_limit import IN_ALL_MAX
from tests.e2e.house import House, house_on
from tests.integration.simulator_merchant import KEY
from tests.integration.test_web_fuzz import ANYTHING, assert_civil
from tests.integration.test_web_webhooks import callback

PATH = "/v1/webhooks/paytabs"
MANY = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PAYMENT = {
    "paymentId": "7c1c8f3e-6f0a-4f0f-9f64-3a3f5d3f0b11",
    "transactionRef": "TST2620100000042",
    "description": "Tea",
}
GOOD = callback(PAYMENT)
TEN_MEGABYTES = 10 * 1024 * 1024


@pytest.fixture(scope="module")
def home(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server, with_worker=False, create_wait_ms=0) as home:
        yield home


@pytest.fixture(scope="module")
def client(home: House) -> FlaskClient:
    return home.app.test_client()


@pytest.fixture(scope="module", autouse=True)
def nothing_but_incidents(home: House) -> Iterator[None]:
    """What the unsigned messages of this module leave behind is counted by each test; the signed
    ones leave webhooks, and nothing else is ever recorded."""
    before = home.recorded()
    yield
    after = home.recorded()
    changed = {name for name in after if after[name] != before[name]}
    assert changed <= {"Operations", "Webhooks"}


def facts(home: House) -> dict[str, int]:
    """How far each log has come but the one of security events."""
    return {name: count for name, count in home.recorded().items() if name != "Operations"}


LATIN = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=200)
HEADER_NAMES = st.sampled_from(
    [
        *("Signature", "signature", "SIGNATURE", "X-Signature", "Authorization", "Client-Key"),
        *("Content-Type", "Content-Encoding", "Transfer-Encoding", "Content-Length", "Expect"),
        *("User-Agent", "X-Correlation-Id", "traceparent", "X-User-Id", "X-Session-Id", "Cookie"),
        *("X-Forwarded-For", "Host", "Range", "Accept", "X-HTTP-Method-Override"),
    ]
)
HEADERS = st.lists(st.tuples(HEADER_NAMES, LATIN), max_size=6)
SIGNATURES = st.one_of(
    st.text("0123456789abcdef", min_size=64, max_size=64),
    st.text("0123456789abcdefABCDEFgx ,=", max_size=140),
    LATIN,
)


def mutated(body: bytes, place: int, piece: bytes, cut: int) -> bytes:
    """The body with some bytes taken out at a place and others put in."""
    start = place % (len(body) + 1)
    return body[:start] + piece + body[start + cut :]


NEARLY_GOOD = st.builds(
    mutated, st.just(GOOD), st.integers(0, 5000), st.binary(max_size=8), st.integers(0, 8)
)
BODIES = st.one_of(st.binary(max_size=400), NEARLY_GOOD)


@MANY
@given(BODIES, SIGNATURES, HEADERS)
@example(GOOD, "", [])
@example(GOOD, sign_body(KEY, GOOD).upper(), [])
@example(GOOD, sign_body(KEY, GOOD)[:-1], [])
@example(GOOD, f"{sign_body(KEY, GOOD)},{sign_body(KEY, GOOD)}", [])
@example(GOOD, "\xe9" * 64, [("Content-Type", "\xff")])
@example(b"", sign_body("", b""), [])
def test_what_is_not_signed_is_refused_and_leaves_no_fact(
    home: House, client: FlaskClient, body: bytes, signature: str, headers: list[tuple[str, str]]
) -> None:
    before = facts(home)
    others = [(name, value) for name, value in headers if name.lower() != "signature"]
    answer = client.post(PATH, data=body, headers=[*others, ("Signature", signature)])
    assert_civil(answer)
    assert answer.status_code in {400, 401, 413}
    assert facts(home) == before


@MANY
@given(BODIES, HEADERS)
def test_any_headers_around_an_unsigned_body(
    home: House, client: FlaskClient, body: bytes, headers: list[tuple[str, str]]
) -> None:
    before = facts(home)
    answer = client.post(PATH, data=body, headers=headers)
    assert_civil(answer)
    assert answer.status_code in {400, 401, 413}
    assert facts(home) == before


def test_of_all_that_the_strangers_sent_few_security_events_were_recorded(
    home: House, client: FlaskClient
) -> None:
    """All came from one address, and within a few windows of the limit."""
    for _ in range(200):
        assert client.post(PATH, data=GOOD).status_code == 401
    events = home.events_of("Operations")
    assert events
    assert len(events) <= 10 * IN_ALL_MAX
    for event in events:
        assert event.kind == "webhook_signature"
        assert event.ip_address == "127.0.0.1"
        assert event.detail["reason"].startswith("signature_")


@MANY
@given(BODIES)
@example(b"")
@example(b"\xff\xfe")
@example(b'{"tran_ref":"T\xc3\x28"}')
@example(b"[" * 100_000)
@example(b'{"a":' * 30_000)
@example(b'{"tran_ref":' + b"9" * 5000 + b"}")
@example(b'{"tran_ref":1e999999999}')
@example(b'{"tran_ref":"T","tran_total":1e-999999999}')
@example(b'{"tran_ref":"T","tran_total":' + b"9" * 5000 + b"}")
@example(b'{"\\ud800":"\\udfff","tran_ref":"\\u0000"}')
@example(b"{" + b",".join(b'"f%d":1' % n for n in range(5000)) + b"}")
@example(b'{"tran_ref":"T","cart_id":"' + b"x" * 100_000 + b'"}')
def test_any_signed_bytes_are_taken_or_refused(
    home: House, client: FlaskClient, body: bytes
) -> None:
    answer = client.post(PATH, data=body, headers={"Signature": sign_body(KEY, body)})
    assert_civil(answer)
    assert answer.status_code in {200, 400}


FIELD = st.sampled_from(
    [
        *("tran_ref", "previous_tran_ref", "profile_id", "cart_id", "cart_amount", "tran_total"),
        *("tran_currency", "cart_currency", "tran_type", "payment_result", "payment_info"),
        *("customer_details", "token", "threeDSDetails", "user_defined", "ipn_trace", "extra"),
    ]
)
ODD = st.one_of(
    ANYTHING,
    st.none(),
    st.sampled_from(["", " ", "0", "-1", "NaN", "1e400", "٣", "149.50", "A", "Sale", "\0"]),
    st.dictionaries(
        st.sampled_from(["response_status", "response_code", "transaction_time", "card_scheme"]),
        ANYTHING,
        max_size=4,
    ),
)


@MANY
@given(st.dictionaries(FIELD, ODD, max_size=5), st.sets(FIELD, max_size=4))
@example({"tran_total": 149.5, "profile_id": "90001"}, set())
@example({"payment_result": None, "payment_info": []}, {"customer_details"})
def test_a_callback_with_odd_missing_and_extra_fields_is_stored(
    home: House, client: FlaskClient, odd: dict[str, Any], missing: set[str]
) -> None:
    content = {**json.loads(GOOD), **odd}
    body = json.dumps({k: v for k, v in content.items() if k not in missing}).encode()
    answer = client.post(PATH, data=body, headers={"Signature": sign_body(KEY, body)})
    assert_civil(answer)
    assert answer.status_code == 200, answer.text
    assert answer.json["webhookId"]


@pytest.mark.parametrize("is_signed", [True, False])
def test_ten_megabytes_are_refused_unread(
    home: House, client: FlaskClient, is_signed: bool
) -> None:
    before = home.recorded()
    body = b'{"tran_ref":"' + b"x" * TEN_MEGABYTES + b'"}'
    headers = {"Signature": sign_body(KEY, body)} if is_signed else {}
    answer = client.post(PATH, data=body, headers=headers)
    assert_civil(answer)
    assert answer.status_code == 413
    assert home.recorded() == before
