"""What payees and contracts earned, over HTTP, page by page."""

import base64
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.e2e.house import Api, House, house_on
from tests.generated_rows import fill_earnings

MANY = 1_050
LONGEST = "\N{MONEY BAG}" * 255
AGREEMENT = {
    "description": "Rent",
    "currency": "SAR",
    "payee": {"id": "landlord", "name": "Landlord"},
    "platformFeePercent": 10,
    "instalments": [{"dueOn": "2099-01-01", "amount": 1}],
}


@pytest.fixture(scope="module")
def home(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server, with_worker=False) as home:
        yield home


@pytest.fixture
def api(home: House) -> Api:
    return home.api


@pytest.fixture
def contract(api: Api) -> str:
    answer = api.request("POST", "/v1/contracts", json=AGREEMENT)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["contractId"])


@pytest.fixture
def _nobody_earned(home: House) -> Iterator[None]:
    yield
    with psycopg.connect(home.settings.conninfo) as connection:
        connection.execute("TRUNCATE view_earnings")


pytestmark = pytest.mark.usefixtures("_nobody_earned")


def earn(home: House, *earned: tuple[UUID, str, str], contract: str = "C-1") -> None:
    with psycopg.connect(home.settings.conninfo) as connection:
        fill_earnings(connection, contract, earned)


def pages(api: Api, path: str, **query: Any) -> Iterator[dict[str, Any]]:
    """Every page of a list."""
    cursor = None
    while True:
        answer = api.get(path, **query, cursor=cursor)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        yield page
        cursor = page["nextCursor"]
        if cursor is None:
            return


def test_no_payee_is_left_out_however_many_there_are(home: House, api: Api) -> None:
    earn(home, *((uuid4(), f"payee-{n}", "SAR") for n in range(MANY)))
    found = [
        row["payeeId"] for page in pages(api, "/v1/earnings", limit=100) for row in page["data"]
    ]
    assert len(found) == MANY
    assert set(found) == {f"payee-{n}" for n in range(MANY)}


def test_a_page_ends_between_the_currencies_of_a_payee(home: House, api: Api) -> None:
    twice = uuid4()
    currencies = ("AED", "KWD", "SAR")
    earn(home, *((uuid4(), payee, code) for code in currencies for payee in ("b", "a|a", LONGEST)))
    earn(home, (twice, "b", "SAR"), (twice, "b", "SAR"))
    [only] = pages(api, "/v1/earnings")
    listed = list(pages(api, "/v1/earnings", limit=1))
    assert [row for page in listed for row in page["data"]] == only["data"]
    assert len(listed) == 9
    earned = {(row["payeeId"], row["currency"]): row for row in only["data"]}
    assert set(earned) == {(who, code) for who in ("b", "a|a", LONGEST) for code in currencies}
    brought = {"currency": "SAR", "gross": 3, "platformFee": 0.3, "net": 2.7}
    assert earned["b", "SAR"] == {"payeeId": "b", "payments": 2, **brought}


def test_the_currencies_of_one_payee_are_paged_too(home: House, api: Api) -> None:
    earn(home, *((uuid4(), payee, code) for payee in "abc" for code in ("AED", "KWD", "SAR")))
    found = [page["data"] for page in pages(api, "/v1/earnings", payeeId="b", limit=2)]
    told = [[(row["payeeId"], row["currency"]) for row in page] for page in found]
    assert told == [[("b", "AED"), ("b", "KWD")], [("b", "SAR")]]


def test_a_full_last_page_has_no_next_one(home: House, api: Api) -> None:
    earn(home, *((uuid4(), f"payee-{n}", "SAR") for n in range(20)))
    page = api.get("/v1/earnings").json()
    assert (len(page["data"]), page["nextCursor"]) == (20, None)


def test_no_payment_of_a_contract_is_left_out(home: House, api: Api, contract: str) -> None:
    payments = [uuid4() for _ in range(MANY)]
    earn(home, *((each, "landlord", "SAR") for each in payments), contract=contract)
    earn(home, (uuid4(), "landlord", "SAR"))
    read = list(pages(api, f"/v1/contracts/{contract}/earnings", limit=100))
    found = [row["paymentId"] for page in read for row in page["payments"]]
    assert found == sorted(str(each) for each in payments)
    total = {"currency": "SAR", "gross": 1050, "platformFee": 105, "net": 945}
    assert all(page["totals"] == [total] for page in read), "of all payments, on every page"
    assert len(read[0]["payments"]) == 100


@pytest.mark.parametrize(
    "place", ["", "SAR", "SAR|", "SAR|a\0b", "2026-01-01T00:00:00Z|x\0", "\xff"]
)
def test_a_made_up_place_among_payees_is_refused(api: Api, place: str) -> None:
    cursor = base64.urlsafe_b64encode(place.encode("latin-1")).decode() or "%"
    answer = api.get("/v1/earnings", cursor=cursor)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == "/cursor"


def test_a_made_up_place_among_the_payments_of_a_contract_is_refused(
    api: Api, contract: str
) -> None:
    answer = api.get(f"/v1/contracts/{contract}/earnings", cursor="c29tZXdoZXJl")
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == "/cursor"


@pytest.mark.parametrize("limit", [0, 101])
@pytest.mark.parametrize("path", ["/v1/earnings", "/v1/contracts/{contract}/earnings"])
def test_a_page_has_its_limits(api: Api, contract: str, path: str, limit: int) -> None:
    answer = api.get(path.format(contract=contract), limit=limit)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == "/limit"
