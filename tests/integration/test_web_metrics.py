"""What Prometheus reads at `/metrics` (contract 5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from psycopg.types.json import Jsonb

from application.operations import Operations
from interface.embedded_postgres import EmbeddedPostgres
from interface.web.metrics import (
    BREAKER_CALLS,
    BREAKER_FIGURES,
    STEP_OUTCOMES,
    FleetCollector,
)
from system import event_counts, figures
from system.persistence import brief_connection
from tests.e2e.house import DECLINED_CARD, Api, House, house, house_on, unread, until
from tests.integration.simulator_merchant import listening
from tests.integration.test_web_webhooks import callback
from tests.postgres_kit import FAST_AND_FORGETFUL
from tests.unit.promtool import needs_promtool, promtool

Labels = frozenset[tuple[str, str]]


def scrape(url: str) -> dict[tuple[str, Labels], float]:
    """Each sample by its name and its labels."""
    answer = requests.get(f"{url}/metrics", timeout=30)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(url: str, name: str, **labels: str) -> float | None:
    return scrape(url).get((f"paysaga_{name}", frozenset(labels.items())))


def becomes(home: House, wanted: float, name: str, **labels: str) -> None:
    until(lambda: value(home.url, name, **labels) == wanted)


@pytest.fixture(autouse=True)
def fresh_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every scrape reads the figures anew."""
    monkeypatch.setattr("interface.web.metrics.FIGURES_SECONDS", 0.0)


@pytest.fixture(scope="module")
def home(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server) as home:
        yield home


@pytest.fixture
def own(database_url: str) -> Iterator[House]:
    """A house in which nothing has happened."""
    with house(database_url, with_worker=False) as own:
        yield own


def paid(home: House, **fields: Any) -> str:
    payment = home.api.created(**fields)
    home.customer.pay(payment["transactionRef"])
    home.api.becomes(payment["paymentId"], "completed")
    return str(payment["paymentId"])


def counted(home: House) -> Counter[str]:
    """How many events of each type the logs hold."""
    return Counter(e.event_type.value for log in home.recorded() for e in home.events_of(log))


def shown(home: House) -> Counter[str]:
    """How many there are in the eyes of Prometheus."""
    return Counter({kind: count for (kind,), count in counts_by(home, "events").items()})


def test_the_figures_agree_with_the_events_of_the_log(home: House) -> None:
    full = paid(home)
    home.api.refunded(full)
    home.api.becomes(full, "refunded")
    part = paid(home)
    home.api.refunded(part, amount=10)
    until(lambda: home.api.payment(part)["amountRefunded"])
    declined = home.api.created()
    home.customer.pay(declined["transactionRef"], DECLINED_CARD)
    home.api.becomes(declined["paymentId"], "failed")
    home.api.cancel(home.api.created()["paymentId"])
    home.api.cancel(home.api.created()["paymentId"], json={"reason": "in my own words"})
    until(lambda: shown(home) == counted(home))

    assert counts_by(home, "payments") == Counter(
        {
            ("", "initiated"): 5,
            ("", "processing"): 5,
            ("", "completed"): 2,
            ("card_declined", "failed"): 1,
            ("", "refunded"): 1,
            ("requested_by_merchant", "cancelled"): 1,
            ("other", "cancelled"): 1,
        }
    )


def counts_by(home: House, name: str) -> Counter[tuple[str, ...]]:
    """A counter's samples by the values of their labels, in the order of the labels' names."""
    return Counter(
        {
            tuple(value for _, value in sorted(labels)): int(count)
            for (sample, labels), count in scrape(home.url).items()
            if sample == f"paysaga_{name}_total"
        }
    )


