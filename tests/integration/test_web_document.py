"""The API keeps to its own document: schemathesis with all checks and stateful links, and every
kind of answer compared with what the document says of it."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from pydantic import BaseModel
from schemathesis import AuthContext, Case, GenerationMode
from schemathesis.core import NOT_SET

from interface.paytabs import sign_body, sign_form
from interface.web import event_streams
from interface.web.answers import Answer
from interface.web.description import schema_name
from interface.web.examples import EXAMPLES
from interface.web.models import Model
from interface.web.problems import KINDS
from tests.e2e.house import SECRETS, WAIT_SECONDS, Api, House, house_on, until
from tests.integration.simulator_merchant import KEY
from tests.integration.test_web_webhooks import callback

FEW = settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[*HealthCheck],
)
CONFIG = schemathesis.Config.from_dict(
    {
        "checks": {
            "positive_data_acceptance": {
                "expected-statuses": ["2xx", "401", "403", "404", "409", "422"]
            }
        },
    }
)
"""422 is right for some data that a schema allows: a cursor that we never gave out, more decimals
than the currency has, a version together with a time."""
STREAM_SECONDS = 0.05
NOTIFICATIONS = "/v1/webhooks/paytabs"
NOBODY = "7c1c8f3e-6f0a-4f0f-9f64-3a3f5d3f0b11"


class Credentials:
    """What a request has to show: the gateway's signature of its body, or a merchant's key."""

    def get(self, case: Case, _context: AuthContext) -> tuple[str, str]:
        if case.operation.path != NOTIFICATIONS:
            return "Authorization", f"Bearer {SECRETS['admin']}"
        return "Signature", sign_body(KEY, _as_sent(case.body))

    def set(self, case: Case, credentials: tuple[str, str], _context: AuthContext) -> None:
        name, value = credentials
        case.headers[name] = value


def _as_sent(body: Any) -> bytes:
    if body is NOT_SET:
        return b""
    return body if isinstance(body, bytes) else json.dumps(body).encode()


@pytest.fixture(scope="module")
def home(postgres_server: Any) -> Iterator[House]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_streams, "STREAM_SECONDS_MAX", STREAM_SECONDS)
        with house_on(postgres_server, create_wait_ms=0) as home:
            yield home


@pytest.fixture(scope="module")
def document(home: House) -> Any:
    """The document as schemathesis reads it from the running app."""
    document = schemathesis.openapi.from_wsgi("/openapi.json", home.app, config=CONFIG)
    document.auth(refresh_interval=None)(Credentials)
    return document


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


def test_what_is_signed_is_taken(home: House, document: Any) -> None:
    """Else all that was sent to the gateway's address above was refused for its signature."""
    operation = document[NOTIFICATIONS]["POST"]
    case = operation.Case(
        body={"tran_ref": "TST1", "cart_id": "\xe9"}, media_type="application/json"
    )
    document.auth.set(case, AuthContext(operation, home.app))
    case.call_and_validate()


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
def ids(busy: House, paid: str, agreed: str) -> dict[str, str]:
    """The ids of one thing of each kind."""
    told = busy.api.created(callbackUrl=busy.merchant.url)
    busy.api.cancel(told["paymentId"])
    [confirmation] = until(lambda: busy.api.data("/v1/confirmations"))
    [webhook, *_] = until(lambda: busy.api.data("/v1/webhooks", paymentId=paid))
    [event, *_] = until(lambda: busy.api.data("/v1/events"))
    return {
        "paid": paid,
        "agreed": agreed,
        "webhook": webhook["webhookId"],
        "confirmation": confirmation["confirmationId"],
        "event": event["id"],
    }


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
    ("GET", "/v1/webhooks", "/v1/webhooks", None, 200),
    ("GET", "/v1/webhooks", "/v1/webhooks?receivedFrom=1", None, 422),
    ("GET", "/v1/webhooks/{webhook_id}", "/v1/webhooks/{webhook}", None, 200),
    ("GET", "/v1/webhooks/{webhook_id}", f"/v1/webhooks/{NOBODY}", None, 404),
    ("POST", "/v1/webhooks/{webhook_id}/replay", "/v1/webhooks/{webhook}/replay", {}, 200),
    ("GET", "/v1/confirmations", "/v1/confirmations", None, 200),
    (
        "GET",
        "/v1/confirmations/{confirmation_id}",
        "/v1/confirmations/{confirmation}",
        None,
        200,
    ),
    (
        "POST",
        "/v1/confirmations/{confirmation_id}/redeliver",
        "/v1/confirmations/{confirmation}/redeliver",
        {},
        202,
    ),
    (
        "POST",
        "/v1/confirmations/redeliver",
        "/v1/confirmations/redeliver",
        {"since": "2026-01-01T00:00:00Z"},
        202,
    ),
    ("POST", "/v1/confirmations/redeliver", "/v1/confirmations/redeliver", {"since": 1}, 422),
    ("GET", "/v1/events", "/v1/events?limit=100", None, 200),
    ("GET", "/v1/events/{event_id}", "/v1/events/{event}", None, 200),
    ("GET", "/v1/events/{event_id}", f"/v1/events/{NOBODY}", None, 404),
    ("GET", "/v1/events/stream", "/v1/events/stream?after=0", None, 200),
    ("GET", "/v1/journal/verify", "/v1/journal/verify", None, 200),
    ("GET", "/v1/journal/verify", f"/v1/journal/verify?expect=1:{'0' * 64}", None, 200),
    ("GET", "/v1/journal/verify", "/v1/journal/verify?expect=1", None, 422),
    (
        "POST",
        "/v1/projections/{name}/rebuild",
        "/v1/projections/SagasView/rebuild",
        {},
        202,
    ),
    ("GET", "/v1/projections/{name}/rebuild", "/v1/projections/SagasView/rebuild", None, 200),
    ("POST", "/v1/projections/{name}/rebuild", "/v1/projections/Agenda/rebuild", {}, 404),
    (
        "GET",
        "/v1/return/paytabs/{payment_id}",
        "/v1/return/paytabs/{paid}?respStatus=A",
        None,
        200,
    ),
    ("GET", "/v1/return/paytabs/{payment_id}", f"/v1/return/paytabs/{NOBODY}", None, 404),
]


