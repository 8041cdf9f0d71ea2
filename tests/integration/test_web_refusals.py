"""What the API refuses, with which problem document, and that nothing is recorded for it."""

from __future__ import annotations

import gzip
import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from domain.audit_entry import REFUSED, AuditEntry
from domain.security_incident import SecurityIncident
from tests.e2e.house import ORDER, SECRETS, Api, House, house_on

NOBODY = "7c1c8f3e-6f0a-4f0f-9f64-3a3f5d3f0b11"
JSON = {"Content-Type": "application/json"}
Kept = AuditEntry.Recorded | SecurityIncident.Recorded


@pytest.fixture(scope="module")
def home(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server, with_worker=False, create_wait_ms=0) as home:
        yield home


@pytest.fixture
def api(home: House) -> Iterator[Api]:
    """An API at which every call must leave all logs as they are, but for what is kept of the
    refusal itself."""
    before = home.recorded()
    kept_before = len(home.events_of("Operations"))
    yield home.api
    after = home.recorded() | {"Operations": before["Operations"]}
    assert after == before
    kept = home.events_of("Operations")[kept_before:]
    assert all(isinstance(event, Kept) for event in kept), kept
    assert all(event.outcome == REFUSED for event in kept if isinstance(event, AuditEntry.Recorded))


def problem_of(answer: requests.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["code"] == code, problem
    assert problem["type"].endswith(f"/{code}")
    assert problem["title"]
    assert problem["detail"]
    assert problem["correlationId"] == answer.headers["X-Correlation-Id"]
    return dict(problem)


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"curency": "SAR"}, "/curency"),
        ({"a/b~c": 1}, "/a~1b~0c"),
        ({"description": ""}, "/description"),
        ({"description": "x" * 129}, "/description"),
        ({"description": 5}, "/description"),
        ({"description": None}, "/description"),
        ({"currency": "sar"}, "/currency"),
        ({"currency": "SARS"}, "/currency"),
        ({"currency": 682}, "/currency"),
        ({"contractId": ""}, "/contractId"),
        ({"clientInfo": {"mail": "a@example.com"}}, "/clientInfo/mail"),
        ({"clientInfo": {"email": "nobody"}}, "/clientInfo/email"),
        ({"clientInfo": {"address": {"country": "Saudi"}}}, "/clientInfo/address/country"),
        ({"clientInfo": []}, "/clientInfo"),
        ({"captureMethod": "later"}, "/captureMethod"),
        ({"paymentMethod": "Card!"}, "/paymentMethod"),
        ({"redirectUrl": "shop.example.com"}, "/redirectUrl"),
        ({"redirectUrl": "javascript:alert(1)"}, "/redirectUrl"),
        ({"redirectUrl": "https://me:secret@shop.example.com/"}, "/redirectUrl"),
        ({"redirectUrl": "https://shop.example.com/\r\nSet-Cookie: a=b"}, "/redirectUrl"),
        ({"redirectUrl": "http://[::1"}, "/redirectUrl"),
        ({"redirectUrl": "https://"}, "/redirectUrl"),
        ({"redirectUrl": "https://shop.example.com/" + "x" * 2048}, "/redirectUrl"),
        ({"callbackUrl": "ftp://shop.example.com/"}, "/callbackUrl"),
        ({"callbackUrl": "http://shop.example.com:99999/"}, "/callbackUrl"),
        ({"metadata": {"a": 1}}, "/metadata/a"),
        ({"metadata": {"a": "x" * 501}}, "/metadata/a"),
        ({"metadata": {str(n): "x" for n in range(51)}}, "/metadata"),
        ({"metadata": {"n" * 41: "v"}}, "/metadata/" + "n" * 41),
        ({"metadata": {"": "x"}}, "/metadata/"),
        ({"amount": True}, "/amount"),
        ({"amount": None}, "/amount"),
        ({"amount": []}, "/amount"),
        ({"amount": "ten"}, "/amount"),
        ({"amount": ""}, "/amount"),
        ({"amount": "NaN"}, "/amount"),
        ({"amount": "Infinity"}, "/amount"),
        ({"amount": "1e2"}, "/amount"),
        ({"amount": "1_000"}, "/amount"),
        ({"amount": " 10"}, "/amount"),
        ({"amount": "١٠"}, "/amount"),
        ({"amount": "0x10"}, "/amount"),
        ({"amount": "1,5"}, "/amount"),
        ({"amount": "+1"}, "/amount"),
        ({"amount": "9" * 5000}, "/amount"),
    ],
)
def test_a_wrong_field_is_named(api: Api, fields: dict[str, Any], pointer: str) -> None:
    problem = problem_of(api.create(**fields), 422, "validation_error")
    assert [error["pointer"] for error in problem["errors"]] == [pointer]
    assert problem["errors"][0]["detail"]