def test_steps_of_sagas_are_counted_by_what_became_of_them(home: House) -> None:
    paid(home)
    declined = home.api.created()
    home.customer.pay(declined["transactionRef"], DECLINED_CARD)
    home.api.becomes(declined["paymentId"], "failed")
    home.api.saga_becomes(declined["paymentId"], "compensated")

    def in_the_log() -> Counter[tuple[str, ...]]:
        outcomes = {f"saga.step_{outcome}": outcome for outcome in STEP_OUTCOMES.values()}
        return Counter(
            (outcomes[event.event_type.value], event.step.value)
            for event in home.events_of("PaymentSagas")
            if event.event_type.value in outcomes
        )

    until(lambda: counts_by(home, "saga_steps") == in_the_log())
    assert in_the_log()["succeeded", "settle"] >= 1
    assert in_the_log()["compensated", "create_record"] >= 1


def test_callbacks_are_counted_by_what_came_of_them(home: House) -> None:
    paid(home)
    stranger = {"transactionRef": "TST-OF-NOBODY", "paymentId": str(uuid4()), "description": "x"}
    assert home.notify(callback(stranger)).status_code == 200
    assert home.notify(b'{"cart_id": "of a message without a reference"}').status_code == 200

    def in_the_log() -> Counter[tuple[str, ...]]:
        return Counter(
            (str(getattr(event, "outcome", None) or event.reason.split(":")[0]),)
            for event in home.events_of("Webhooks")
            if event.event_type.value in {"webhook.processed", "webhook.failed"}
        )

    kinds = {("paid",), ("unknown_payment",), ("unreadable",)}
    until(lambda: kinds <= in_the_log().keys())
    until(lambda: counts_by(home, "webhooks") == in_the_log())


def test_no_counter_of_events_gets_a_series_that_was_not_there_before_the_event(
    home: House,
) -> None:
    paid(home)
    declined = home.api.created()
    home.customer.pay(declined["transactionRef"], DECLINED_CARD)
    home.api.saga_becomes(declined["paymentId"], "compensated")
    home.api.cancel(home.api.created()["paymentId"], json={"reason": "in my own words"})
    assert home.notify(b'{"cart_id": "of a message without a reference"}').status_code == 200
    until(lambda: shown(home) == counted(home))
    beginning = {
        (sample.name, frozenset(sample.labels.items()))
        for family in FleetCollector(figures.FleetFigures()).collect()
        for sample in family.samples
    }
    names = {f"paysaga_{name}_total" for name in ("events", "payments", "saga_steps", "webhooks")}
    there = {sample for sample in scrape(home.url) if sample[0] in names}
    assert there == {sample for sample in beginning if sample[0] in names}


def test_events_of_another_version_are_counted_as_unknown(own: House) -> None:
    with own.context.persistence.connection() as connection:
        connection.execute(
            "INSERT INTO payments_events (originator_id, originator_version, topic, state) "
            "VALUES (gen_random_uuid(), 1, 'domain.payment:Payment.Tokenized', '{}')"
        )
    assert value(own.url, "events_total", type="unknown") == 1
    assert value(own.url, "database_up") == 1


def test_how_often_a_route_failed_is_shown_before_it_ever_did(own: House) -> None:
    there = scrape(own.url)
    for rule in own.app.url_map.iter_rules():
        for method in {"GET", "POST"} & (rule.methods or set()):
            for status in ("500", "503"):
                labels = {"method": method, "route": rule.rule, "status": status}
                assert ("paysaga_http_requests_total", frozenset(labels.items())) in there


def test_the_time_to_the_final_status_is_a_histogram_of_what_really_passed(home: House) -> None:
    paid(home)
    took = [
        (e.timestamp - home.context.applications.payments.get(e.originator_id).created_on)
        for e in home.events_of("Payments")
        if e.event_type.value == "payment.completed"
    ]
    samples = scrape(home.url)

    def bucket(le: str) -> float:
        labels = frozenset({("status", "completed"), ("le", le)})
        return samples["paysaga_payment_final_seconds_bucket", labels]

    for bound in event_counts.FINAL_SECONDS:
        within = [seconds for seconds in took if seconds.total_seconds() <= bound]
        assert bucket(str(float(bound))) == len(within)
    assert bucket("+Inf") == len(took)
    total = samples["paysaga_payment_final_seconds_sum", frozenset({("status", "completed")})]
    assert total == pytest.approx(sum(each.total_seconds() for each in took))


