"""Requests are written as PayTabs wants them, with exact amounts and no more than is known."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import simplejson

from application.payment_gateway import FollowUpRequest, PageRequest
from domain.client import Address, ClientInfo
from domain.money import Money, money
from interface.paytabs.bodies import UnsendableRequest, follow_up_body, page_body

PAGE = PageRequest(
    cart_id="CART-77-a1",
    amount=money("149.50", "SAR"),
    description="Invoice 77",
    capture=True,
    payment_method="all",
    client=None,
    return_url="https://pay.example.com/return",
    callback_url="https://pay.example.com/callback",
    page_ttl_minutes=20,
)


def written(**changes: Any) -> dict[str, Any]:
    body = simplejson.loads(page_body(90017, replace(PAGE, **changes)), use_decimal=True)
    assert isinstance(body, dict)
    return body


@pytest.mark.parametrize(
    ("amount", "currency", "number"),
    [
        ("149.5", "SAR", b'"cart_amount":149.50,'),
        ("1.5", "KWD", b'"cart_amount":1.500,'),
        ("1200", "JPY", b'"cart_amount":1200,'),
        ("9999999999.99", "SAR", b'"cart_amount":9999999999.99,'),
        ("0.01", "SAR", b'"cart_amount":0.01,'),
    ],
)
def test_amounts_are_exact_numbers_with_the_decimals_of_their_currency(
    amount: str, currency: str, number: bytes
) -> None:
    assert number in page_body(90017, replace(PAGE, amount=money(amount, currency)))


@pytest.mark.parametrize("amount", ["0", "-1", "1.001"])
def test_an_amount_that_cannot_be_paid_is_not_sent(amount: str) -> None:
    with pytest.raises(UnsendableRequest, match="cannot be sent"):
        written(amount=Money(Decimal(amount), "SAR"))


def test_a_manual_capture_asks_for_an_authorization() -> None:
    assert written(capture=False)["tran_type"] == "auth"


def test_only_what_is_known_of_the_customer_is_sent() -> None:
    client = ClientInfo(name="Noura Example", address=Address(city="Jeddah", zip="٢١٥٧٧"))
    details = {"name": "Noura Example", "city": "Jeddah", "zip": "21577"}
    assert written(client=client)["customer_details"] == details


def test_an_unnamed_customer_is_not_sent_at_all() -> None:
    assert "customer_details" not in written(client=ClientInfo())


def test_a_long_description_is_cut_and_an_empty_one_is_the_cart_id() -> None:
    assert written(description="ش" * 200)["cart_description"] == "ش" * 128
    assert written(description="  ")["cart_description"] == "CART-77-a1"


def test_a_page_lives_at_least_a_minute() -> None:
    assert written(page_ttl_minutes=0)["paypage_ttl"] == 1


def test_a_follow_up_without_a_callback_names_none() -> None:
    request = FollowUpRequest("CART-77-r1", money("1", "SAR"), "x", "T1", "")
    assert b"callback" not in follow_up_body(90017, "refund", request)