def test_all_wrong_fields_are_named_at_once(api: Api) -> None:
    problem = problem_of(api.request("POST", "/v1/payments", json={}), 422, "validation_error")
    assert {error["pointer"] for error in problem["errors"]} == {
        "/amount",
        "/currency",
        "/description",
    }


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        ("0", "SAR"),
        ("-0", "SAR"),
        ("0.00", "SAR"),
        ("-1", "SAR"),
        ("-0.01", "SAR"),
        ("0.001", "SAR"),
        ("149.555", "SAR"),
        ("1.0005", "KWD"),
        ("1.5", "JPY"),
        ("10000000000", "SAR"),
        ("99999999999999999999999999999999", "SAR"),
        ("1e400", "SAR"),
        ("1e-400", "SAR"),
        ("1e999999999", "SAR"),
        ("1E-999999999", "SAR"),
        ("-1e999999999", "SAR"),
        ("0." + "0" * 5000 + "1", "SAR"),
    ],
)
def test_an_amount_that_its_currency_cannot_express_is_refused(
    api: Api, amount: str, currency: str
) -> None:
    body = f'{{"amount":{amount},"currency":"{currency}","description":"Tea"}}'
    answer = api.request("POST", "/v1/payments", data=body, headers=JSON)
    problem = problem_of(answer, 422, "invalid_amount")
    assert problem["errors"][0]["pointer"] == "/amount"
    assert len(problem["detail"]) < 500


@pytest.mark.parametrize("currency", ["XXX", "XAU", "XTS", "ZZZ", "AAA"])
def test_a_currency_that_nobody_pays_in_is_refused(api: Api, currency: str) -> None:
    problem = problem_of(api.create(currency=currency), 422, "invalid_currency")
    assert problem["errors"][0]["pointer"] == "/currency"


@pytest.mark.parametrize("method", ["", "later", "Manual", None, True])
def test_a_capture_method_that_is_not_offered_is_refused(api: Api, method: Any) -> None:
    problem = problem_of(api.create(captureMethod=method), 422, "validation_error")
    assert problem["errors"][0]["pointer"] == "/captureMethod"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{nope",
        b"\xff\xfe",
        b'{"amount":NaN}',
        b'{"amount":-Infinity}',
        b'{"amount":1e}',
        b'{"amount":1,"amount":2,"currency":"SAR","description":"Tea"}',
        b'{"metadata":{"a":"1","a":"2"}}',
        b"[" * 100_000,
        b'{"a":' * 30_000,
        b"[" * 900 + b"]" * 900,
        b'{"metadata":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"metadata":' + b'{"a":' * 17 + b"1" + b"}" * 17 + b"}",
        b'{"amount":' + b"9" * 5000 + b"}",
        b'{"amount":1e99999999999999999999,"currency":"SAR","description":"Tea"}',
        b'{"amount":0e-99999999999999999999}',
        b'{"description":1e99999999999999999999}',
        b'{"nobodyKnows":[1e99999999999999999999]}',
    ],
)
def test_a_body_that_is_no_json_is_refused(api: Api, body: bytes) -> None:
    answer = api.request("POST", "/v1/payments", data=body, headers=JSON)
    if body.startswith(b"[" * 900 + b"]"):
        problem_of(answer, 422, "validation_error")
    else:
        problem_of(answer, 400, "invalid_json")