def between(low: float, shown: float | None, high: float) -> bool:
    return shown is not None and low <= shown <= high


def test_open_payments_are_shown_where_they_stand(home: House) -> None:
    until(lambda: not unread(home.settings.conninfo))
    before = value(home.url, "payments_open", status="processing") or 0
    home.api.created()
    becomes(home, before + 1, "payments_open", status="processing")
    age = value(home.url, "payments_open_oldest_seconds", status="processing")
    assert between(0, age, 600)


def test_without_a_worker_the_followers_fall_behind_and_are_silent(own: House) -> None:
    own.api.create({"Prefer": "respond-async"})
    lag = {"follower": "PaymentSagas", "log": "Payments"}
    assert value(own.url, "follower_lag_events", **lag) == 1
    assert value(own.url, "follower_position", **lag) == 0
    waiting = value(own.url, "follower_lag_seconds", **lag)
    assert between(0.001, waiting, 600)
    assert value(own.url, "follower_silent_seconds", follower="PaymentSagas") == float("inf")
    assert value(own.url, "workers_alive") == 0


def test_followers_that_are_up_to_date_have_no_lag(home: House) -> None:
    home.api.created()
    lag = {"follower": "PaymentSagas", "log": "Payments"}
    becomes(home, 0, "follower_lag_events", **lag)
    becomes(home, 0, "follower_lag_seconds", **lag)
    silent = value(home.url, "follower_silent_seconds", follower="PaymentSagas")
    assert between(0, silent, 15)
    assert value(home.url, "workers_alive") == 1
    waiting = value(home.url, "sagas_open", status="waiting")
    assert between(1, waiting, 100)
    planned = value(home.url, "agenda_rows", kind="saga_deadline")
    assert between(1, planned, 1000)


def test_parked_sagas_and_parked_events_are_counted(own: House) -> None:
    with psycopg.connect(own.settings.conninfo, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO view_sagas SELECT gen_random_uuid(), gen_random_uuid(), 'completed', "
            "'why', NULL, now(), now()"
        )
        connection.execute(
            "INSERT INTO parked_events (parked_id, follower, leader, position, payment_id, topic, "
            "attempts, is_released) VALUES (gen_random_uuid(), 'Agenda', 'PaymentSagas', 1, "
            "gen_random_uuid(), 'x', 1, false)"
        )
    assert value(own.url, "sagas_open", status="parked") == 1
    assert value(own.url, "follower_parked_events", follower="Agenda") == 1
    assert value(own.url, "follower_parked_events", follower="Webhooks") == 0


def test_confirmations_that_were_given_up_are_counted(home: House) -> None:
    with listening() as merchant:
        merchant.answers.append(410)
        payment = home.api.created(callbackUrl=merchant.url)
        home.api.cancel(payment["paymentId"])
        becomes(home, 1, "confirmations_not_delivered", status="exhausted")


def test_the_breaker_is_shown_with_state_and_metrics(home: House) -> None:
    home.api.created()
    until(lambda: value(home.url, "breaker_calls", service="paytabs", outcome="successful") or 0)
    p95 = value(home.url, "breaker_response_p95_seconds", service="paytabs")
    assert between(0.0001, p95, 30)
    assert value(home.url, "breaker_state", service="paytabs", state="CLOSED") == 1
    home.api.request("POST", "/v1/circuit-breakers/paytabs/force-open")
    assert value(home.url, "breaker_state", service="paytabs", state="OPEN") == 1
    assert value(home.url, "breaker_state", service="paytabs", state="CLOSED") == 0
    home.api.request("POST", "/v1/circuit-breakers/paytabs/reset")
    assert value(home.url, "breaker_state", service="paytabs", state="CLOSED") == 1


