"""What operators look at and act on over HTTP: sagas, followers, events set aside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from system.definition import PAYSAGA
from system.parking import list_parked
from tests.e2e.house import SECRETS, Api, House, house, house_on, until
from tests.integration.production_kit import Poison, node, poisoned_payment
from tests.integration.production_kit import until as soon


@pytest.fixture(scope="module")
def home(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server) as home:
        yield home


@pytest.fixture
def api(home: House) -> Api:
    return home.api


def listed(api: Api, **query: Any) -> list[str]:
    return [saga["paymentId"] for saga in api.data("/v1/sagas", **query)]


def test_sagas_are_listed_by_status_and_newest_first(api: Api, home: House) -> None:
    waiting = [api.created()["paymentId"] for _ in range(2)]
    closed = api.created()["paymentId"]
    api.cancel(closed)
    until(lambda: listed(api, status="waiting")[:2] == waiting[::-1])
    until(lambda: closed in listed(api, status="compensated"))
    assert closed not in listed(api, status="waiting")
    assert listed(api)[0] == closed


def test_a_parked_saga_is_listed_with_its_reason_and_an_advice(api: Api, home: House) -> None:
    home.customer.behave(refund="decline")
    payment = api.created()
    api.cancel(payment["paymentId"])
    home.customer.pay(payment["transactionRef"])
    api.saga_becomes(payment["paymentId"], "parked")
    until(lambda: payment["paymentId"] in listed(api, status="parked"))
    home.customer.behave_well()
    [saga] = [
        saga
        for saga in api.data("/v1/sagas", status="parked")
        if saga["paymentId"] == payment["paymentId"]
    ]
    assert saga["status"] == "parked"
    assert "149.50 SAR" in saga["parked"]
    assert saga["advice"]
    assert payment["paymentId"] not in listed(api, status="compensating")


def test_pages_of_sagas_stay_as_they_are_while_new_ones_come(api: Api) -> None:
    made = [api.created()["paymentId"] for _ in range(4)]
    until(lambda: listed(api, limit=4) == made[::-1])
    seen: list[str] = []
    query: dict[str, Any] = {}
    for _ in range(2):
        page = api.get("/v1/sagas", limit=2, **query).json()
        seen += [saga["paymentId"] for saga in page["data"]]
        query = {"cursor": page["nextCursor"]}
        api.created()
    assert seen == made[::-1]


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/v1/sagas", {"status": "lost"}),
        ("/v1/sagas", {"cursor": "zz"}),
        ("/v1/sagas", {"limit": 101}),
        ("/v1/projections", {"status": "x"}),
        ("/v1/parked-events", {"cursor": "first"}),
    ],
)
def test_a_wrong_query_is_named(api: Api, path: str, query: dict[str, Any]) -> None:
    answer = api.get(path, **query)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == f"/{next(iter(query))}"


def test_every_follower_shows_its_position_on_every_log_it_follows(api: Api) -> None:
    api.created()

    def settled() -> bool:
        shown = api.data("/v1/projections")
        return all((each["lagEvents"], each["state"]) == (0, "running") for each in shown)

    until(settled)
    found = api.data("/v1/projections")
    assert {(each["leader"], each["follower"]) for each in found} >= {
        (leader, name) for name, leaders in PAYSAGA.follows.items() for leader in leaders
    }
    [view] = [each for each in found if each["follower"] == "PaymentsView"]
    assert (view["state"], view["lagSeconds"], view["parkedEvents"]) == ("running", 0, 0)
    assert view["position"] == view["head"] > 0


@pytest.mark.parametrize("path", ["/v1/parked-events"])
def test_only_an_admin_sees_events_set_aside(home: House, path: str) -> None:
    assert Api(home.url, SECRETS["write"]).get(path).status_code == 403


@pytest.mark.parametrize("action", ["retry", "skip"])
def test_an_event_that_is_not_parked_is_not_found(api: Api, action: str) -> None:
    answer = api.request("POST", f"/v1/parked-events/{uuid4()}/{action}")
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


@pytest.mark.parametrize("action", ["retry", "skip"])
def test_a_parked_event_is_released_or_skipped_once_over_http(
    database_url: str, action: str
) -> None:
    with house(database_url, with_worker=False) as home, node(database_url) as worker:
        worker.start()
        poison = Poison(worker)
        payment_id = poisoned_payment(worker, poison)
        [first, second] = home.api.data("/v1/parked-events")
        assert [first["paymentId"], first["attempts"]] == [str(payment_id), 3]
        page = home.api.get("/v1/parked-events", limit=1).json()
        later = home.api.data("/v1/parked-events", cursor=page["nextCursor"])
        assert [page["data"], later] == [[first], [second]]
        worker.query("UPDATE parked_events SET follower = 'Journal' RETURNING 1")
        refused = home.api.request("POST", f"/v1/parked-events/{first['parkedId']}/skip")
        assert (refused.status_code, refused.json()["code"]) == (409, "skip_refused")
        worker.query("UPDATE parked_events SET follower = 'PaymentsView' RETURNING 1")
        poison.payments.clear()
        path = f"/v1/parked-events/{first['parkedId']}/{action}"
        headers = {"Idempotency-Key": uuid4().hex}
        answer = home.api.request("POST", path, headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.json()["outcome"] == {"retry": "released", "skip": "skipped"}[action]
        soon(lambda: not list_parked(worker.persistence))
        again = home.api.request("POST", path, headers=headers)
        assert again.headers["Idempotent-Replayed"] == "true"
        assert again.json() == answer.json()
        rows = worker.query("SELECT 1 FROM view_payments WHERE payment_id = %s", payment_id)
        assert len(rows) == (1 if action == "retry" else 0)
        worker.stop()