def test_a_number_that_is_too_long_is_refused_in_our_own_words(api: Api) -> None:
    body = b'{"amount":' + b"9" * 5000 + b"}"
    problem = problem_of(
        api.request("POST", "/v1/payments", data=body, headers=JSON), 400, "invalid_json"
    )
    assert problem["detail"] == "the body is no JSON: a number has more than 1000 digits"


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b"true", b'"text"'])
def test_json_that_is_no_object_is_refused(api: Api, body: bytes) -> None:
    answer = api.request("POST", "/v1/payments", data=body, headers=JSON)
    problem_of(answer, 422, "validation_error")


def test_json_inside_a_json_string_is_refused(api: Api) -> None:
    inside = json.dumps({**ORDER, "amount": "1.00", "description": "a\0b"})
    answer = api.request("POST", "/v1/payments", json=inside)
    problem_of(answer, 422, "validation_error")


@pytest.mark.parametrize("text", [r"a\u0000b", r"\ud800", r"\udfff\ud800"])
@pytest.mark.parametrize("place", ["description", "name", "value"])
def test_text_that_no_database_holds_is_refused(api: Api, text: str, place: str) -> None:
    name, value = (text, "x") if place == "name" else ("n", text if place == "value" else "x")
    description = text if place == "description" else "Tea"
    body = (
        f'{{"amount":1,"currency":"SAR","description":"{description}",'
        f'"metadata":{{"{name}":"{value}"}}}}'
    )
    answer = api.request("POST", "/v1/payments", data=body, headers=JSON)
    problem = problem_of(answer, 422, "validation_error")
    assert problem["errors"][0]["pointer"].startswith(("/description", "/metadata/"))


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""],
)
@pytest.mark.parametrize("path", ["/v1/payments", f"/v1/payments/{NOBODY}/cancel"])
def test_another_content_type_is_refused(api: Api, content_type: str, path: str) -> None:
    headers = {"Content-Type": content_type}
    answer = api.request("POST", path, data=json.dumps(ORDER), headers=headers)
    problem_of(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("coding", ["gzip", "br", "identity, gzip"])
def test_a_body_that_is_packed_is_refused(api: Api, coding: str) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": coding}
    body = gzip.compress(json.dumps(ORDER).encode())
    answer = api.request("POST", "/v1/payments", data=body, headers=headers)
    problem = problem_of(answer, 415, "unsupported_media_type")
    assert "Content-Encoding" in problem["detail"]


def test_a_body_may_say_that_it_is_not_packed(home: House) -> None:
    plain = {"Content-Encoding": "identity"}
    answer = home.api.request("POST", "/v1/payments", json=ORDER, headers=plain)
    assert answer.status_code == 201


def test_a_refusal_speaks_to_people(api: Api) -> None:
    problem = problem_of(api.get("/v1/payments", createdFrom="x"), 422, "validation_error")
    assert problem["errors"][0]["detail"].startswith("expected a time with its zone")


def test_json_with_a_charset_or_a_suffix_is_json(home: House) -> None:
    for content_type in ("application/json; charset=utf-8", "application/vnd.example+json"):
        answer = home.api.request(
            "POST",
            "/v1/payments",
            data=json.dumps(ORDER),
            headers={"Content-Type": content_type},
        )
        assert answer.status_code == 201


@pytest.mark.parametrize("path", ["/v1/payments", "/v1/webhooks/paytabs"])
def test_a_huge_body_is_refused(api: Api, path: str) -> None:
    body = b'{"amount":"' + b"9" * 300_000 + b'"}'
    answer = api.request("POST", path, data=body, headers=JSON)
    problem = problem_of(answer, 413, "payload_too_large")
    assert problem["detail"] == "send at most 262144 bytes"


@pytest.mark.parametrize("path", ["/v1/payments", "/v1/webhooks/paytabs"])
def test_a_huge_body_without_a_length_is_refused(api: Api, path: str) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield b"x" * 10_000

    problem_of(api.request("POST", path, data=chunks(), headers=JSON), 413, "payload_too_large")


@pytest.mark.parametrize(
    "path", ["/v1/payments", "/v1/webhooks/paytabs", f"/v1/return/paytabs/{NOBODY}"]
)
@pytest.mark.parametrize("chunk", [b"zz\r\n", b"-1\r\n", b"5\r\nabcdefgh\r\n0\r\n\r\n"])
def test_a_body_in_chunks_that_are_none_is_refused(api: Api, path: str, chunk: bytes) -> None:
    connection = http.client.HTTPConnection(api.url.removeprefix("http://"), timeout=10)
    connection.putrequest("POST", path)
    connection.putheader("Authorization", str(api.http.headers["Authorization"]))
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders(chunk)
    answer = connection.getresponse()
    problem = json.loads(answer.read())
    connection.close()
    assert answer.status == 400
    assert problem["code"] == "bad_request"


@pytest.mark.parametrize(
    "path", ["/v1/payments/{}", "/v1/payments/{}/events", "/v1/payments/{}/saga"]
)
def test_an_unknown_id_is_not_found(api: Api, path: str) -> None:
    problem_of(api.get(path.format(NOBODY)), 404, "not_found")


@pytest.mark.parametrize(
    "action", ["cancel", "capture", "refunds", "saga/retry", "saga/compensate"]
)
def test_nothing_can_be_done_to_an_unknown_payment(api: Api, action: str) -> None:
    answer = api.request("POST", f"/v1/payments/{NOBODY}/{action}", json={})
    problem_of(answer, 404, "not_found")


@pytest.mark.parametrize(
    "body", [{"reason": ""}, {"reason": "x" * 256}, {"reason": 5}, {"why": "x"}, []]
)
def test_a_wrong_cancellation_is_refused(api: Api, body: Any) -> None:
    problem_of(api.cancel(NOBODY, json=body), 422, "validation_error")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/payments/abc",
        "/v1/payments/",
        "/v1//payments",
        "/v1/payments/../payments",
        "/v1/payments/%00",
        "/v1/payments/%ff%fe",
        "/V1/payments",
        "/favicon.ico",
        "/static/x",
        "/openapi/",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/" + "x" * 5000,
    ],
)
def test_a_path_that_leads_nowhere_is_not_found(home: House, api: Api, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", home.settings.port, timeout=10)
    connection.request("GET", path, headers={"Authorization": f"Bearer {SECRETS['read']}"})
    answer = connection.getresponse()
    problem = json.loads(answer.read())
    connection.close()
    assert answer.status == 404
    assert problem["code"] == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/payments", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("PATCH", f"/v1/payments/{NOBODY}", {"GET", "HEAD", "OPTIONS"}),
        ("GET", f"/v1/payments/{NOBODY}/cancel", {"OPTIONS", "POST"}),
        ("GET", "/v1/webhooks/paytabs", {"OPTIONS", "POST"}),
        ("POST", "/healthz", {"GET", "HEAD", "OPTIONS"}),
        ("BREW", "/v1/payments", {"GET", "HEAD", "OPTIONS", "POST"}),
    ],
)
def test_a_method_that_is_not_offered_names_those_that_are(
    api: Api, method: str, path: str, allowed: set[str]
) -> None:
    answer = api.request(method, path)
    problem_of(answer, 405, "method_not_allowed")
    assert {name.strip() for name in answer.headers["Allow"].split(",")} == allowed
    assert answer.json()["detail"] == f"use one of {', '.join(sorted(allowed))}"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/payments"),
        ("POST", f"/v1/payments/{NOBODY}/cancel"),
        ("GET", f"/v1/payments/{NOBODY}/saga"),
        ("GET", f"/v1/events/{NOBODY}"),
        ("GET", "/v1/circuit-breakers/paytabs"),
    ],
)
def test_a_query_that_a_call_does_not_take_is_refused(api: Api, method: str, path: str) -> None:
    problem = problem_of(api.request(method, f"{path}?asof=now&a/b"), 422, "validation_error")
    assert [error["pointer"] for error in problem["errors"]] == ["/asof", "/a~1b"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/payments?status=completed&limit=2&status=failed", "/status"),
        ("/v1/payments?limit=1&limit=1", "/limit"),
        (f"/v1/payments/{NOBODY}?version=1&version=2", "/version"),
    ],
)
def test_a_parameter_that_comes_twice_is_refused(api: Api, path: str, name: str) -> None:
    problem = problem_of(api.request("GET", path), 422, "validation_error")
    assert [error["pointer"] for error in problem["errors"]] == [name]