def test_work_on_the_agenda_is_shown_by_its_kind_with_its_age(own: House) -> None:
    work = (
        "INSERT INTO agenda (work_id, kind, aggregate_id, payment_id, due_at, claimed_until, "
        "correlation_id) SELECT gen_random_uuid(), 'instalment', gen_random_uuid(), "
        "gen_random_uuid(), now() + make_interval(secs => %s), now() + %s::interval, 'c'"
    )
    with psycopg.connect(own.settings.conninfo, autocommit=True) as connection:
        for due_in_seconds, claimed_for in ((3600, None), (-300, None), (-60, "1 hour")):
            connection.execute(work, (due_in_seconds, claimed_for))
    figures = {
        name: value(own.url, f"agenda_{name}", kind="instalment")
        for name in ("rows", "due", "claimed")
    }
    assert figures == {"rows": 3, "due": 2, "claimed": 1}
    assert between(300, value(own.url, "agenda_oldest_due_seconds", kind="instalment"), 900)


def test_the_metrics_of_a_breaker_are_those_that_the_api_shows(own: House) -> None:
    names = [*BREAKER_CALLS.values(), *(name for name, _, _ in BREAKER_FIGURES.values())]
    metrics = {name: float(number) for number, name in enumerate(names, start=1)}
    with psycopg.connect(own.settings.conninfo, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO breaker_metrics VALUES ('p', 'paytabs', %s, NULL, now())",
            (Jsonb(metrics),),
        )
    shown = own.api.get("/v1/circuit-breakers/paytabs").json()["metrics"]
    samples = scrape(own.url)
    service = frozenset({("service", "paytabs")})
    for metric, (name, _, divisor) in BREAKER_FIGURES.items():
        told = samples[f"paysaga_{metric}", service]
        assert told == pytest.approx(shown[name] / divisor), metric
    for outcome, name in BREAKER_CALLS.items():
        labels = service | {("outcome", outcome)}
        assert samples["paysaga_breaker_calls", labels] == shown[name]


def test_connections_to_the_database_are_counted(own: House) -> None:
    with psycopg.connect(own.settings.conninfo) as connection:
        row = connection.execute("SHOW max_connections").fetchone()
        connection.execute("SELECT 1")
        assert between(1, value(own.url, "database_connections", state="idle in transaction"), 100)
    assert row
    assert value(own.url, "database_connections_max") == float(row[0])


def test_how_long_requests_took_is_a_histogram(own: House) -> None:
    labels = {"method": "GET", "route": "/v1/contracts"}
    before = value(own.url, "http_request_duration_seconds_count", **labels) or 0
    own.api.get("/v1/contracts")
    name = "http_request_duration_seconds"
    assert value(own.url, f"{name}_count", **labels) == before + 1
    assert value(own.url, f"{name}_bucket", le="+Inf", **labels) == before + 1
    assert between(0.0001, value(own.url, f"{name}_sum", **labels), 60)


@needs_promtool
def test_promtool_finds_nothing_to_complain_of(home: House) -> None:
    paid(home)
    promtool("check", "metrics", given=requests.get(f"{home.url}/metrics", timeout=30).text)


def test_no_more_breakers_are_shown_than_fit(own: House) -> None:
    operations: Operations = own.context.applications.operations
    now = operations.clock.now()
    with psycopg.connect(own.settings.conninfo, autocommit=True) as connection:
        for number in range(figures.SERVICES_MAX + 5):
            connection.execute(
                "INSERT INTO breaker_metrics VALUES ('p', %s, '{}', NULL, %s)",
                (f"callback:{number}.example", now),
            )
    states = [dict(labels) for name, labels in scrape(own.url) if name == "paysaga_breaker_state"]
    services = {labels["service"] for labels in states}
    assert len(services) == figures.SERVICES_MAX
    assert "paytabs" in services


