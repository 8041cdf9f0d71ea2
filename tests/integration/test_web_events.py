"""The journal over HTTP: the feed, single events, the live stream and the proof (contract 5)."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import requests

from tests.e2e.house import SECRETS, Api, House, house_on, until

STREAM_TIMEOUT_SECONDS = 30


@pytest.fixture(scope="module")
def home(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server, web_threads=8) as home:
        yield home


@pytest.fixture
def api(home: House) -> Api:
    return home.api


@pytest.fixture
def payment(api: Api) -> dict[str, Any]:
    """A payment whose first events are in the journal."""
    correlation_id = f"test-{uuid4().hex}"
    made = api.created({"X-Correlation-Id": correlation_id}, clientInfo={"name": "Sara Omar"})
    until(lambda: len(feed(api, aggregateId=made["paymentId"])) == 2)
    return made


def feed(api: Api, **query: Any) -> list[dict[str, Any]]:
    return api.data("/v1/events", **query)


def test_the_feed_holds_every_event_oldest_first_with_its_position(
    api: Api, payment: dict[str, Any]
) -> None:
    after, seen = 0, []
    while page := api.get("/v1/events", after=after, limit=3).json():
        seen += page["data"]
        if page["nextCursor"] is None:
            break
        assert len(page["data"]) == 3
        after = int(page["nextCursor"])
    assert [event["position"] for event in seen] == list(range(1, len(seen) + 1))
    own = [event for event in seen if event["aggregateId"] == payment["paymentId"]]
    assert [event["type"] for event in own] == ["payment.initiated", "payment.processing"]


def test_an_event_is_the_same_in_the_feed_and_with_its_payment(
    api: Api, payment: dict[str, Any]
) -> None:
    of_payment = api.events(payment["paymentId"])
    of_feed = feed(api, aggregateId=payment["paymentId"])
    assert [without(event, "position", "status") for event in of_feed] == [
        without(event, "status") for event in of_payment
    ]
    assert of_feed[0]["data"]["clientInfo"]["name"] == "Sara Omar"


def without(event: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name not in names}


def test_the_feed_is_filtered_by_type_aggregate_and_correlation(
    api: Api, payment: dict[str, Any]
) -> None:
    of_type = feed(api, type="payment.processing", limit=100)
    assert {event["type"] for event in of_type} == {"payment.processing"}

    def of_correlation() -> list[dict[str, Any]]:
        return feed(api, correlationId=payment["correlationId"], limit=100)

    kinds = {"Payment", "PaymentSaga", "GatewayCall"}
    until(lambda: kinds <= {event["aggregateType"] for event in of_correlation()})
    assert {event["correlationId"] for event in of_correlation()} == {payment["correlationId"]}
    both = feed(api, type="payment.processing", aggregateId=payment["paymentId"])
    assert len(both) == 1


def test_every_event_is_processed_in_the_end(api: Api, payment: dict[str, Any]) -> None:
    def statuses() -> set[str]:
        return {event["status"] for event in feed(api, aggregateId=payment["paymentId"])}

    until(lambda: statuses() == {"PROCESSED"})


def test_an_event_that_a_follower_has_set_aside_has_failed(
    home: House, api: Api, payment: dict[str, Any]
) -> None:
    [first, _] = feed(api, aggregateId=payment["paymentId"])
    with home.context.persistence.connection() as connection:
        connection.execute(
            "INSERT INTO parked_events (parked_id, follower, leader, position, payment_id, topic, "
            "attempts, is_released) SELECT %s, 'PaymentsView', log, log_position, aggregate_id, "
            "'t', 3, false FROM journal WHERE position = %s",
            (uuid4(), first["position"]),
        )
    try:

        def statuses() -> list[str]:
            return [event["status"] for event in feed(api, aggregateId=payment["paymentId"])]

        until(lambda: statuses() == ["FAILED", "PROCESSED"])
        assert api.events(payment["paymentId"])[0]["status"] == "FAILED"
    finally:
        with home.context.persistence.connection() as connection:
            connection.execute("DELETE FROM parked_events")


def test_one_event_is_shown_by_its_id(api: Api, payment: dict[str, Any]) -> None:
    [first, _] = feed(api, aggregateId=payment["paymentId"])
    assert api.get(f"/v1/events/{first['id']}").json() == first
    missing = api.get(f"/v1/events/{uuid4()}")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "after=-1", "after=x", "aggregateId=x", "typ=a", "type=payment.done"],
)
def test_a_wrong_query_is_refused(api: Api, query: str) -> None:
    answer = api.request("GET", f"/v1/events?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")


@pytest.fixture(autouse=True)
def closed_streams_are_noticed_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interface.web.event_streams.KEEP_ALIVE_SECONDS", 0.05)


def opened(api: Api, headers: dict[str, str] | None = None, **query: Any) -> Stream:
    """A stream, as soon as the closed ones of other tests have made room for it."""

    def open_() -> Stream | None:
        stream = Stream(api, headers, **query)
        return stream if stream.response.status_code == 200 else None

    stream = until(open_)
    assert isinstance(stream, Stream)
    return stream


class Stream:
    """An open stream of events."""

    def __init__(self, api: Api, headers: dict[str, str] | None = None, **query: Any) -> None:
        self.response = api.request(
            "GET",
            "/v1/events/stream",
            params=query,
            headers=headers,
            stream=True,
            timeout=STREAM_TIMEOUT_SECONDS,
        )
        self._lines = self.response.iter_lines(chunk_size=1, decode_unicode=True)

    def next(self) -> dict[str, str]:
        """The next message that is an event."""
        fields: dict[str, str] = {}
        for line in self._lines:
            if not line and "data" in fields:
                return fields
            name, _, value = line.partition(": ")
            if name:
                fields[name] = value
        raise AssertionError("the stream ended")

    def close(self) -> None:
        self.response.close()


def test_a_stream_tells_each_event_as_it_comes(api: Api, payment: dict[str, Any]) -> None:
    newest = feed_end(api)
    stream = opened(api)
    try:
        assert stream.response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        made = api.created()
        first = stream.next()
        assert int(first["id"]) == newest + 1
        assert first["event"] == "payment.initiated"
        assert json.loads(first["data"])["aggregateId"] == made["paymentId"]
        assert int(stream.next()["id"]) == newest + 2
    finally:
        stream.close()


def feed_end(api: Api) -> int:
    """The newest position, once nothing new comes any more."""
    return int(until(lambda: _still(api)))


def _still(api: Api) -> int:
    def end() -> int:
        after = 0
        while page := feed(api, after=after, limit=100):
            after = page[-1]["position"]
        return after

    before = end()
    threading.Event().wait(0.6)
    return before if end() == before else 0


def test_a_stream_goes_on_behind_the_last_event_that_was_seen(
    api: Api, payment: dict[str, Any]
) -> None:
    for stream in (
        opened(api, {"Last-Event-ID": "2"}, after=0),
        opened(api, after=2),
    ):
        assert [stream.next()["id"], stream.next()["id"]] == ["3", "4"]
        stream.close()


def test_a_stream_can_be_filtered(api: Api, payment: dict[str, Any]) -> None:
    stream = opened(api, after=0, aggregateId=payment["paymentId"])
    try:
        events = [json.loads(stream.next()["data"]) for _ in range(2)]
        assert {event["aggregateId"] for event in events} == {payment["paymentId"]}
    finally:
        stream.close()


@pytest.mark.parametrize("given", ["x", "-1", "1.5", "9" * 30, "0" * 20 + "9" * 20, ""])
def test_a_last_event_id_that_we_never_gave_is_refused(api: Api, given: str) -> None:
    answer = api.request("GET", "/v1/events/stream", headers={"Last-Event-ID": given})
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")


def test_only_so_many_streams_are_served_and_a_closed_one_makes_room(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("interface.web.event_streams.STREAMS_MAX", 2)
    streams = [opened(api), opened(api)]
    assert [stream.response.status_code for stream in streams] == [200, 200]
    refused = api.get("/v1/events/stream")
    assert (refused.status_code, refused.json()["code"]) == (503, "too_many_streams")
    assert int(refused.headers["Retry-After"]) >= 1
    for stream in streams:
        stream.close()
    opened(api).close()


def test_a_client_that_does_not_read_holds_up_nobody_else(home: House, api: Api) -> None:
    slow = opened(api, after=0)
    quick = opened(api, after=0)
    try:
        end = feed_end(api)
        assert [int(quick.next()["id"]) for _ in range(end)] == list(range(1, end + 1))
        assert slow.next()["id"] == "1"
    finally:
        slow.close()
        quick.close()


def test_a_stream_ends_after_a_while_so_that_no_thread_is_held_for_ever(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("interface.web.event_streams.STREAM_SECONDS_MAX", 0.3)
    response = opened(api).response
    assert re.match(r"retry: 1000\nid: \d+\n\n", response.text)


def test_the_journal_is_proven_over_http(api: Api, payment: dict[str, Any]) -> None:
    proof = api.get("/v1/journal/verify").json()
    assert proof["ok"] is True
    assert (proof["firstBroken"], proof["setAside"]) == (None, 0)
    assert proof["entries"] >= 2
    assert api.get("/v1/journal/verify", expect=proof["head"]).json()["ok"] is True


def test_a_head_that_never_was_is_told(api: Api, payment: dict[str, Any]) -> None:
    proof = api.get("/v1/journal/verify", expect=f"1:{'0' * 64}").json()
    assert proof["ok"] is False
    assert (proof["firstBroken"]["position"], proof["firstBroken"]["damage"]) == (1, "altered")
    assert api.get("/v1/journal/verify", expect="1").status_code == 422


@pytest.mark.parametrize(
    "path", ["/v1/events", "/v1/events/stream", "/v1/events/7c1c8f3e-6f0a-4f0f-9f64-3a3f5d3f0b11"]
)
def test_the_feed_needs_a_key(home: House, path: str) -> None:
    assert requests.get(home.url + path, timeout=STREAM_TIMEOUT_SECONDS).status_code == 401


def test_only_an_admin_may_ask_for_the_proof(home: House) -> None:
    assert Api(home.url, SECRETS["write"]).get("/v1/journal/verify").status_code == 403
