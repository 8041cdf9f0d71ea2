"""Callbacks whose signature is not right: refused always, recorded within limits."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests
from pydantic import SecretStr

from domain.gateway_call import GatewayCall
from interface.paytabs import sign_body, sign_form
from interface.web.incident_limit import IN_ALL_MAX, PER_ADDRESS_MAX, IncidentLimit
from tests.e2e.house import House, house_on, until
from tests.integration.simulator_merchant import KEY
from tests.unit.test_paytabs_signatures import BODY as VECTOR_BODY
from tests.unit.test_paytabs_signatures import BODY_SIGNATURE as VECTOR_SIGNATURE
from tests.unit.test_paytabs_signatures import FORM as VECTOR_FORM

WAIT_SECONDS = 10


@pytest.fixture(scope="module")
def home(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server, reconcile_after_seconds=600) as home:
        yield home


class Stopwatch:
    """A clock that stands still until it is moved on."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture(autouse=True)
def stopwatch(home: House) -> Stopwatch:
    """Each test begins with no incident counted."""
    stopwatch = Stopwatch()
    context = home.app.extensions["paysaga"]
    home.app.extensions["paysaga"] = replace(context, incident_limit=IncidentLimit(stopwatch))
    return stopwatch


BODY = b'{"tran_ref":"TST1"}'
GOOD = sign_body(KEY, BODY)


@pytest.mark.parametrize(
    ("signature", "reason"),
    [
        (None, "signature_missing"),
        ("", "signature_missing"),
        ("x", "signature_malformed"),
        (GOOD[:-1], "signature_malformed"),
        (GOOD + "0", "signature_malformed"),
        (GOOD.upper(), "signature_malformed"),
        (f"sha256={GOOD}", "signature_malformed"),
        (f"{GOOD}, {GOOD}", "signature_malformed"),
        ("g" * 64, "signature_malformed"),
        ("0" * 64, "signature_wrong"),
        (sign_body("another-key", BODY), "signature_wrong"),
        ("\xe9" * 64, "signature_malformed"),
    ],
)
def test_a_signature_that_is_not_right_is_refused_and_recorded(
    home: House, signature: str | None, reason: str
) -> None:
    before = home.recorded()
    headers = {"Content-Type": "application/json"}
    if signature is not None:
        headers["Signature"] = signature.encode("latin-1")  # type: ignore[assignment]
    answer = requests.post(
        f"{home.url}/v1/webhooks/paytabs", data=BODY, headers=headers, timeout=WAIT_SECONDS
    )
    assert answer.status_code == 401
    assert answer.json()["code"] == "invalid_signature"
    assert home.recorded() == before | {"Operations": before["Operations"] + 1}
    event = home.incidents()[-1]
    assert event.event_type == "security.event"
    assert (event.kind, event.detail) == ("webhook_signature", {"reason": reason})
    assert event.ip_address == "127.0.0.1"


def test_who_has_no_api_key_is_not_believed_to_be_anybody(home: House) -> None:
    headers = {"X-User-Id": "admin 4111111111111111", "X-Session-Id": "4111111111111111"}
    for signature in ("0" * 64, GOOD):
        home.app.test_client().post(
            "/v1/webhooks/paytabs", data=BODY, headers={"Signature": signature, **headers}
        )
    for event in (home.incidents()[-1], home.events_of("Webhooks")[-1]):
        assert (event.metadata.user_id, event.metadata.session_id) == (None, None)


def test_two_signature_headers_are_refused(home: House) -> None:
    answer = home.app.test_client().post(
        "/v1/webhooks/paytabs", data=BODY, headers=[("Signature", GOOD), ("Signature", "0" * 64)]
    )
    assert answer.status_code == 401
    assert home.incidents()[-1].detail == {"reason": "signature_malformed"}


def test_two_signature_headers_are_refused_on_a_real_connection(home: House) -> None:
    connection = http.client.HTTPConnection(home.url.removeprefix("http://"), timeout=10)
    connection.putrequest("POST", "/v1/webhooks/paytabs")
    connection.putheader("Content-Length", str(len(BODY)))
    for _ in range(2):
        connection.putheader("Signature", GOOD)
    connection.endheaders(BODY)
    answer = connection.getresponse()
    assert answer.status == 401
    assert json.loads(answer.read())["code"] == "invalid_signature"
    connection.close()