@pytest.mark.parametrize("currency", ["sar", "SA", ""])
def test_a_list_is_not_asked_for_what_is_no_currency(api: Api, currency: str) -> None:
    problem = problem_of(api.get("/v1/payments", currency=currency), 422, "validation_error")
    assert [error["pointer"] for error in problem["errors"]] == ["/currency"]


@pytest.mark.parametrize("key", ["", '""', "x" * 256, "caf\xe9", "a\tb", "\x7f"])
def test_an_idempotency_key_that_is_none_is_refused(api: Api, key: str) -> None:
    client = api.http
    before = client.headers.copy()
    connection = http.client.HTTPConnection(api.url.removeprefix("http://"), timeout=10)
    connection.request(
        "POST",
        "/v1/payments",
        body=json.dumps(ORDER),
        headers={**JSON, "Authorization": before["Authorization"], "Idempotency-Key": key},
    )
    answer = connection.getresponse()
    problem = json.loads(answer.read())
    connection.close()
    assert answer.status == 400
    assert problem["code"] == "invalid_idempotency_key"


CALLS = [
    ("GET", "/v1/payments", "read"),
    ("POST", "/v1/payments", "write"),
    ("GET", f"/v1/payments/{NOBODY}", "read"),
    ("GET", f"/v1/payments/{NOBODY}/events", "read"),
    ("GET", f"/v1/payments/{NOBODY}/saga", "read"),
    ("POST", f"/v1/payments/{NOBODY}/cancel", "write"),
    ("POST", f"/v1/payments/{NOBODY}/capture", "write"),
    ("POST", f"/v1/payments/{NOBODY}/refunds", "write"),
    ("POST", f"/v1/payments/{NOBODY}/saga/retry", "admin"),
    ("POST", f"/v1/payments/{NOBODY}/saga/compensate", "admin"),
    ("GET", "/v1/circuit-breakers", "read"),
    ("GET", "/v1/circuit-breakers/nobody", "read"),
    ("POST", "/v1/circuit-breakers/nobody/force-open", "admin"),
    ("POST", "/v1/circuit-breakers/nobody/reset", "admin"),
]
ROLES = ["read", "write", "admin"]


