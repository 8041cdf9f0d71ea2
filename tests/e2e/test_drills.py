"""Drills: the gateway falls ill under load; the breaker acts, and nobody has to help."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from domain.circuit import Circuit
from tests.e2e.house import House, house, until

QUICK: dict[str, Any] = {
    "create_wait_ms": 50,
    "breaker_minimum_requests": 3,
    "breaker_volume_threshold": 5,
    "breaker_reset_timeout_ms": 500,
    "breaker_slow_call_threshold_ms": 200,
    "retry_base_delay_ms": 50,
    "retry_max_delay_ms": 400,
}
PAYMENTS = 12
LEGAL = {
    ("CLOSED", "OPEN"),
    ("OPEN", "HALF_OPEN"),
    ("HALF_OPEN", "OPEN"),
    ("HALF_OPEN", "CLOSED"),
}
"""From which state the breaker may come into which (contract 8)."""


def slow(home: House) -> None:
    home.customer.behave(latency_ms=400)


def down(home: House) -> None:
    home.customer.behave(status=503)


def answering_rubbish(home: House) -> None:
    home.customer.behave(malformed=True)


def dropping_before_doing(home: House) -> None:
    home.customer.behave(drop_before=True)


def dropping_after_doing(home: House) -> None:
    home.customer.behave(drop_after=True)


def heal(home: House) -> None:
    home.customer.http.delete(f"{home.customer.url}/behaviour", timeout=10)


def states(home: House) -> list[str]:
    """The states of the breaker over time, from the recorded events."""
    changes = [e for e in home.events_of("Operations") if isinstance(e, Circuit.Changed)]
    return [change.state.value for change in changes]


@pytest.mark.parametrize(
    "fall_ill", [slow, down, answering_rubbish, dropping_before_doing, dropping_after_doing]
)
def test_an_ill_gateway_costs_no_payment_and_no_hand(
    database_url: str, fall_ill: Callable[[House], None]
) -> None:
    with house(database_url, **QUICK) as home:
        fall_ill(home)
        ids = [home.api.created()["paymentId"] for _ in range(PAYMENTS)]
        until(lambda: "OPEN" in states(home))
        heal(home)
        settle_all(home, ids)
        until(lambda: is_closed_by_real_work(home))
        check_history(states(home))


def test_a_flapping_gateway_is_left_alone_and_tried_again_until_it_stays_well(
    database_url: str,
) -> None:
    with house(database_url, **QUICK) as home:
        ids = []
        for _ in range(4):
            down(home)
            ids += [home.api.created()["paymentId"] for _ in range(PAYMENTS // 2)]
            threading.Event().wait(0.4)
            heal(home)
            threading.Event().wait(0.4)
        settle_all(home, ids)
        until(lambda: is_closed_by_real_work(home))
        assert "OPEN" in states(home)
        check_history(states(home))


def is_closed_by_real_work(home: House) -> bool:
    """Trials are real payments: as long as there is none the breaker stays half-open."""
    seen = states(home)
    if not seen or seen[-1] == "CLOSED":
        return True
    home.api.created()
    return False


def settle_all(home: House, ids: list[str]) -> None:
    """Every customer pays, and everyone has paid once."""
    for payment_id in ids:
        page = home.api.becomes(payment_id, "processing")
        home.customer.pay(page["transactionRef"])
    for payment_id in ids:
        home.api.becomes(payment_id, "completed")
        books = home.customer.books(payment_id)
        assert (books["charged"], books["net"]) == ("149.50", "149.50")


def check_history(seen: list[str]) -> None:
    pairs = list(zip(["CLOSED", *seen], seen, strict=False))
    assert set(pairs) <= LEGAL, pairs