def test_routes_are_named_by_their_rule_and_cannot_be_made_up(own: House) -> None:
    before = scrape(own.url)
    own.api.get("/v1/payments/00000000-0000-4000-8000-000000000001")
    for path in ("/nowhere", "/nowhere/else", "/v1/payments/%F0%9F%92%A9/x"):
        own.api.get(path)
    own.api.request("BREW", "/v1/payments")
    new = scrape(own.url).keys() - before.keys()
    labels = [dict(labels) for name, labels in new if name == "paysaga_http_requests_total"]
    assert {each["route"] for each in labels} <= {
        "/v1/payments/<uuid:payment_id>",
        "/metrics",
        "(none)",
    }
    assert {each["method"] for each in labels} <= {"GET", "(other)"}


def test_refusals_are_counted_as_well_as_answers(own: House) -> None:
    labels = {"method": "GET", "route": "/v1/payments", "status": "401"}
    before = value(own.url, "http_requests_total", **labels) or 0
    Api(own.url, "wrong-secret").get("/v1/payments")
    assert value(own.url, "http_requests_total", **labels) == before + 1


def test_a_backlog_is_counted_batch_by_batch_while_there_is_time(
    own: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        own.api.create({"Prefer": "respond-async"})
    monkeypatch.setattr(event_counts, "BATCH_SIZE", 2)
    monkeypatch.setattr(event_counts, "BUDGET_SECONDS", 60.0)
    assert value(own.url, "events_total", type="payment.initiated") == 5


def test_only_so_many_events_are_counted_at_once_and_none_is_lost(
    own: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        own.api.create({"Prefer": "respond-async"})
    monkeypatch.setattr(event_counts, "BATCH_SIZE", 2)
    monkeypatch.setattr(event_counts, "BUDGET_SECONDS", 0.0)
    seen = [value(own.url, "events_total", type="payment.initiated") for _ in range(4)]
    assert seen == [2, 4, 5, 5]


def test_scrapes_at_the_same_time_count_every_event_once(own: House) -> None:
    for _ in range(10):
        own.api.create({"Prefer": "respond-async"})
    now, conninfo = own.context.applications.clock.now(), own.settings.conninfo
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: figures.fleet_figures(conninfo, now), range(16)))
    assert value(own.url, "events_total", type="payment.initiated") == 10


def test_figures_are_not_read_for_everybody_who_asks(
    own: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("interface.web.metrics.FIGURES_SECONDS", 600.0)
    before = scrape(own.url)
    own.api.create({"Prefer": "respond-async"})
    assert ("paysaga_database_up", frozenset()) in before
    assert value(own.url, "payments_open", status="initiated") is None


def test_a_query_that_takes_too_long_ends_and_the_rest_is_still_served(
    own: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.api.get("/v1/payments")
    monkeypatch.setattr(brief_connection, "STATEMENT_TIMEOUT_MS", 50)
    with psycopg.connect(own.settings.conninfo) as connection:
        connection.execute("LOCK TABLE view_payments")
        samples = scrape(own.url)
    assert samples["paysaga_database_up", frozenset()] == 0
    served = {("method", "GET"), ("route", "/v1/payments"), ("status", "200")}
    assert samples["paysaga_http_requests_total", frozenset(served)] >= 1
    monkeypatch.undo()
    assert value(own.url, "database_up") == 1


def test_without_a_database_the_counts_of_requests_are_still_served(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir / "pg", options=FAST_AND_FORGETFUL, durable=False)
    server.start()
    try:
        with house(server.ensure_database("house"), with_worker=False) as home:
            assert value(home.url, "database_up") == 1
            server.stop()
            samples = scrape(home.url)
            assert samples["paysaga_database_up", frozenset()] == 0
            assert "paysaga_http_requests_total" in {name for name, _ in samples}
            assert "paysaga_payments_open" not in {name for name, _ in samples}
            server.start()
            until(lambda: value(home.url, "database_up") == 1)
    finally:
        server.stop()