@pytest.mark.parametrize("name", ["Signature", "signature", "SIGNATURE", "sIGNATURE"])
def test_the_header_is_known_by_its_name_in_any_case(home: House, name: str) -> None:
    connection = http.client.HTTPConnection(home.url.removeprefix("http://"), timeout=10)
    connection.request("POST", "/v1/webhooks/paytabs", BODY, {name: GOOD})
    assert connection.getresponse().status == 200
    connection.close()


def test_the_published_vector_is_accepted_to_the_byte(home: House) -> None:
    assert home.notify(VECTOR_BODY, VECTOR_SIGNATURE).status_code == 200
    for changed in (VECTOR_BODY + b"\n", VECTOR_BODY.replace(b":", b": ", 1)):
        assert home.notify(changed, VECTOR_SIGNATURE).status_code == 401


def test_the_published_return_form_is_accepted(home: House) -> None:
    payment = home.api.created()
    address = f"{home.url}/v1/return/paytabs/{payment['paymentId']}"
    assert requests.post(address, data=VECTOR_FORM, timeout=WAIT_SECONDS).status_code == 200
    assert requests.get(address, params=VECTOR_FORM, timeout=WAIT_SECONDS).status_code == 200
    wrong = VECTOR_FORM | {"respStatus": "A"}
    assert requests.post(address, data=wrong, timeout=WAIT_SECONDS).status_code == 401
    event = home.incidents()[-1]
    assert (event.kind, event.detail) == ("return_signature", {"reason": "signature_wrong"})
    assert event.ip_address == "127.0.0.1"


OLD, FOREIGN = "SOLDKEY001-JKLMNPQRS2-TUVWXYZ345", "SOTHERKEY1-JKLMNPQRS2-TUVWXYZ345"


@pytest.fixture
def rotating(home: House) -> House:
    """The same house while its key is being rotated, and with a second profile."""
    keys = SecretStr(f"{KEY} {OLD} 90002:{FOREIGN}")
    context = home.app.extensions["paysaga"]
    settings = context.settings.model_copy(update={"paytabs_server_key": keys})
    home.app.extensions["paysaga"] = replace(context, settings=settings)
    return home


@pytest.fixture(autouse=True)
def as_before(home: House) -> Iterator[None]:
    """Each test leaves the house as it found it."""
    context = home.app.extensions["paysaga"]
    yield
    home.app.extensions["paysaga"] = context


def signed_with(key: str, profile: object) -> tuple[bytes, str]:
    named = {} if profile is None else {"profile_id": profile}
    body = json.dumps({"tran_ref": f"TST{uuid4().int % 10**13:013}", **named}).encode()
    return body, sign_body(key, body)


@pytest.mark.parametrize(
    ("key", "profile"),
    [
        (KEY, 90001),
        (KEY, "90001"),
        (KEY, None),
        (OLD, 90001),
        (OLD, None),
        (FOREIGN, 90002),
        (FOREIGN, "90002"),
    ],
)
def test_every_active_key_verifies_while_one_is_rotated(
    rotating: House, key: str, profile: object
) -> None:
    assert rotating.notify(*signed_with(key, profile)).status_code == 200


@pytest.mark.parametrize("profile", [90001, "90001", 0, {}, [], True, "x", None])
def test_a_key_of_one_profile_signs_for_no_other(rotating: House, profile: object) -> None:
    answer = rotating.notify(*signed_with(FOREIGN, profile))
    assert answer.status_code == 401
    assert rotating.incidents()[-1].detail == {"reason": "profile_mismatch"}


def sale_of(home: House, payment: dict[str, Any], profile: object) -> bytes:
    """A callback that would settle the payment, if it were of the right profile."""
    body = {
        "tran_ref": payment["transactionRef"],
        "profile_id": profile,
        "tran_type": "Sale",
        "cart_id": f"{payment['paymentId']}-a1",
        "cart_currency": payment["currency"],
        "cart_amount": str(payment["amount"]),
        "tran_currency": payment["currency"],
        "tran_total": str(payment["amount"]),
        "payment_result": {"response_status": "A", "response_code": "G1"},
    }
    return json.dumps(body).encode()


