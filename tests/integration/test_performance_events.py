"""`performance.metric` events of real processes, and the row with which each says that it lives."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psutil
import psycopg
import pytest

from domain.performance_metric import Figure
from system.performance_sources import FleetWork
from system.persistence.postgres import PostgresPersistence
from system.presence import Presence, processes
from tests.e2e.house import DECLINED_CARD, House, house, until
from tests.integration.production_kit import Production, store

MINUTE = timedelta(minutes=1)
EVERYTHING = ("Agenda", "PaymentSagas", "PaymentsView")


@pytest.fixture
def kept(database_url: str) -> Iterator[PostgresPersistence]:
    with store(database_url) as kept:
        yield kept


def values(figures: Any) -> dict[tuple[str, ...], float]:
    """Each figure by its name and the values of its labels."""
    return {(each.name, *each.labels.values()): each.value for each in figures}


@pytest.fixture
def home(database_url: str) -> Iterator[House]:
    with house(database_url, performance_interval_seconds=1) as home:
        yield home


def metrics(home: House, role: str) -> dict[str, dict[str, Any]]:
    """The newest metric of each name from the processes of a role, as the feed shows it."""
    found = home.api.data("/v1/events", type="performance.metric", limit=100)
    mine = [each["data"] for each in found if each["data"]["labels"]["role"] == role]
    return {each["name"]: each for each in mine}


def test_each_process_tells_the_feed_how_it_fares(home: House) -> None:
    paid = home.api.created()
    home.customer.pay(paid["transactionRef"])
    home.api.becomes(paid["paymentId"], "completed")
    home.api.created()
    until(lambda: "http.throughput" in metrics(home, "web"))
    until(lambda: {"payments.throughput", "agenda.depth"} <= metrics(home, "worker").keys())
    until(lambda: "breaker.throughput" in metrics(home, "worker"))
    for role in ("web", "worker"):
        told = metrics(home, role)
        assert told["process.memory"]["value"] > 1_000_000
        assert told["process.memory"]["unit"] == "bytes"
        assert 1000 <= told["process.memory"]["window"] < 60_000
    assert metrics(home, "worker")["breaker.throughput"]["labels"]["service"] == "paytabs"


def test_the_time_that_payments_took_is_what_really_passed(home: House) -> None:
    persistence = home.context.persistence
    work = FleetWork(persistence, home.context.applications.clock, lambda: EVERYTHING)
    assert list(work.payments(MINUTE)) == []
    completed, declined = home.api.created(), home.api.created()
    home.customer.pay(completed["transactionRef"])
    home.customer.pay(declined["transactionRef"], DECLINED_CARD)
    home.api.becomes(completed["paymentId"], "completed")
    home.api.becomes(declined["paymentId"], "failed")
    told = values(work.payments(MINUTE))
    assert told["payments.throughput", "initiated"] == pytest.approx(2 / 60)
    assert told["payments.throughput", "failed"] == pytest.approx(1 / 60)
    payment = home.context.applications.payments.get(completed["paymentId"])
    [ended_at] = [
        event.timestamp
        for event in home.events_of("Payments")
        if event.event_type.value == "payment.completed"
    ]
    took_ms = (ended_at - payment.created_on) / timedelta(milliseconds=1)
    assert told["payments.lifecycle.p50", "completed"] == pytest.approx(took_ms)
    assert list(work.payments(MINUTE)) == []


def test_lags_and_queues_are_told_by_the_process_in_charge_alone(
    kept: PostgresPersistence,
) -> None:
    stopped = Production(kept)
    stopped.create_payment("10.00", "SAR", "Tea")
    with kept.connection() as connection:
        connection.execute(
            "INSERT INTO agenda (work_id, kind, aggregate_id, payment_id, due_at, correlation_id) "
            "VALUES (gen_random_uuid(), 'confirmation', gen_random_uuid(), gen_random_uuid(), "
            "now() - interval '90 seconds', 'c')"
        )
    clock = stopped.applications.clock
    in_charge, idle = (FleetWork(kept, clock, lambda led=led: led) for led in (EVERYTHING, ()))
    assert [*idle.lags(MINUTE), *idle.queues(MINUTE), *idle.payments(MINUTE)] == []
    lags, queues = values(in_charge.lags(MINUTE)), values(in_charge.queues(MINUTE))
    assert lags["follower.lagEvents", "PaymentsView"] == 1
    assert lags["follower.lagSeconds", "PaymentsView"] > 0
    assert {follower for _, follower in lags} == set(EVERYTHING)
    assert queues["agenda.depth", "confirmation"] == queues["agenda.due", "confirmation"] == 1
    assert queues["agenda.oldestDue", "confirmation"] == pytest.approx(90, abs=30)


def test_a_process_says_that_it_lives_until_it_ends(kept: PostgresPersistence) -> None:
    presence = Presence(kept, "host:1", "worker", "1.2.3")
    presence.beat()
    [seen] = processes(kept)
    assert (seen.process, seen.role, seen.version) == ("host:1", "worker", "1.2.3")
    assert seen.is_alive
    presence.leave()
    assert processes(kept) == []


def test_a_process_that_fell_silent_is_shown_dead_and_forgotten_after_an_hour(
    kept: PostgresPersistence, database_url: str
) -> None:
    dead, living = Presence(kept, "dead", "web", "1"), Presence(kept, "living", "web", "1")

    def dies(minutes: int) -> None:
        with psycopg.connect(database_url) as connection:
            connection.execute(
                "UPDATE processes SET seen_at = now() - make_interval(mins => %s)"
                " WHERE process = 'dead'",
                (minutes,),
            )

    dead.beat()
    dies(minutes=1)
    living.beat()
    assert {each.process: each.is_alive for each in processes(kept)} == {
        "dead": False,
        "living": True,
    }
    dies(minutes=61)
    living.beat()
    assert [each.process for each in processes(kept)] == ["living"]


def test_what_a_process_uses_is_measured(kept: PostgresPersistence) -> None:
    presence = Presence(kept, "host:1", "worker", "1")
    itself = psutil.Process()
    told = next(iter(presence.own_figures(MINUTE)))
    assert told == Figure("process.memory", told.value, "bytes", always_told=True)
    assert told.value == pytest.approx(itself.memory_info().rss, rel=0.1)
    used = presence.figures()
    assert used["cpu_seconds"] == pytest.approx(sum(itself.cpu_times()[:2]), abs=1)
    assert used["threads"] == pytest.approx(itself.num_threads(), abs=3)
    assert used["open_files"] == pytest.approx(itself.num_fds(), abs=5)
    with kept.connection():
        assert presence.figures()["pool_in_use"] == 1
    assert presence.figures()["pool_in_use"] == 0
