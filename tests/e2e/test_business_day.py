"""A day of business through real processes: every figure that is shown agrees with the events."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from domain.confirmation import Confirmation
from domain.contract import Contract
from domain.earnings import Earnings
from domain.payment import Payment
from domain.payment_saga import PaymentSaga
from domain.webhook import Webhook
from interface.web.metrics import REACHED, STEP_OUTCOMES
from system.applications import LOG_NAMES
from system.event_counts import REASONS
from system.persistence.postgres import PostgresPersistence
from tests.e2e.bookkeeping import of
from tests.e2e.business_day import SETTINGS, BusinessDay, clock_showing
from tests.e2e.fleet import Fleet
from tests.e2e.house import free_port, until
from tests.integration.production_kit import applications_on
from tests.integration.test_web_metrics import scrape
from tests.unit.docs_tables import DOCS

EVE = date(2026, 11, 30)
MIDNIGHT = datetime(2026, 12, 1, tzinfo=UTC)
GOES_ON = "performance.metric"
"""What webs record while they are looked at."""
A_MOMENT = "paysaga_process_start_time_seconds"
"""No age, whatever its name says: seconds since 1970, as Prometheus wants it."""
SCRAPE_SECONDS = 1
DAY = "10m"
"""In the computer's time, with the end of it."""
RATE = re.compile(r"rate\(([^\[]+)\[\w+\]\)")
DASHBOARD = json.loads((DOCS / "alerts" / "grafana-dashboard.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass(frozen=True)
class Log:
    """Every event of every log, and what the aggregates have come to."""

    events: list[Any]
    payments: dict[Any, Any]
    sagas: list[Any]
    confirmations: list[Any]


@contextmanager
def day_on(postgres_server: Any, start: datetime) -> Iterator[BusinessDay]:
    """A day that begins at `start`, on a database of its own."""
    name = f"day_{uuid4().hex}"
    url = postgres_server.ensure_database(name)
    clock, port = clock_showing(start), free_port()
    told = f"{clock.speed}@{clock.since.isoformat()}"
    with tempfile.TemporaryDirectory(prefix="paysaga-day-") as folder:
        fleet = Fleet(
            url, f"http://127.0.0.1:{port}", Path(folder), development_clock=told, **SETTINGS
        )
        try:
            yield BusinessDay(fleet, clock, port)
        finally:
            fleet.show()
            fleet.close()
    postgres_server.drop_database(name)


def read(database_url: str) -> Log:
    """The logs, read through the applications and not through what counts for the metrics."""
    persistence = PostgresPersistence(database_url, pool_size=2)
    try:
        applications = applications_on(persistence)
        events = [e for name in LOG_NAMES for e in applications.by_name[name].all()]
        ids = {name: {e.originator_id for e in of(events, kind)} for name, kind in FIRST.items()}
        return Log(
            events,
            {id: applications.payments.get(id) for id in ids["payments"]},
            [applications.sagas.get(id) for id in ids["sagas"]],
            [applications.confirmations.get(id) for id in ids["confirmations"]],
        )
    finally:
        persistence.close()


FIRST = {
    "payments": Payment.Initiated,
    "sagas": PaymentSaga.Started,
    "confirmations": Confirmation.Requested,
}


def counted(log: Log) -> Figures:
    """What `/metrics` has to show of what happened, counted by hand from the events."""
    figures: Figures = {}

    def put(name: str, counts: Counter[Any], *labels: str) -> None:
        for key, count in counts.items():
            values = key if isinstance(key, tuple) else (key,)
            figures[name, frozenset(zip(labels, values, strict=True))] = float(count)

    types = [str(e.event_type) for e in log.events if str(e.event_type) != GOES_ON]
    put("paysaga_events_total", Counter(types), "type")
    reached = [e for e in of(log.events, *REACHED) if not is_partial(e)]
    put(
        "paysaga_payments_total",
        Counter((REACHED[type(e)], reason_of(e)) for e in reached),
        "status",
        "reason",
    )
    ends = of(log.events, Payment.Completed, Payment.Failed, Payment.Cancelled)
    put("paysaga_payment_final_seconds_count", Counter(REACHED[type(e)] for e in ends), "status")
    steps = [e for e in log.events if e.event_type in STEP_OUTCOMES]
    put(
        "paysaga_saga_steps_total",
        Counter((str(e.step), STEP_OUTCOMES[e.event_type]) for e in steps),
        "step",
        "outcome",
    )
    put("paysaga_webhooks_total", Counter(outcome_of(e) for e in handled(log)), "outcome")
    stages = Counter(
        "parked" if saga.parked else str(saga.stage)
        for saga in log.sagas
        if saga.parked or saga.stage in {"running", "waiting", "compensating"}
    )
    put("paysaga_sagas_open", stages, "status")
    told = Counter(str(c.status) for c in log.confirmations if c.status != "delivered")
    put("paysaga_confirmations_not_delivered", told, "status")
    return figures


def handled(log: Log) -> list[Any]:
    """What came of each callback of the gateway."""
    return of(log.events, Webhook.Processed, Webhook.Failed)


def outcome_of(event: Any) -> str:
    """The outcome label of an event that ends a callback."""
    told = event.reason if isinstance(event, Webhook.Failed) else event.outcome
    return str(told).partition(":")[0]


def is_partial(event: Any) -> bool:
    return isinstance(event, Payment.Refunded) and not event.is_full


def reason_of(event: Any) -> str:
    """The reason label of an event."""
    if isinstance(event, Payment.Failed):
        reason = event.failure.code
    elif isinstance(event, Payment.Cancelled):
        reason = event.reason
    else:
        return ""
    return reason if reason in REASONS else "other"


def shown(figures: Figures, names: set[str]) -> Figures:
    """The samples of those metrics that are not 0."""
    going_on = ("paysaga_events_total", frozenset({("type", GOES_ON)}))
    return {k: v for k, v in figures.items() if k[0] in names and v and k != going_on}


NAMES = {
    "paysaga_events_total",
    "paysaga_payments_total",
    "paysaga_payment_final_seconds_count",
    "paysaga_saga_steps_total",
    "paysaga_webhooks_total",
    "paysaga_sagas_open",
    "paysaga_confirmations_not_delivered",
}


def assert_the_metrics_show(day: BusinessDay, wanted: Figures) -> None:
    """Every web shows what was counted, as soon as it has caught up with the log."""
    for port in day.ports:
        try:
            until(lambda p=port: differences(p, wanted) == {}, 10)
        except AssertionError:
            raise AssertionError(differences(port, wanted)) from None


def assert_no_time_is_yet_to_come(day: BusinessDay) -> None:
    """Ages are told by the clock that made the times, not by the database's."""
    figures = scrape(f"http://127.0.0.1:{day.ports[0]}")
    ages = {
        key: age
        for key, age in figures.items()
        if key[0].endswith("_seconds") and key[0] != A_MOMENT
    }
    assert any(name == "paysaga_follower_silent_seconds" for name, _ in ages)
    assert all(0 <= age < timedelta(days=2).total_seconds() for age in ages.values()), ages


def differences(port: int, wanted: Figures) -> dict[Any, Any]:
    """What a web shows beside what was counted, where they differ."""
    seen = shown(scrape(f"http://127.0.0.1:{port}"), NAMES)
    both = {key: (seen.get(key), wanted.get(key)) for key in seen.keys() | wanted.keys()}
    return {key: pair for key, pair in both.items() if pair[0] != pair[1]}


def assert_the_gateway_has_the_same_books(day: BusinessDay, log: Log) -> None:
    """Payment by payment: what was charged and not given back."""
    for payment_id, payment in log.payments.items():
        books = day.fleet.customer.books(str(payment_id))
        captured = payment.amount_captured.amount if payment.amount_captured else Decimal(0)
        refunded = payment.amount_refunded.amount if payment.amount_refunded else Decimal(0)
        assert Decimal(books["net"]) == captured - refunded, (payment_id, books)


def assert_earnings_are_those_of_the_payments(day: BusinessDay, log: Log) -> None:
    """Gross is what contracts' payments have brought, fee and net add up, HTTP says the same."""
    earned = of(log.events, Earnings.Calculated, Earnings.Reversed)
    assert all(e.platform_fee + e.net == e.gross for e in earned)
    contracts = {e.contract_id for e in of(log.events, Contract.Agreed)}
    for payment in log.payments.values():
        if payment.contract_id in contracts and payment.amount_captured:
            mine = [e.gross.amount for e in earned if e.payment_id == payment.id]
            left = payment.amount_captured.amount - payment.amount_refunded.amount
            assert sum(mine) == left, payment.id
    by_currency: Counter[str] = Counter()
    for event in earned:
        by_currency[event.gross.currency.code] += event.gross.amount
    totals: Counter[str] = Counter()
    for contract_id in contracts:
        for row in day.fleet.api.get(f"/v1/contracts/{contract_id}/earnings").json()["totals"]:
            totals[row["currency"]] += Decimal(str(row["gross"]))
    assert totals == by_currency


def assert_each_instalment_has_one_payment(log: Log) -> None:
    due = [e.payment_id for e in of(log.events, Contract.PaymentDue)]
    assert due
    assert len(due) == len(set(due))
    assert set(due) <= log.payments.keys()


def assert_merchants_and_webhooks_agree(day: BusinessDay, log: Log) -> None:
    delivered = [e.originator_id for e in of(log.events, Confirmation.Delivered)]
    assert len(delivered) == len(set(delivered))
    assert len(delivered) <= len({message for message, _ in day.fleet.merchant.told})
    received = {e.originator_id for e in of(log.events, Webhook.Received)}
    ended = {e.originator_id for e in handled(log)}
    assert received == ended


def a_day(day: BusinessDay, end: datetime, seed: int) -> Log:
    """Runs it until the clock shows `end`, and returns the log when all is quiet."""
    day.start()
    day.live(end, random.Random(seed))
    day.comes_to_rest()
    day.stop_workers()
    log = read(day.fleet.database_url)
    assert_the_metrics_show(day, counted(log))
    assert_no_time_is_yet_to_come(day)
    assert_the_gateway_has_the_same_books(day, log)
    assert_earnings_are_those_of_the_payments(day, log)
    assert_each_instalment_has_one_payment(log)
    assert_merchants_and_webhooks_agree(day, log)
    assert day.fleet.rows("SELECT * FROM parked_events") == []
    return log


def story(log: Log) -> str:
    kinds = Counter(str(e.event_type) for e in log.events)
    times = [e.timestamp for e in log.events]
    return f"{max(times) - min(times)} shown; {dict(sorted(kinds.items()))}"


def test_an_evening_of_business_agrees_with_what_is_shown(postgres_server: Any) -> None:
    with day_on(postgres_server, MIDNIGHT - timedelta(minutes=80)) as day:
        log = a_day(day, MIDNIGHT + timedelta(minutes=10), seed=9)
    print(story(log))
    assert_instalments_fell_due_at_midnight(log)


def assert_instalments_fell_due_at_midnight(log: Log) -> None:
    """Of contracts of the day before; on a slow machine an evening may begin after midnight."""
    agreed = {e.contract_id for e in of(log.events, Contract.Agreed) if e.timestamp < MIDNIGHT}
    due = [e for e in of(log.events, Contract.PaymentDue) if e.contract_id in agreed]
    assert {e.due_on for e in due} == ({EVE, MIDNIGHT.date()} if agreed else set())
    assert all(e.timestamp.date() == e.due_on for e in due)


@contextmanager
def prometheus(day: BusinessDay, folder: Path) -> Iterator[str]:
    """A Prometheus that scrapes both webs; returns its address."""
    port = free_port()
    config = {
        "global": {"scrape_interval": f"{SCRAPE_SECONDS}s"},
        "scrape_configs": [
            {
                "job_name": "paysaga",
                "static_configs": [{"targets": [f"127.0.0.1:{p}" for p in day.ports]}],
            }
        ],
    }
    (folder / "prometheus.json").write_text(json.dumps(config))
    with (folder / "prometheus.log").open("wb") as output:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.json'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def asked(url: str, query: str) -> dict[frozenset[tuple[str, str]], float]:
    """What Prometheus makes of a query now."""
    answer = requests.get(f"{url}/api/v1/query", params={"query": query}, timeout=30).json()
    assert answer["status"] == "success", answer
    return {
        frozenset(row["metric"].items()): float(row["value"][1]) for row in answer["data"]["result"]
    }


def assert_the_dashboard_shows(url: str, wanted: Figures) -> None:
    """Every panel has shown something, and those that count show what was counted: the rates are
    over these very counters, so each is asked for without its rate, too."""
    for query in QUERIES:
        assert asked(url, f"last_over_time(({query})[{DAY}:{SCRAPE_SECONDS}s])"), query
        plain = RATE.sub(r"\1", query)
        [name, *_] = re.findall(r"paysaga_\w+", plain)
        mine = {labels: count for (metric, labels), count in wanted.items() if metric == name}
        if mine and not plain.startswith("histogram_quantile"):
            is_all = "{" not in plain
            until(lambda q=plain, m=mine, a=is_all: same(asked(url, q), m, is_all=a), 20)


def same(
    seen: dict[frozenset[tuple[str, str]], float],
    wanted: dict[frozenset[tuple[str, str]], float],
    *,
    is_all: bool,
) -> bool:
    """Labels that are empty are none to Prometheus; unless `is_all` a panel shows a part."""
    full = {frozenset((k, v) for k, v in labels if v): count for labels, count in wanted.items()}
    found = {labels: count for labels, count in seen.items() if count}
    return bool(found) and (found == full if is_all else found.items() <= full.items())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")
def test_the_dashboards_of_a_whole_day_agree_with_its_events(
    postgres_server: Any, data_dir: Path
) -> None:
    morning = MIDNIGHT - timedelta(hours=18)
    with (
        day_on(postgres_server, morning) as day,
        prometheus(day, data_dir) as url,
    ):
        log = a_day(day, morning + timedelta(hours=24), seed=2026)
        assert_the_dashboard_shows(url, counted(log))
    print(story(log))
    assert_instalments_fell_due_at_midnight(log)