@pytest.mark.parametrize(("key", "profile"), [(FOREIGN, 90002), (KEY, 90002)])
def test_what_another_profile_signed_settles_nothing_but_the_gateway_is_asked(
    rotating: House, key: str, profile: int
) -> None:
    payment = rotating.api.created()
    body = sale_of(rotating, payment, profile)
    answer = rotating.notify(body, sign_body(key, body))
    webhook = rotating.api.get(f"/v1/webhooks/{answer.json()['webhookId']}").json()
    assert (answer.status_code, webhook["status"]) == (200, "failed")
    assert "another profile" in webhook["reason"]
    assert rotating.incidents()[-1].detail == {"reason": "foreign_profile"}
    id = UUID(payment["paymentId"])

    def questions() -> list[Any]:
        asked = [e for e in rotating.events_of("Gateway") if isinstance(e, GatewayCall.Requested)]
        return [e for e in asked if e.payment_id == id and e.operation.is_query]

    until(questions)
    assert rotating.api.payment(payment["paymentId"])["status"] == "processing"


@pytest.mark.parametrize("profile", [90001, "90001", None])
def test_the_same_words_of_the_own_profile_settle_it(rotating: House, profile: object) -> None:
    payment = rotating.api.created()
    body = sale_of(rotating, payment, profile)
    assert rotating.notify(body, sign_body(OLD, body)).status_code == 200
    rotating.api.becomes(payment["paymentId"], "completed")


def test_nobody_is_believed_to_belong_to_a_request_without_a_signature(home: House) -> None:
    """Or a stranger could put security events among those of somebody's payment."""
    claims = {"X-Correlation-Id": "order-7", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    answer = home.notify(b"{}", "0" * 64, **claims)
    event = home.incidents()[-1]
    assert answer.status_code == 401
    assert answer.headers["X-Correlation-Id"] == event.metadata.correlation_id != "order-7"
    assert event.metadata.trace_id is None


def test_a_key_that_was_taken_away_verifies_no_more(home: House) -> None:
    assert home.notify(*signed_with(OLD, 90001)).status_code == 401


@pytest.mark.parametrize("key", [KEY, OLD])
def test_a_return_form_is_verified_with_every_active_key(rotating: House, key: str) -> None:
    payment = rotating.api.created()
    fields = {"cartId": "x", "respStatus": "A"}
    form = fields | {"signature": sign_form(key, fields)}
    address = f"{rotating.url}/v1/return/paytabs/{payment['paymentId']}"
    assert requests.post(address, data=form, timeout=WAIT_SECONDS).status_code == 200


def unsigned(home: House, address: str) -> int:
    answer = home.app.test_client().post(
        "/v1/webhooks/paytabs", data=BODY, environ_base={"REMOTE_ADDR": address}
    )
    return int(answer.status_code)


def test_a_flood_of_unsigned_callbacks_is_counted_and_not_recorded(
    home: House, stopwatch: Stopwatch
) -> None:
    before = home.recorded()
    sent = PER_ADDRESS_MAX + 5
    assert [unsigned(home, "203.0.113.5") for _ in range(sent)] == [401] * sent
    assert home.recorded() == before | {"Operations": before["Operations"] + PER_ADDRESS_MAX}
    assert unsigned(home, "203.0.113.6") == 401
    assert home.incidents()[-1].detail == {"reason": "signature_missing"}
    stopwatch.seconds = 60
    assert unsigned(home, "203.0.113.5") == 401
    event = home.incidents()[-1]
    assert event.ip_address == "203.0.113.5"
    assert event.detail == {"reason": "signature_missing", "suppressed": 5}


def test_a_flood_from_many_addresses_is_not_recorded_either(home: House) -> None:
    before = home.recorded()
    sent = IN_ALL_MAX + 5
    assert [unsigned(home, f"203.0.113.{number}") for number in range(sent)] == [401] * sent
    assert home.recorded() == before | {"Operations": before["Operations"] + IN_ALL_MAX}