@pytest.mark.parametrize(("method", "path", "role"), CALLS)
@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Basic {SECRETS['admin']}",
        f"Bearer {SECRETS['admin']}x",
        f"Bearer {SECRETS['admin'].upper()}",
        SECRETS["admin"],
    ],
)
def test_nobody_gets_in_without_a_key(
    home: House, api: Api, method: str, path: str, role: str, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = requests.request(method, home.url + path, headers=headers, data=b"x" * 10, timeout=10)
    problem_of(answer, 401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path", "role"), CALLS)
def test_a_role_does_what_it_may_and_no_more(
    home: House, api: Api, method: str, path: str, role: str
) -> None:
    for given in ROLES:
        answer = Api(home.url, SECRETS[given]).request(method, path, data=b"{}", headers=JSON)
        if ROLES.index(given) < ROLES.index(role):
            problem_of(answer, 403, "forbidden")
        else:
            assert answer.status_code in {200, 404, 422}


def test_a_key_is_asked_for_before_the_body_is_read(home: House, api: Api) -> None:
    answer = requests.post(f"{home.url}/v1/payments", data=b"x" * 300_000, timeout=10)
    problem_of(answer, 401, "unauthorized")


@pytest.mark.parametrize("path", ["/v1/payments", "/healthz", "/nowhere", "/openapi.json"])
def test_every_answer_carries_the_security_headers(api: Api, path: str) -> None:
    headers = api.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "Python" not in headers.get("X-Powered-By", "")
    assert "Set-Cookie" not in headers


def test_a_house_without_a_worker_is_alive_but_not_ready(home: House, api: Api) -> None:
    assert api.get("/healthz").status_code == 200
    answer = api.get("/readyz")
    assert answer.status_code == 503
    checks = {check["name"]: check for check in answer.json()["checks"]}
    assert checks["database"]["ok"]
    assert "start `paysaga worker`" in checks["follower:PaymentSagas"]["detail"]
