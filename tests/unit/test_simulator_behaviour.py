"""Counts how long each wish lasts, and what happens to callbacks that find no room."""

from __future__ import annotations

from decimal import Decimal

from interface.simulator import SimulatorConfig
from interface.simulator.behaviour import Behaviour, CallFault
from interface.simulator.desk import Desk
from interface.simulator.notifier import Delivery, Notifier
from interface.simulator.signing import sign_body
from interface.simulator.transactions import Kind, Order


def test_each_kind_of_wish_is_counted_on_its_own() -> None:
    behaviour = Behaviour()
    behaviour.replace({"latency_ms": 5, "callback": "lost", "refund": "decline", "next": 1})
    assert behaviour.take_call("/payment/query") == CallFault(latency_ms=5)
    assert behaviour.take_call("/payment/query") is None
    assert behaviour.shown() == {"callback": "lost", "refund": "decline", "next": 1}
    assert [behaviour.take_outcome().mode for _ in range(2)] == ["lost", "normal"]
    assert [behaviour.take_refund() for _ in range(2)] == ["decline", "succeed"]
    assert behaviour.shown() == {}


def test_a_wish_without_a_count_lasts_until_changed() -> None:
    behaviour = Behaviour()
    behaviour.replace({"callback": "delayed"})
    assert [behaviour.take_outcome().delay_ms for _ in range(3)] == [2000] * 3
    behaviour.clear()
    assert behaviour.take_outcome().mode == "normal"


def test_calls_to_other_paths_use_nothing_up() -> None:
    behaviour = Behaviour()
    behaviour.replace({"drop_after": True, "next": 1, "paths": ["/payment/request"]})
    assert behaviour.take_call("/payment/query") is None
    assert behaviour.take_call("/payment/request") == CallFault(drop_after=True)
    assert behaviour.shown() == {}


def test_a_callback_that_finds_the_queue_full_is_noted() -> None:
    notes: list[tuple[str, int | None, str | None]] = []
    notifier = Notifier(
        attempts=1,
        retry_base_seconds=0,
        timeout_seconds=1,
        workers=1,
        queue_max=1,
        on_attempt=lambda *note: notes.append(note),
    )
    delivery = Delivery("TST1", "http://127.0.0.1:1/", b"{}", {}, copies=2)
    notifier.submit(delivery)
    assert notes == [("TST1", None, "not sent: the callback queue is full")]


def test_a_strict_simulator_sends_nothing_but_an_empty_body_over_plain_http() -> None:
    desk = Desk(SimulatorConfig(profile_id=1, server_key="k", allow_plain_http_callbacks=False))
    sent = {}
    for scheme in ("http", "https"):
        order = Order(Kind.SALE, "ECom", scheme, "d", "SAR", Decimal(1))
        with desk.books() as books:
            sale = books.open_page(order).tran_ref
        capture = Order(
            Kind.CAPTURE,
            "ECom",
            "c" + scheme,
            "d",
            "SAR",
            Decimal(1),
            previous_tran_ref=sale,
            callback=f"{scheme}://shop.example.com/callback",
        )
        sent[scheme] = desk.follow_up(capture).delivery
    assert sent["http"] is not None
    assert sent["http"].body == b""
    assert sent["http"].headers["Signature"] == sign_body("k", b"")
    assert sent["https"] is not None
    assert sent["https"].body.startswith(b'{"tran_ref":')
