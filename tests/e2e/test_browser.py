"""A customer with a real browser: pays, is declined, or cancels on the hosted page."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from standardwebhooks.webhooks import Webhook

from tests.e2e.house import CONFIRMATION_SECRET, House, house_on

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server"]
PAGE_SECONDS = 20


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        reason = f"no browser is installed: one of {', '.join(BROWSERS)} is needed"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    context.set_default_timeout(PAGE_SECONDS * 1000)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def home(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server) as home:
        yield home


@pytest.fixture(scope="module")
def shop() -> Iterator[str]:
    """A shop's own page, to which customers come back."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<!doctype html><title>Shop</title><h1>Welcome back</h1>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Keeps quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/done?order=1001"
    server.shutdown()
    server.server_close()


def ordered(home: House, shop: str | None) -> dict[str, Any]:
    return home.api.created(
        description="شاي & <b>cake</b>", redirectUrl=shop, callbackUrl=home.merchant.url
    )


def fill_in_and_pay(page: Page, card: str) -> None:
    page.get_by_label("Card number").fill(card)
    page.get_by_label("Expiry").fill("12/39")
    page.get_by_label("CVV").fill("123")
    page.get_by_role("button", name="Pay").click()


def assert_back_in_the_shop(page: Page, payment: dict[str, Any]) -> str:
    """The customer stands in the shop; returns the status that the shop was told."""
    page.wait_for_url("**/done?**")
    expect(page.get_by_role("heading")).to_have_text("Welcome back")
    query = parse_qs(urlsplit(page.url).query)
    assert query["order"] == ["1001"]
    assert query["paymentId"] == [payment["paymentId"]]
    return query["status"][0]


def told(home: House) -> dict[str, Any]:
    """The next message to the merchant, its signature checked."""
    message = home.merchant.next()
    Webhook(CONFIRMATION_SECRET).verify(message.body.decode(), message.headers)
    return dict(json.loads(message.body))


def test_a_customer_pays_and_comes_back_to_the_shop(home: House, shop: str, page: Page) -> None:
    payment = ordered(home, shop)
    page.goto(payment["nextAction"]["url"])
    expect(page.locator("#description")).to_have_text("شاي & <b>cake</b>")
    expect(page.locator("#amount")).to_contain_text("149.50")
    fill_in_and_pay(page, "4111 1111 1111 1111")
    assert assert_back_in_the_shop(page, payment) in {"processing", "completed"}
    done = home.api.becomes(payment["paymentId"], "completed")
    assert done["amountCaptured"] == 149.5
    message = told(home)
    assert message["type"] == "payment.completed"
    assert message["data"]["paymentId"] == payment["paymentId"]
    home.api.saga_becomes(payment["paymentId"], "completed")


def test_a_customer_whose_card_is_declined_comes_back_too(
    home: House, shop: str, page: Page
) -> None:
    payment = ordered(home, shop)
    page.goto(payment["nextAction"]["url"])
    fill_in_and_pay(page, "4000 0000 0000 0002")
    assert assert_back_in_the_shop(page, payment) in {"processing", "failed"}
    failed = home.api.becomes(payment["paymentId"], "failed")
    assert failed["failure"]["code"] == "card_declined"
    assert told(home)["type"] == "payment.failed"
    home.api.saga_becomes(payment["paymentId"], "compensated")


def test_a_customer_who_cancels_comes_back_too(home: House, shop: str, page: Page) -> None:
    payment = ordered(home, shop)
    page.goto(payment["nextAction"]["url"])
    page.get_by_role("button", name="Cancel").click()
    assert assert_back_in_the_shop(page, payment) in {"processing", "cancelled"}
    cancelled = home.api.becomes(payment["paymentId"], "cancelled")
    assert cancelled["cancellationReason"] == "cancelled_by_customer"
    assert told(home)["type"] == "payment.cancelled"


def test_a_customer_without_a_shop_to_go_to_sees_a_plain_page(home: House, page: Page) -> None:
    payment = ordered(home, None)
    page.goto(payment["nextAction"]["url"])
    fill_in_and_pay(page, "4111 1111 1111 1111")
    page.wait_for_url("**/v1/return/paytabs/**")
    expect(page.get_by_role("heading")).to_contain_text("Thank you")
    expect(page.locator("dd").first).to_have_text("شاي & <b>cake</b>")
    home.api.becomes(payment["paymentId"], "completed")
    assert told(home)["type"] == "payment.completed"
