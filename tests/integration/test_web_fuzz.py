"""Whatever is sent to the API, the answer is a problem document or the thing asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from iso4217 import Currency

from domain.money import AMOUNT_MAX
from interface.paytabs import sign_body
from tests.e2e.house import ORDER, SECRETS, House, house_on
from tests.integration.simulator_merchant import KEY

AUTHORIZATION = {"Authorization": f"Bearer {SECRETS['admin']}"}
JSON = {"Content-Type": "application/json", "Prefer": "respond-async", **AUTHORIZATION}
FEW = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
MAX_BODY_BYTES = 262_144
LONGEST_ADDRESS = 2048
DECIMALS = {"JPY": 0, "KRW": 0, "SAR": 2, "USD": 2, "KWD": 3, "OMR": 3, "CLF": 4, "UYW": 4}
PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def home(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server, with_worker=False, create_wait_ms=0) as home:
        yield home


@pytest.fixture(scope="module")
def client(home: House) -> FlaskClient:
    return home.app.test_client()


def assert_civil(answer: Any) -> None:
    """No error of ours, and every refusal is a problem document."""
    assert answer.status_code < 500, answer.data
    assert b"Traceback" not in answer.data
    if answer.status_code >= 400 and answer.request.method != "HEAD":
        assert answer.content_type == PROBLEM, answer.data
        problem = json.loads(answer.data)
        assert problem["status"] == answer.status_code
        assert problem["code"]


def create(client: FlaskClient, body: bytes) -> Any:
    return client.post("/v1/payments", data=body, headers=JSON)


@st.composite
def amounts(draw: st.DrawFn) -> tuple[str, str]:
    """A currency and an amount that it can express, written as text."""
    currency = draw(st.sampled_from(sorted(DECIMALS)))
    places = DECIMALS[currency]
    units = draw(st.integers(1, int(AMOUNT_MAX * 10**places)))
    return currency, f"{Decimal(units).scaleb(-places):.{places}f}"


@FEW
@given(amounts(), st.booleans())
def test_every_amount_that_a_currency_has_is_kept_to_the_digit(
    client: FlaskClient, order: tuple[str, str], is_text: bool
) -> None:
    currency, amount = order
    written = f'"{amount}"' if is_text else amount
    body = f'{{"amount":{written},"currency":"{currency}","description":"Tea"}}'
    answer = create(client, body.encode())
    assert answer.status_code == 202, answer.data
    assert f'"amount":{amount},' in answer.text


@FEW
@given(amounts(), st.integers(1, 9), st.integers(0, 30))
def test_one_decimal_more_is_refused(
    client: FlaskClient, order: tuple[str, str], digit: int, zeros: int
) -> None:
    currency, amount = order
    point = "" if "." in amount else "."
    finer = f"{amount}{point}{'0' * zeros}{digit}"
    body = f'{{"amount":{finer},"currency":"{currency}","description":"Tea"}}'
    answer = create(client, body.encode())
    assert answer.status_code == 422, answer.data
    assert answer.json["code"] == "invalid_amount"


STORABLE = st.characters(exclude_categories=["Cs"], exclude_characters="\0")


@FEW
@given(st.text(STORABLE, min_size=1, max_size=128))
@example("\u202eشاي\u202c 🫖👩‍👩‍👧‍👦")
@example("'; DROP TABLE view_payments; --")
@example("<script>alert(1)</script>")
@example("\x01\x1f\x7f\u2028\ufeff\U0010ffff")
def test_every_text_comes_back_as_it_was_sent(client: FlaskClient, text: str) -> None:
    asked = ORDER | {"description": text, "clientInfo": {"name": text}, "metadata": {"a": text}}
    answer = create(client, json.dumps(asked).encode())
    assert answer.status_code == 202, answer.data
    payment = answer.json
    assert payment["description"] == text
    assert payment["clientInfo"]["name"] == text
    assert payment["metadata"] == {"a": text}
    shown = client.get(f"/v1/payments/{payment['paymentId']}", headers=AUTHORIZATION)
    assert shown.json["description"] == text


@FEW
@given(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=3, max_size=3))
@example("XAU")
@example("XCG")
@example("XAD")
@example("XXX")
@example("XTS")
@example("SAR")
def test_a_currency_is_one_that_people_pay_in_or_refused_by_name(
    client: FlaskClient, code: str
) -> None:
    answer = create(client, json.dumps(ORDER | {"amount": 5, "currency": code}).encode())
    is_real = code in {each.code for each in Currency if each.exponent is not None}
    if is_real:
        assert (answer.status_code, answer.json["currency"]) == (202, code)
    else:
        assert (answer.status_code, answer.json["code"]) == (422, "invalid_currency")


TEXT_FIELDS = ("description", "contractId", "paymentMethod", "redirectUrl", "callbackUrl")


@FEW
@given(st.sampled_from(TEXT_FIELDS), st.characters(), st.integers(129, 300_000))
@example("description", "\U0001f375", 300_000)
@example("contractId", "\0", 129)
def test_a_very_long_text_is_refused_by_name(
    client: FlaskClient, field: str, sign: str, length: int
) -> None:
    body = json.dumps(ORDER | {field: sign * length}).encode()
    answer = create(client, body)
    assert_civil(answer)
    if len(body) > MAX_BODY_BYTES:
        assert answer.status_code == 413
    elif field == "description" or length > LONGEST_ADDRESS:
        assert answer.status_code == 422
        assert [error["pointer"] for error in answer.json["errors"]] == [f"/{field}"]


@FEW
@given(st.binary(max_size=300))
def test_raw_bytes_as_a_body(client: FlaskClient, body: bytes) -> None:
    assert_civil(create(client, body))
    assert_civil(client.post("/v1/payments/x/cancel", data=body, headers=JSON))
    signed = {"Signature": sign_body(KEY, body)}
    assert_civil(client.post("/v1/webhooks/paytabs", data=body, headers=signed))


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    [
        *("amount", "currency", "description", "contractId", "clientInfo", "paymentMethod"),
        *("captureMethod", "redirectUrl", "callbackUrl", "metadata", "x", "\ud800", ""),
    ]
)


@FEW
@given(st.dictionaries(FIELDS, ANYTHING, max_size=5))
@example({"\ud800": 1})
@example({"metadata": {"\ud800": "\udfff"}})
@example({"clientInfo": {"\ud800": {"\udc00": 1}}})
def test_any_json_in_any_field(client: FlaskClient, fields: dict[str, Any]) -> None:
    assert_civil(create(client, json.dumps(ORDER | fields).encode()))


@FEW
@given(st.dictionaries(st.text(max_size=10) | st.just("tran_ref"), ANYTHING, max_size=6))
def test_any_signed_json_as_a_callback(client: FlaskClient, fields: dict[str, Any]) -> None:
    body = json.dumps(fields).encode()
    signed = {"Signature": sign_body(KEY, body)}
    assert_civil(client.post("/v1/webhooks/paytabs", data=body, headers=signed))


PATHS = st.sampled_from(
    ["/v1/payments", "/v1/payments/", "/v1/return/paytabs/", "/v1/webhooks/", "/", "/openapi"]
)


@FEW
@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "X"]),
    PATHS,
    st.binary(max_size=40),
    st.binary(max_size=60),
)
def test_any_method_path_and_query(
    client: FlaskClient, method: str, path: str, rest: bytes, query: bytes
) -> None:
    address = path + quote_from_bytes(rest, safe="/") + "?" + quote_from_bytes(query, safe="=&+%")
    assert_civil(client.open(address, method=method, headers=AUTHORIZATION))


NAMES = st.sampled_from(
    [
        *("status", "contractId", "currency", "transactionRef", "createdFrom", "createdTo", "q"),
        *("limit", "cursor", "version", "asOf"),
    ]
)
TIMES = st.datetimes().map(lambda moment: f"{moment.isoformat()}+14:00")
VALUES = st.text(max_size=20) | TIMES | st.integers().map(str) | st.floats().map(str)


@FEW
@given(st.dictionaries(NAMES, VALUES, max_size=3))
@example({"createdFrom": "0001-01-01T00:00:00+14:00"})
@example({"createdTo": "9999-12-31T23:59:59-14:00"})
@example({"asOf": "0001-01-01T00:00:00+14:00"})
@example({"cursor": "MDAwMS0wMS0wMVQwMDowMDowMCsxNDowMHw3YzFjOGYzZS02ZjBhLTRmMGYtOWY2NC0zYTNm"})
@example({"createdFrom": "1e300"})
def test_any_filter(client: FlaskClient, query: dict[str, str]) -> None:
    usable = {name: value.encode("utf-8", "replace").decode() for name, value in query.items()}
    assert_civil(client.get("/v1/payments", query_string=usable, headers=AUTHORIZATION))
    made = create(client, json.dumps(ORDER).encode()).json["paymentId"]
    past = {name: value for name, value in usable.items() if name in {"version", "asOf"}}
    answer = client.get(f"/v1/payments/{made}", query_string=past, headers=AUTHORIZATION)
    assert_civil(answer)


HEADERS = st.sampled_from(
    [
        *("Authorization", "Content-Type", "Content-Length", "Idempotency-Key", "Prefer"),
        *("X-Correlation-Id", "traceparent", "X-User-Id", "X-Session-Id", "User-Agent"),
        *("Signature", "Accept", "Host", "X-Forwarded-For", "Cookie", "Range", "If-Match"),
    ]
)
VALUE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=60)


@FEW
@given(st.dictionaries(HEADERS, VALUE, max_size=4))
@example({"Content-Length": "-1"})
@example({"Content-Length": "\xb2"})
@example({"Content-Type": "application/json; charset=klingon"})
@example({"Content-Type": "multipart/form-data"})
@example({"Host": "a b\xff"})
def test_any_header(client: FlaskClient, headers: dict[str, str]) -> None:
    body = json.dumps(ORDER).encode()
    assert_civil(client.post("/v1/payments", data=body, headers={**JSON, **headers}))
    assert_civil(client.post("/v1/webhooks/paytabs", data=body, headers=headers))


@FEW
@given(
    st.dictionaries(st.text(max_size=10) | st.just("signature"), st.text(max_size=30), max_size=5),
    st.booleans(),
)
def test_any_form_on_the_way_back(
    client: FlaskClient, fields: dict[str, str], is_multipart: bool
) -> None:
    made = create(client, json.dumps(ORDER).encode()).json["paymentId"]
    usable = {
        name.encode("utf-8", "replace").decode(): value.encode("utf-8", "replace").decode()
        for name, value in fields.items()
    }
    kind = "multipart/form-data" if is_multipart else "application/x-www-form-urlencoded"
    answer = client.post(f"/v1/return/paytabs/{made}", data=usable, content_type=kind)
    assert_civil(answer)
