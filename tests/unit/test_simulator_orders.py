"""Refuses the requests PayTabs would refuse, field by field."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from interface.simulator import SimulatorConfig
from interface.simulator.money import DECIMALS
from interface.simulator.orders import ApiError, read_json, read_order

GOOD: dict[str, Any] = {
    "tran_type": "sale",
    "tran_class": "ecom",
    "cart_id": "c" * 64,
    "cart_description": "d" * 128,
    "cart_currency": "SAR",
    "cart_amount": Decimal("9999999999.99"),
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tran_type", "authext"),
        ("tran_type", "Sale"),
        ("tran_type", ["sale"]),
        ("tran_class", "nfc"),
        ("tran_class", []),
        ("cart_id", None),
        ("cart_id", ""),
        ("cart_id", "c" * 65),
        ("cart_id", 12),
        ("cart_description", "d" * 129),
        ("cart_currency", None),
        ("cart_amount", None),
        ("cart_amount", 0),
        ("cart_amount", -1),
        ("cart_amount", Decimal("0.001")),
        ("cart_amount", Decimal("10000000000")),
        ("cart_amount", Decimal("1.005")),
        ("cart_amount", "1e400000"),
        ("cart_amount", "NaN"),
        ("cart_amount", "9" * 40),
        ("cart_amount", True),
        ("cart_amount", [1]),
        ("return", "ftp://example.com"),
        ("return", "https://"),
        ("return", "https://example.com:99999/"),
        ("callback", "https://example.com/" + "x" * 255),
        ("callback", "https://example.com/\r\nX: y"),
        ("callback", 5),
        ("return_using_get", "yes"),
        ("paypage_ttl", 0),
        ("paypage_ttl", True),
        ("customer_details", "Sara"),
        ("token", "0123456789ABCDEF"),
        ("card_details", {"pan": "4111111111111111"}),
    ],
)
def test_a_bad_field_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ApiError) as refused:
        read_order(GOOD | {field: value}, DECIMALS)
    assert (refused.value.http_status, refused.value.code) == (400, 2)
    assert field in refused.value.message


def test_a_follow_up_needs_the_earlier_reference() -> None:
    with pytest.raises(ApiError, match="tran_ref is required"):
        read_order(GOOD | {"tran_type": "refund"}, DECIMALS)


def test_the_limits_themselves_are_allowed() -> None:
    order = read_order(GOOD, DECIMALS)
    assert order.amount == Decimal("9999999999.99")
    assert (order.return_url, order.callback, order.page_ttl_minutes) == (None, None, None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"a":NaN}',
        b"\xff",
        b"[" * 100_000,
        b'{"a":1e9999999999999999999999}',
        b'{"a":"\\ud800"}',
    ],
)
def test_what_is_not_a_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(ApiError, match="must be"):
        read_order(read_json(body), DECIMALS)


@pytest.mark.parametrize(
    "setting",
    [
        {"profile_id": 0},
        {"server_key": ""},
        {"page_ttl_minutes": 0},
        {"callback_attempts": 0},
        {"duplicate_window_seconds": -1},
        {"public_url": "pay.example.com"},
        {"currencies": frozenset({"XXX"})},
        {"currencies": frozenset()},
    ],
)
def test_a_wrong_setting_is_named(setting: dict[str, Any]) -> None:
    good: dict[str, Any] = {"profile_id": 1, "server_key": "k", "data_path": Path("x")}
    with pytest.raises(ValueError, match=next(iter(setting))):
        SimulatorConfig(**good | setting)
