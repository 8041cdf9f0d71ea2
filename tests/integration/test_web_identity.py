"""Who asked and what belongs together: idempotency keys, correlation ids, traces, people."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.e2e.house import SECRETS, Api, House, house_on, until

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"


@pytest.fixture(scope="module")
def home(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server) as home:
        yield home


@pytest.fixture
def api(home: House) -> Api:
    return home.api


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def test_a_repeated_request_meets_the_same_payment(api: Api, home: House) -> None:
    key = uuid4().hex
    first = api.create(keyed(key))
    again = api.create(keyed(key))
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.status_code == 201
    assert again.json() == first.json()
    assert len(home.customer.transactions(first.json()["paymentId"])) == 1


def test_the_order_of_fields_and_spaces_are_no_other_request(api: Api) -> None:
    key = uuid4().hex
    first = api.request(
        "POST",
        "/v1/payments",
        data=b'{"amount":1.5,"currency":"SAR","description":"\\u0054ea"}',
        headers={**keyed(key), "Content-Type": "application/json"},
    )
    again = api.request(
        "POST",
        "/v1/payments",
        data=b'{ "description": "Tea",\n "currency": "SAR", "amount": 1.5 }',
        headers={**keyed(key), "Content-Type": "application/json"},
    )
    assert again.json()["paymentId"] == first.json()["paymentId"]


def test_the_same_key_with_another_body_is_refused(api: Api, home: House) -> None:
    key = uuid4().hex
    api.created(keyed(key))
    before = len(home.events_of("Payments"))
    refusal = api.create(keyed(key), amount=1)
    assert refusal.status_code == 422
    assert refusal.json()["code"] == "idempotency_key_reused"
    assert len(home.events_of("Payments")) == before


def test_a_key_may_be_quoted_or_bare(api: Api) -> None:
    key = uuid4().hex
    bare = api.created(keyed(key))
    quoted = api.create(keyed(f'"{key}"'))
    assert quoted.json()["paymentId"] == bare["paymentId"]


def test_a_key_may_have_255_characters_of_any_printable_kind(api: Api) -> None:
    key = (uuid4().hex + " !#$%&'()*+,-./:;<=>?@[]^_`{|}~").ljust(255, "x")
    assert api.created(keyed(key))["paymentId"] == api.created(keyed(key))["paymentId"]


def test_each_api_key_has_idempotency_keys_of_its_own(api: Api, home: House) -> None:
    key = uuid4().hex
    other = Api(home.url, SECRETS["write"]).created(keyed(key))
    assert api.created(keyed(key))["paymentId"] != other["paymentId"]


def test_requests_without_a_key_are_never_the_same(api: Api) -> None:
    assert api.created()["paymentId"] != api.created()["paymentId"]


def test_many_repeats_at_once_make_one_payment_and_one_page(api: Api, home: House) -> None:
    key = uuid4().hex

    def ask(_: int) -> tuple[str, str | None, str]:
        answer = home.api.create(keyed(key))
        assert answer.status_code == 201, answer.text
        payment = answer.json()
        replayed = answer.headers.get("Idempotent-Replayed")
        return payment["paymentId"], replayed, payment["nextAction"]["url"]

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, range(12)))
    assert len({payment_id for payment_id, _, _ in answers}) == 1
    assert len({url for _, _, url in answers}) == 1
    assert sum(replayed is None for _, replayed, _ in answers) == 1
    assert len(home.customer.transactions(answers[0][0])) == 1


def test_many_different_requests_under_one_key_make_one_payment(api: Api, home: House) -> None:
    key = uuid4().hex
    before = len(home.events_of("Payments"))

    def ask(amount: int) -> int:
        return home.api.create(keyed(key), amount=amount).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(ask, range(1, 9)))
    assert sorted(statuses) == [201] + [422] * 7
    until(lambda: len(home.events_of("Payments")) == before + 2)


def everything_about(home: House, payment_id: str) -> dict[str, list[Any]]:
    """The events of every log that concern a payment."""
    found: dict[str, list[Any]] = {}
    for name in ("Payments", "PaymentSagas", "Gateway", "Webhooks", "Confirmations"):
        found[name] = [
            event
            for event in home.events_of(name)
            if str(getattr(event, "payment_id", None) or event.originator_id) == payment_id
        ]
    return found


def test_one_correlation_id_is_on_everything_that_follows(api: Api, home: House) -> None:
    given = f"order-{uuid4()}"
    answer = api.create({"X-Correlation-Id": given}, callbackUrl=home.merchant.url)
    payment = answer.json()
    home.customer.pay(payment["transactionRef"])
    api.saga_becomes(payment["paymentId"], "completed")
    told = home.merchant.next().json
    assert answer.headers["X-Correlation-Id"] == given
    assert payment["correlationId"] == given
    assert told["correlationId"] == given
    until(lambda: len(everything_about(home, payment["paymentId"])["Webhooks"]) == 2)
    found = everything_about(home, payment["paymentId"])
    assert all(found.values()), found
    ids = {name: {e.metadata.correlation_id for e in events} for name, events in found.items()}
    assert ids == {name: {given} for name in found}


def test_one_trace_goes_through_everything_out_to_the_merchant(api: Api, home: House) -> None:
    trace = f"00-{TRACE_ID}-{SPAN_ID}-01"
    payment = api.created({"traceparent": trace}, callbackUrl=home.merchant.url)
    home.customer.pay(payment["transactionRef"])
    api.saga_becomes(payment["paymentId"], "completed")
    told = home.merchant.next()
    assert told.headers["traceparent"] == trace
    assert told.json["metadata"]["traceId"] == TRACE_ID
    found = everything_about(home, payment["paymentId"])
    assert all(found.values()), found
    assert {e.metadata.trace_id for events in found.values() for e in events} == {TRACE_ID}
    home.customer.behave(callback="lost", next=1)  # it would bring the payment's trace along
    api.refund(payment["paymentId"])
    until(lambda: api.payment(payment["paymentId"])["status"] == "refunded")
    assert "traceparent" not in home.merchant.next().headers


def test_every_event_but_the_first_names_its_cause(api: Api, home: House) -> None:
    payment = api.created(callbackUrl=home.merchant.url)
    home.customer.pay(payment["transactionRef"])
    api.saga_becomes(payment["paymentId"], "completed")
    home.merchant.next()
    until(lambda: len(everything_about(home, payment["paymentId"])["Webhooks"]) == 2)
    events = [e for found in everything_about(home, payment["paymentId"]).values() for e in found]
    known = {str(event.event_id) for event in events}
    first_causes = {e.event_type.value for e in events if e.metadata.causation_id is None}
    assert first_causes == {"payment.initiated", "webhook.received"}
    assert {e.metadata.causation_id for e in events} - {None} <= known


@pytest.mark.parametrize("given", ["", "with space", "x" * 129, "caf\xe9"])
def test_a_correlation_id_that_is_none_is_replaced(api: Api, given: str) -> None:
    answer = api.create({"X-Correlation-Id": given.encode("latin-1")})  # type: ignore[dict-item]
    made = answer.headers["X-Correlation-Id"]
    assert UUID(made)
    assert answer.json()["correlationId"] == made


def test_a_refusal_and_a_wrong_path_return_the_correlation_id_too(api: Api) -> None:
    for path in ("/v1/payments?limit=0", "/nowhere"):
        answer = api.request("GET", path, headers={"X-Correlation-Id": "mine"})
        assert answer.headers["X-Correlation-Id"] == "mine"
        assert answer.json()["correlationId"] == "mine"


def first_metadata(api: Api, headers: dict[str, Any]) -> dict[str, Any]:
    payment = api.create({"Prefer": "respond-async", **headers}).json()
    return dict(api.events(payment["paymentId"])[0]["metadata"])


def test_trace_and_people_are_in_the_metadata(api: Api) -> None:
    metadata = first_metadata(
        api,
        {
            "traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01",
            "X-User-Id": "user-7",
            "X-Session-Id": "session-9",
            "User-Agent": "Shop/1.0",
        },
    )
    assert metadata == {
        "source": "api",
        "userId": "user-7",
        "sessionId": "session-9",
        "ipAddress": "127.0.0.1",
        "userAgent": "Shop/1.0",
        "traceId": TRACE_ID,
        "spanId": SPAN_ID,
    }


def test_without_a_user_the_api_key_is_the_one_who_acts(api: Api) -> None:
    assert first_metadata(api, {})["userId"] == "admin"


@pytest.mark.parametrize(
    "trace_parent",
    [
        "",
        "junk",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}",
        f"00-{TRACE_ID}-{SPAN_ID}-01-more",
        f"01-{TRACE_ID}-{SPAN_ID}-01more",
    ],
)
def test_a_trace_that_is_none_is_left_out(api: Api, trace_parent: str) -> None:
    metadata = first_metadata(api, {"traceparent": trace_parent})
    assert metadata["traceId"] is None
    assert metadata["spanId"] is None


@pytest.mark.parametrize("more", ["", "-what later versions say"])
def test_a_trace_of_a_later_version_is_understood(api: Api, more: str) -> None:
    metadata = first_metadata(api, {"traceparent": f"01-{TRACE_ID}-{SPAN_ID}-01{more}"})
    assert (metadata["traceId"], metadata["spanId"]) == (TRACE_ID, SPAN_ID)


def test_strange_people_are_kept_within_limits(api: Api) -> None:
    metadata = first_metadata(
        api, {"X-User-Id": "\xfc" * 2000, "User-Agent": "<script>alert(1)</script>"}
    )
    assert metadata["userId"] == "\xfc" * 256
    assert metadata["userAgent"] == "<script>alert(1)</script>"


def test_a_repeat_keeps_the_correlation_id_of_the_first(api: Api) -> None:
    key = uuid4().hex
    api.create({**keyed(key), "X-Correlation-Id": "first"})
    again = api.create({**keyed(key), "X-Correlation-Id": "second"})
    assert again.json()["correlationId"] == "first"
    assert again.headers["X-Correlation-Id"] == "second"