@pytest.mark.parametrize(("method", "operation", "path", "body", "status"), ANSWERS)
def test_a_real_answer_is_as_the_document_says(
    busy: House,
    document: Any,
    ids: dict[str, str],
    method: str,
    operation: str,
    path: str,
    body: Any,
    status: int,
) -> None:
    address = path.format(**ids)
    answer = busy.api.request(method, address, **({} if body is None else {"json": body}))
    assert answer.status_code == status, answer.text
    document[operation][method].validate_response(answer)


@pytest.mark.parametrize(
    ("body", "signature", "status"),
    [(None, None, 200), (None, "0" * 64, 401), (b"[]", None, 400)],
    ids=["taken", "wrong signature", "no object"],
)
def test_the_gateway_is_answered_as_the_document_says(
    busy: House, document: Any, paid: str, body: bytes | None, signature: str | None, status: int
) -> None:
    sent = callback(busy.api.payment(paid)) if body is None else body
    answer = busy.notify(sent, signature)
    assert answer.status_code == status, answer.text
    document[NOTIFICATIONS]["POST"].validate_response(answer)


@pytest.mark.parametrize(
    ("more", "status"), [({}, 303), ({"signature": "0" * 64}, 401)], ids=["signed", "forged"]
)
def test_a_customer_who_comes_back_is_answered_as_the_document_says(
    busy: House, document: Any, more: dict[str, str], status: int
) -> None:
    payment = busy.api.created(redirectUrl="https://shop.example.com/thanks")
    form = {"cartId": payment["paymentId"], "respStatus": "A", "token": ""}
    address = f"{busy.url}/v1/return/paytabs/{payment['paymentId']}"
    for answer in (
        requests.post(
            address,
            data={**form, "signature": sign_form(KEY, form), **more},
            allow_redirects=False,
            timeout=WAIT_SECONDS,
        ),
        requests.get(address, params=more, allow_redirects=False, timeout=WAIT_SECONDS),
    ):
        assert answer.status_code == status, answer.text
        method = str(answer.request.method)
        document["/v1/return/paytabs/{payment_id}"][method].validate_response(answer)


@pytest.mark.parametrize(("secret", "status"), [("wrong", 401), (SECRETS["read"], 403)])
def test_a_refusal_of_a_key_is_as_the_document_says(
    busy: House, document: Any, secret: str, status: int
) -> None:
    answer = Api(busy.url, secret).create()
    assert answer.status_code == status
    document["/v1/payments"]["POST"].validate_response(answer)


def test_every_call_is_in_the_document_whole(home: House) -> None:
    """All but the pages about the service itself: its health, its figures, and this document."""
    described = home.app.test_client().get("/openapi.json").json["paths"]
    served = {
        (_without_types(rule.rule), method)
        for rule in home.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule.startswith("/v1/")
    }
    named = {(path, method.upper()) for path, methods in described.items() for method in methods}
    assert served == named


