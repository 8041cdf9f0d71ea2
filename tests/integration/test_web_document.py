"""The API keeps to its own document: schemathesis with all checks and stateful links, and every
kind of answer compared with what the document says of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode

from tests.e2e.house import SECRETS, Api, House, house_on

FEW = settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[*HealthCheck],
)
CONFIG = schemathesis.Config.from_dict(
    {
        "auth": {"openapi": {"apiKey": {"bearer": SECRETS["admin"]}}},
        "checks": {
            "positive_data_acceptance": {
                "expected-statuses": ["2xx", "401", "403", "404", "409", "422"]
            }
        },
    }
)
"""422 is right for some data that a schema allows: a cursor that we never gave out, more decimals
than the currency has, a version together with a time."""
NOBODY = "7c1c8f3e-6f0a-4f0f-9f64-3a3f5d3f0b11"


@pytest.fixture(scope="module")
def home(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server, create_wait_ms=0) as home:
        yield home


@pytest.fixture(scope="module")
def document(home: House) -> Any:
    """The document as schemathesis reads it from the running app."""
    return schemathesis.openapi.from_wsgi("/openapi.json", home.app, config=CONFIG)


@pytest.mark.parametrize("mode", GenerationMode)
def test_whatever_is_sent_is_answered_as_the_document_says(
    document: Any, mode: GenerationMode
) -> None:
    """All checks, for data that the document allows and for data that it does not."""
    for found in document.get_all_operations():

        @FEW
        @given(found.ok().as_strategy(generation_mode=mode))
        def keeps_to_the_document(case: Case) -> None:
            case.call_and_validate()

        keeps_to_the_document()


def test_operations_one_after_another_keep_to_the_document(document: Any) -> None:
    machine = document.as_state_machine()
    machine.run(settings=settings(FEW, max_examples=15, stateful_step_count=6))


ORDER = {"amount": "149.50", "currency": "SAR", "description": "Tea"}
AGREEMENT = {
    "description": "Rent",
    "currency": "SAR",
    "payee": {"id": "p-1", "name": "Landlord"},
    "platformFeePercent": 2.5,
    "instalments": [{"dueOn": "2030-01-01", "amount": 100.01}],
}
PERSON = {
    "name": "Test Customer",
    "email": "customer@example.com",
    "address": {"city": "Riyadh", "country": "SA"},
}


@pytest.fixture(scope="module")
def busy(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server) as home:
        yield home


@pytest.fixture(scope="module")
def paid(busy: House) -> str:
    """A completed payment with everything that a payment can have."""
    payment = busy.api.created(clientInfo=PERSON, contractId="c-1", metadata={"a": "b"})
    busy.customer.pay(payment["transactionRef"])
    busy.api.saga_becomes(payment["paymentId"], "completed")
    busy.api.refunded(payment["paymentId"], amount=5, reason="broken")
    return str(payment["paymentId"])


@pytest.fixture(scope="module")
def agreed(busy: House) -> str:
    answer = busy.api.request("POST", "/v1/contracts", json=AGREEMENT)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["contractId"])


REFUNDS = "/v1/payments/{payment_id}/refunds"
ANSWERS: list[tuple[str, str, str, Any, int]] = [
    ("POST", "/v1/payments", "/v1/payments", ORDER, 201),
    ("POST", "/v1/payments", "/v1/payments", ORDER | {"amount": 1.234}, 422),
    ("GET", "/v1/payments", "/v1/payments?total=true", None, 200),
    ("GET", "/v1/payments", "/v1/payments?limit=0", None, 422),
    ("GET", "/v1/payments/{payment_id}", "/v1/payments/{paid}", None, 200),
    ("GET", "/v1/payments/{payment_id}", "/v1/payments/{paid}?version=1", None, 200),
    ("GET", "/v1/payments/{payment_id}", f"/v1/payments/{NOBODY}", None, 404),
    ("POST", "/v1/payments/{payment_id}/cancel", "/v1/payments/{paid}/cancel", {}, 409),
    ("POST", "/v1/payments/{payment_id}/capture", "/v1/payments/{paid}/capture", {}, 409),
    (
        "POST",
        "/v1/payments/{payment_id}/refunds",
        "/v1/payments/{paid}/refunds",
        {"amount": 1},
        201,
    ),
    ("POST", "/v1/payments/{payment_id}/refunds", "/v1/payments/{paid}/refunds", {"x": 1}, 422),
    ("GET", "/v1/payments/{payment_id}/events", "/v1/payments/{paid}/events", None, 200),
    ("GET", "/v1/payments/{payment_id}/saga", "/v1/payments/{paid}/saga", None, 200),
    ("POST", "/v1/payments/{payment_id}/saga/retry", "/v1/payments/{paid}/saga/retry", {}, 200),
    ("GET", "/v1/sagas", "/v1/sagas", None, 200),
    ("GET", "/v1/circuit-breakers", "/v1/circuit-breakers", None, 200),
    ("POST", "/v1/circuit-breakers/{name}/reset", "/v1/circuit-breakers/paytabs/reset", {}, 200),
    ("GET", "/v1/projections", "/v1/projections", None, 200),
    ("GET", "/v1/parked-events", "/v1/parked-events", None, 200),
    ("GET", "/v1/contracts", "/v1/contracts", None, 200),
    ("GET", "/v1/contracts/{contract_id}", "/v1/contracts/{agreed}", None, 200),
    ("GET", "/v1/contracts/{contract_id}/earnings", "/v1/contracts/{agreed}/earnings", None, 200),
    ("GET", "/v1/earnings", "/v1/earnings", None, 200),
]


@pytest.mark.parametrize(("method", "operation", "path", "body", "status"), ANSWERS)
def test_a_real_answer_is_as_the_document_says(
    busy: House,
    document: Any,
    paid: str,
    agreed: str,
    method: str,
    operation: str,
    path: str,
    body: Any,
    status: int,
) -> None:
    address = path.replace("{paid}", paid).replace("{agreed}", agreed)
    answer = busy.api.request(method, address, **({} if body is None else {"json": body}))
    assert answer.status_code == status, answer.text
    document[operation][method].validate_response(answer)


@pytest.mark.parametrize(("secret", "status"), [("wrong", 401), (SECRETS["read"], 403)])
def test_a_refusal_of_a_key_is_as_the_document_says(
    busy: House, document: Any, secret: str, status: int
) -> None:
    answer = Api(busy.url, secret).create()
    assert answer.status_code == status
    document["/v1/payments"]["POST"].validate_response(answer)


def test_every_call_that_needs_a_key_is_in_the_document(home: House) -> None:
    described = home.app.test_client().get("/openapi.json").json["paths"]
    served = {
        (rule.rule.replace("<uuid:", "{").replace("<path:", "{"), method)
        for rule in home.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if hasattr(home.app.view_functions[rule.endpoint], "needed_role")
    }
    plain = {(_without_types(path), method) for path, method in served}
    named = {(path, method.upper()) for path, methods in described.items() for method in methods}
    assert plain <= named


def _without_types(rule: str) -> str:
    return re.sub(r"[<{](?:\w+:)?(\w+)>", r"{\1}", rule)


def test_every_operation_says_what_it_does_and_how_it_may_fail(home: House) -> None:
    document = home.app.test_client().get("/openapi.json").json
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            name = f"{method} {path}"
            assert operation["summary"], name
            assert operation["security"] == [{"apiKey": []}], name
            statuses = set(operation["responses"])
            assert statuses >= {"401", "403", "429", "500", "503"}, name
            assert any(status.startswith("2") for status in statuses), name
            assert ("404" in statuses) == ("{" in path), name
    assert document["components"]["securitySchemes"]["apiKey"]["description"]


def test_the_page_names_the_fields_of_every_body(home: House) -> None:
    page = home.app.test_client().get("/docs").text
    for field in ("reason", "amount", "captureMethod"):
        assert f"<code>{field}</code>" in page
    sections = page.split("<section>")
    for path in ("cancel", "capture", "refunds"):
        [section] = [s for s in sections if f"/{{payment_id}}/{path}</code>" in s]
        assert "<code>reason</code>" in section or "<code>amount</code>" in section


def test_every_link_leads_to_an_operation_and_a_parameter_that_exist(home: House) -> None:
    document = home.app.test_client().get("/openapi.json").json
    operations = {
        operation["operationId"]: operation
        for methods in document["paths"].values()
        for operation in methods.values()
    }
    links = [
        link
        for operation in operations.values()
        for answer in operation["responses"].values()
        for link in answer.get("links", {}).values()
    ]
    assert len(links) > 20
    for link in links:
        names = {parameter["name"] for parameter in operations[link["operationId"]]["parameters"]}
        assert set(link["parameters"]) <= names
