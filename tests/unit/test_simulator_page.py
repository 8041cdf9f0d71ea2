"""Uses the hosted page as a browser does, without a network and with a clock that can be moved."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from flask.testing import FlaskClient

from interface.simulator import SimulatorConfig
from interface.simulator.app import app_for
from interface.simulator.desk import Desk
from interface.simulator.signing import sign_form

KEY = "SABCDEFGH1-JKLMNPQRS2-TUVWXYZ345"
CONFIG = SimulatorConfig(profile_id=90001, server_key=KEY)
GOOD = {"card-number": "4111 1111 1111 1111", "expiry": "12/30", "cvv": "123", "name": "Sara"}


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 7, 20, 9, 15, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk(clock: Clock, tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(replace(CONFIG, data_path=tmp_path / "books.sqlite"), clock)
    yield desk
    desk.close()


@pytest.fixture
def browser(desk: Desk) -> FlaskClient:
    return app_for(desk).test_client()


def open_page(browser: FlaskClient, **fields: object) -> str:
    order = {
        "profile_id": 90001,
        "tran_type": "sale",
        "tran_class": "ecom",
        "cart_id": "ORD-1001-a1",
        "cart_description": "Tea & <b>biscuits</b>",
        "cart_currency": "KWD",
        "cart_amount": 12.5,
        "customer_details": {"email": "sara@example.com"},
        "return": "https://shop.example.com/back?order=7",
    } | fields
    answer = browser.post("/payment/request", json=order, headers={"Authorization": KEY})
    assert answer.json is not None
    return str(urlsplit(answer.json["redirect_url"]).path)


def hidden_fields(html: str) -> dict[str, str]:
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', html)
    return {name: unescape(value) for name, value in found}


def test_the_page_shows_what_is_paid_and_escapes_it(browser: FlaskClient) -> None:
    page = browser.get(open_page(browser))
    assert page.status_code == 200
    assert "12.500 KWD" in page.text
    assert "Tea &amp; &lt;b&gt;biscuits&lt;/b&gt;" in page.text
    for element in ("card-number", "expiry", "cvv", "pay", "cancel"):
        assert f'id="{element}"' in page.text
    for purpose in ("cc-number", "cc-exp", "cc-csc", "cc-name"):
        assert f'autocomplete="{purpose}"' in page.text
    assert "4111 1111 1111 1111" in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["Cache-Control"] == "no-store"
    assert not re.search(r'(src|href)="', page.text)


def test_paying_sends_the_browser_back_with_a_signed_form(browser: FlaskClient) -> None:
    page = browser.post(open_page(browser), data=GOOD)
    fields = hidden_fields(page.text)
    assert 'action="https://shop.example.com/back?order=7"' in page.text
    assert list(fields) == [
        *("acquirerMessage", "acquirerRRN", "cartId", "customerEmail", "respCode"),
        *("respMessage", "respStatus", "signature", "token", "tranRef"),
    ]
    assert (fields["respStatus"], fields["customerEmail"]) == ("A", "sara@example.com")
    assert fields["signature"] == sign_form(KEY, fields)


def test_cancelling_by_get_brings_the_result_in_the_address(browser: FlaskClient) -> None:
    link = open_page(browser, return_using_get=True)
    answer = browser.post(link + "/cancel")
    assert answer.status_code == 303
    query = dict(parse_qsl(urlsplit(answer.headers["Location"]).query))
    assert query.pop("order") == "7"
    assert (query["respStatus"], query["respCode"]) == ("C", "321")
    assert query["signature"] == sign_form(KEY, query)


def test_without_a_return_the_result_is_shown(browser: FlaskClient) -> None:
    link = open_page(browser, **{"return": "none"})
    page = browser.post(link, data=GOOD | {"card-number": "4000000000003162"})
    assert "Insufficient funds (316)" in page.text


def test_a_wrong_number_leaves_the_page_usable(browser: FlaskClient) -> None:
    link = open_page(browser)
    page = browser.post(link, data=GOOD | {"card-number": "4111111111111112"})
    assert page.status_code == 422
    assert "This card number is not valid" in page.text
    assert 'aria-invalid="true"' in page.text
    assert "4111111111111112" not in page.text
    assert "A" in hidden_fields(browser.post(link, data=GOOD).text)["respStatus"]


@pytest.mark.parametrize("suffix", ["", "/cancel"])
def test_a_page_has_one_outcome(browser: FlaskClient, suffix: str) -> None:
    link = open_page(browser)
    browser.post(link, data=GOOD)
    again = browser.post(link + suffix, data=GOOD)
    assert again.status_code == 410
    assert "has been used or has expired" in again.text
    assert browser.get(link).status_code == 410


def test_a_page_is_dead_after_its_time(browser: FlaskClient, clock: Clock) -> None:
    link = open_page(browser, paypage_ttl=5)
    clock.now += timedelta(minutes=5)
    assert browser.post(link, data=GOOD).status_code == 410
    listed = browser.get("/_simulator/transactions").json
    assert listed is not None
    assert (listed["data"][0]["status"], listed["data"][0]["code"]) == ("X", "355")


def test_an_unknown_link_says_so(browser: FlaskClient) -> None:
    assert browser.get("/payment/wr/" + "0" * 56).status_code == 404


def test_no_card_data_is_written_down(
    browser: FlaskClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG"):
        browser.post(open_page(browser), data=GOOD | {"cvv": "987"})
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"4111 11## #### 1111" in files
    for secret in (b"4111111111111111", b"4111 1111 1111 1111", b"987"):
        assert secret not in files
    assert "1111 1111" not in caplog.text