def _without_types(rule: str) -> str:
    return re.sub(r"[<{](?:\w+:)?(\w+)>", r"{\1}", rule)


WITHOUT_KEY = {
    ("post", NOTIFICATIONS): [{"signature": []}],
    ("get", "/v1/return/paytabs/{payment_id}"): [],
    ("post", "/v1/return/paytabs/{payment_id}"): [],
}
"""What the gateway and customers' browsers call, and what they have to show."""


def test_every_operation_says_what_it_does_and_how_it_may_fail(home: House) -> None:
    document = home.app.test_client().get("/openapi.json").json
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            name = f"{method} {path}"
            assert operation["summary"], name
            assert operation["security"] == WITHOUT_KEY.get((method, path), [{"apiKey": []}]), name
            statuses = set(operation["responses"])
            of_keys = {"403", "429"}
            assert statuses & of_keys == (set() if (method, path) in WITHOUT_KEY else of_keys), name
            assert statuses >= {"400", "401", "413", "500", "503"}, name
            assert any(status.startswith("2") for status in statuses), name
            assert ("404" in statuses) == ("{" in path), name
    schemes = document["components"]["securitySchemes"]
    assert schemes.keys() == {"apiKey", "signature"}
    assert all(scheme["description"] for scheme in schemes.values())


def test_every_good_answer_says_what_it_holds(home: House) -> None:
    """A document of its own kind, or another thing than JSON; never just anything."""
    document = home.app.test_client().get("/openapi.json").json
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            good = {code: told for code, told in operation["responses"].items() if code[0] == "2"}
            for told in good.values():
                [(kind, content)] = told["content"].items()
                is_named = content["schema"].get("$ref", "").startswith("#/components/schemas/")
                assert is_named == (kind == "application/json"), f"{method} {path}"
                assert "X-Correlation-Id" in told["headers"], f"{method} {path}"


def test_the_page_names_the_fields_of_every_body(home: House) -> None:
    page = home.app.test_client().get("/docs").text
    for field in ("reason", "amount", "captureMethod"):
        assert f"<code>{field}</code>" in page
    sections = page.split("<section>")
    for path in ("cancel", "capture", "refunds"):
        [section] = [s for s in sections if f"/{{payment_id}}/{path}</code>" in s]
        assert "<code>reason</code>" in section or "<code>amount</code>" in section


def _described(home: House) -> Any:
    return home.app.test_client().get("/openapi.json").json


def _operations(described: Any) -> Iterator[Any]:
    for methods in described["paths"].values():
        yield from methods.values()


def test_every_json_body_and_every_json_answer_has_an_example(home: House) -> None:
    for operation in _operations(_described(home)):
        answers = [told for code, told in operation["responses"].items() if code < "4"]
        for told in (*answers, operation.get("requestBody", {})):
            content = told.get("content", {}).get("application/json")
            assert content is None or "example" in content, operation["operationId"]


def _models(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for model in base.__subclasses__():
        yield model
        yield from _models(model)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_what_the_service_takes_or_gives(name: str) -> None:
    [model] = {each for base in (Model, Answer) for each in _models(base) if each.__name__ == name}
    model.model_validate(EXAMPLES[name])


def test_every_parameter_and_every_field_of_a_body_says_what_it_is(home: House) -> None:
    described = _described(home)
    schemas = described["components"]["schemas"]
    for operation in _operations(described):
        for parameter in operation["parameters"]:
            assert parameter["description"], (operation["operationId"], parameter["name"])
        for content in operation.get("requestBody", {}).get("content", {}).values():
            fields = schemas.get(schema_name(content), {}).get("properties", {})
            for name, field in fields.items():
                assert field["description"], (operation["operationId"], name)


def test_the_page_shows_examples_and_what_each_refusal_means(home: House) -> None:
    page = html.unescape(home.app.test_client().get("/docs").text)
    [create] = [s for s in page.split("<section>") if "POST</span> /v1/payments</code>" in s]
    assert '"description": "Order 1001"' in create
    assert '"nextAction": {' in create
    assert "Refused with 400, 401, 403" in create
    for code, kind in KINDS.items():
        assert f"`{code}`: {kind.title}" in page


def test_the_headers_that_are_believed_with_a_key_are_named_there_and_only_there(
    home: House,
) -> None:
    believed = {"X-Correlation-Id", "traceparent", "X-User-Id", "X-Session-Id"}
    for operation in _operations(_described(home)):
        named = {each["name"] for each in operation["parameters"] if each["in"] == "header"}
        is_keyed = {"apiKey": []} in operation["security"]
        assert named & believed == (believed if is_keyed else set()), operation["operationId"]


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
