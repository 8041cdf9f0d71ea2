"""`paysaga journal finance`: what it prints adds up to what the payments themselves say."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from itertools import count, islice
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import simplejson
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from domain.earnings import Earnings
from domain.money import money
from domain.payment import Payment
from system.finance import SETTLED, Movement, added_up
from system.testing import SystemUnderTest
from tests.integration.cli_kit import run, settings_env
from tests.integration.history_kit import forget, happen, record
from tests.integration.journal_kit import Books, books
from tests.simulation.contract_kit import AGREED, agree_without_instalments

A_HISTORY_WITH_REFUNDS = 14
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def shared_url(postgres_server: Any) -> Iterator[str]:
    name = f"finance_{uuid4().hex}"
    yield postgres_server.ensure_database(name)
    postgres_server.drop_database(name)


@pytest.fixture(scope="module")
def shared(shared_url: str) -> Iterator[Books]:
    """One database for all histories, emptied before each."""
    with books(shared_url) as kept:
        yield kept


@pytest.fixture
def env(shared: Books, shared_url: str, tmp_path: Path) -> dict[str, str]:
    forget(shared)
    return settings_env(tmp_path, database_url=shared_url)


def journal(kept: Books) -> None:
    """Lets the journal take in everything."""
    for following in kept.followings("Journal"):
        while following.advance():
            continue


def printed(env: dict[str, str], *options: str) -> list[dict[str, Any]]:
    result = run("journal", "finance", *options, env=env)
    assert result.exit_code == 0, result.output
    return [simplejson.loads(line, use_decimal=True) for line in result.stdout.splitlines()]


def aggregates(kept: Books) -> list[Any]:
    """Every payment, and the earnings of every payment, as its events give it."""
    logs = (kept.applications.payments, kept.applications.contracts)
    created = [
        (log, event.originator_id)
        for log in logs
        for event in log.all()
        if isinstance(event, Payment.Initiated | Earnings.Calculated)
    ]
    return [log.get(aggregate_id) for log, aggregate_id in created]


def booked(kept: Books) -> dict[str, tuple[Decimal, Decimal, Decimal]]:
    """What was captured, refunded and taken as fees in each currency, by the aggregates."""
    found: dict[str, list[Decimal]] = {}
    for each in aggregates(kept):
        is_payment = isinstance(each, Payment)
        currency = (each.amount if is_payment else each.gross).currency.code
        sums = found.setdefault(currency, [Decimal(0)] * 3)
        if is_payment:
            sums[0] += each.amount_captured.amount
            sums[1] += each.amount_refunded.amount
        else:
            sums[2] += each.platform_fee.amount
    return {currency: (a, b, c) for currency, (a, b, c) in found.items() if a or b or c}


def told(lines: list[dict[str, Any]]) -> dict[str, tuple[Decimal, Decimal, Decimal]]:
    """The same, by the lines that were printed."""
    names = ("amountSettled", "amountRefunded", "platformFees")
    sums = {
        currency: tuple(
            sum((line[name] for line in lines if line["currency"] == currency), Decimal(0))
            for name in names
        )
        for currency in {line["currency"] for line in lines}
    }
    return {currency: (a, b, c) for currency, (a, b, c) in sums.items() if a or b or c}


@settings(
    max_examples=8,
    deadline=None,
    phases=(Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 100_000), page=st.integers(1, 5))
def test_the_days_add_up_to_the_books_after_any_history(
    shared: Books, env: dict[str, str], monkeypatch: pytest.MonkeyPatch, seed: int, page: int
) -> None:
    forget(shared)
    monkeypatch.setattr("system.finance.PAGE_SIZE", page)
    happen(shared, seed)
    journal(shared)
    lines = printed(env)
    assert told(lines) == booked(shared)
    places = [(line["day"], line["currency"]) for line in lines]
    assert places == sorted(set(places))
    for line in lines:
        fees, left = line["platformFees"], line["net"]
        assert line["amountSettled"] - line["amountRefunded"] - fees == left


def test_there_is_something_to_add_up(shared: Books, env: dict[str, str]) -> None:
    happen(shared, A_HISTORY_WITH_REFUNDS)
    journal(shared)
    sums = told(printed(env)).values()
    assert [any(amounts) for amounts in zip(*sums, strict=True)] == [True, True, True]


def paid(s: SystemUnderTest, amount: str, currency: str, **request: Any) -> UUID:
    payment_id = s.create_payment(amount, currency, "Tea", **request)
    s.run()
    s.gateway.pay(payment_id)
    s.run()
    return payment_id


@pytest.fixture
def three_days(shared: Books, env: dict[str, str]) -> str:
    """Two currencies on the first day, a partial refund on the second, nothing on the third, a
    full refund and a cancelled payment on the fourth; returns the first day."""
    with SystemUnderTest(seed=1) as s:
        agree_without_instalments(s)
        first_day = s.clock.now().date().isoformat()
        rent = paid(s, "100.00", "SAR", contract_id=AGREED)
        paid(s, "49.50", "SAR")
        yen = paid(s, "700", "JPY")
        s.wait(DAY)
        s.refund_payment(rent, money("40.00", "SAR"))
        s.wait(2 * DAY)
        s.refund_payment(yen)
        s.cancel_payment(s.create_payment("9.00", "SAR", "Coffee"))
        s.wait(DAY)
        record(shared, s)
    journal(shared)
    return first_day


COLUMNS = [
    *("day", "currency", "settledCount", "amountSettled", "refundedCount", "amountRefunded"),
    *("platformFees", "net"),
]


@pytest.mark.parametrize("envelope", ["left(envelope, 40)", "'{}'"])
def test_books_with_an_entry_that_cannot_be_read_are_refused_in_one_line(
    shared: Books, three_days: str, env: dict[str, str], envelope: str
) -> None:
    shared.query(f"UPDATE journal SET envelope = {envelope} WHERE type = 'payment.refunded'")
    result = run("journal", "finance", env=env)
    [told] = result.stderr.splitlines()
    assert result.exit_code == 1
    assert told.startswith("an entry of the journal cannot be read: `paysaga journal verify`")


def test_each_day_and_currency_is_a_line(three_days: str, env: dict[str, str]) -> None:
    result = run("journal", "finance", "--format", "csv", env=env)
    columns, *lines = csv.reader(io.StringIO(result.stdout))
    assert columns == COLUMNS
    first, second, fourth = sorted({line[0] for line in lines})
    assert first == three_days
    assert lines == [
        [first, "JPY", "1", "700", "0", "0", "0", "700"],
        [first, "SAR", "2", "149.50", "0", "0.00", "3.33", "146.17"],
        [second, "SAR", "0", "0.00", "1", "40.00", "-1.33", "-38.67"],
        [fourth, "JPY", "0", "0", "1", "700", "0", "-700"],
    ]


def test_only_the_days_that_are_asked_for_are_added_up(
    three_days: str, env: dict[str, str]
) -> None:
    everything = printed(env)
    second_day = everything[2]["day"]
    assert printed(env, "--from", second_day) == everything[2:]
    assert printed(env, "--to", second_day) == everything[:2]


def test_books_that_lack_an_event_are_not_printed(
    shared: Books, three_days: str, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared.query(
        "INSERT INTO parked_events (parked_id, follower, leader, position, payment_id, topic, "
        "attempts, is_released) VALUES (%s, 'Journal', 'Payments', 1, %s, 't', 3, false)",
        *(uuid4(), uuid4()),
    )
    result = run("journal", "finance", env=env)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "1 events are parked" in result.stderr
    shared.query("DELETE FROM parked_events")
    monkeypatch.setattr("system.finance.CATCH_UP_SECONDS_MAX", 0)
    shared.create_payment()
    result = run("journal", "finance", env=env)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "the journal is behind" in result.stderr


def test_a_day_is_told_as_soon_as_it_is_over() -> None:
    endless = (
        Movement(f"2026-01-0{1 + number // 5 % 9}T00:00:00Z", number, SETTLED, "SAR", Decimal(1))
        for number in count()
    )
    days = [(each.day, each.amount_settled) for each in islice(added_up(endless), 2)]
    assert days == [("2026-01-01", 5), ("2026-01-02", 5)]
