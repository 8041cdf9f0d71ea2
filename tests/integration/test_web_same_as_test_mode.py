"""The same flow gives the same events in production and in the single-process test mode."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from system.testing import SystemUnderTest
from tests.e2e.house import DECLINED_CARD, House, house_on, unread, until

Story = dict[str, list[str]]


@pytest.fixture(scope="module")
def home(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server) as home:
        yield home


def story_of(events: list[tuple[str, str]]) -> Story:
    """The types of events by kind of aggregate, in order; calls and messages one after another."""
    story: Story = defaultdict(list)
    for kind, event_type in events:
        story[kind].append(event_type)
    return dict(story)


def in_production(home: House, act: Callable[[House, dict[str, Any]], Any], end: str) -> Story:
    payment = home.api.created(callbackUrl=home.merchant.url)
    act(home, payment)
    home.api.saga_becomes(payment["paymentId"], end)
    home.merchant.next()
    until(lambda: not unread(home.settings.conninfo))
    recorded = [
        event
        for log in ("Payments", "PaymentSagas", "Gateway", "Webhooks", "Confirmations")
        for event in home.events_of(log)
        if payment["paymentId"] in {str(getattr(event, "payment_id", "")), str(event.originator_id)}
    ]
    kinds = [(type(event).__qualname__.split(".")[0], event.event_type.value) for event in recorded]
    return story_of(kinds)


def in_test_mode(act: Callable[[SystemUnderTest, Any], Any]) -> Story:
    with SystemUnderTest(seed=1) as system:
        payment_id = system.create_payment(
            "149.50", "SAR", "Tea", callback_url="https://shop.example.com/callback"
        )
        system.run()
        act(system, payment_id)
        system.run()
        return story_of([(event["aggregateType"], event["type"]) for event in system.events()])


FLOWS: dict[str, tuple[Any, Any, str]] = {
    "paid": (
        lambda home, payment: home.customer.pay(payment["transactionRef"]),
        lambda system, payment_id: system.gateway.pay(payment_id),
        "completed",
    ),
    "declined": (
        lambda home, payment: home.customer.pay(payment["transactionRef"], DECLINED_CARD),
        lambda system, payment_id: system.gateway.decline(payment_id),
        "compensated",
    ),
    "cancelled by the customer": (
        lambda home, payment: home.customer.act(payment["transactionRef"], "cancel"),
        lambda system, payment_id: system.gateway.cancel(payment_id),
        "compensated",
    ),
    "cancelled through the API": (
        lambda home, payment: home.api.cancel(payment["paymentId"]),
        lambda system, payment_id: system.cancel_payment(payment_id),
        "compensated",
    ),
}


@pytest.mark.parametrize("flow", FLOWS)
def test_both_modes_tell_the_same_story(home: House, flow: str) -> None:
    for_real, in_memory, end = FLOWS[flow]
    assert in_production(home, for_real, end) == in_test_mode(in_memory)
