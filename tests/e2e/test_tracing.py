"""Spans go to a collector when one is named, joined into one trace; else nothing is even loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from interface.settings import InvalidSettings
from interface.telemetry import check_tracing, open_tracing
from tests.e2e.collector import CollectedSpan, Collector, collecting
from tests.e2e.fleet import ROOT, Fleet, fleet_on
from tests.e2e.house import free_port, until

CALLER = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
SERVER, CLIENT, CONSUMER = 2, 3, 5
"""Kinds of spans in OTLP."""


@pytest.fixture(autouse=True)
def no_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def fleet(postgres_server: Any) -> Iterator[Fleet]:
    name = f"fleet_{uuid4().hex}"
    with fleet_on(postgres_server.ensure_database(name)) as fleet:
        yield fleet
    postgres_server.drop_database(name)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        yield collector


def one(spans: list[CollectedSpan], name: str) -> CollectedSpan:
    return next(span for span in spans if span.name == name)


def test_one_trace_goes_from_the_caller_through_all_processes_to_the_merchant(
    fleet: Fleet, collector: Collector
) -> None:
    fleet.web()
    fleet.worker()
    trace_id, caller = CALLER
    headers = {"traceparent": f"00-{trace_id}-{caller}-01", "X-Correlation-Id": "order-7"}
    payment = fleet.api.created(headers, callbackUrl=fleet.merchant.url)
    fleet.customer.pay(payment["transactionRef"])
    fleet.api.saga_becomes(payment["paymentId"], "completed")
    names = {"POST /v1/payments", "gateway_call", "paytabs open_page", "send confirmation"}
    until(lambda: names <= {span.name for span in collector.of_trace(trace_id)})
    spans = collector.of_trace(trace_id)
    asked = one(spans, "POST /v1/payments")
    assert (asked.service, asked.kind, asked.parent_id) == ("paysaga-web", SERVER, caller)
    assert asked.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/payments",
        "http.response.status_code": 201,
        "paysaga.correlation_id": "order-7",
    }
    work = one(spans, "gateway_call")
    assert (work.service, work.kind, work.parent_id) == ("paysaga-worker", CONSUMER, asked.span_id)
    assert work.attributes["paysaga.payment_id"] == payment["paymentId"]
    call = one(spans, "paytabs open_page")
    assert (call.kind, call.parent_id) == (CLIENT, work.span_id)
    assert call.attributes == {"paysaga.outcome": "succeeded"}
    told = one(spans, "send confirmation")
    assert (told.kind, told.attributes) == (CLIENT, {"paysaga.outcome": "200"})
    first, *_ = fleet.api.events(payment["paymentId"])
    assert first["metadata"]["traceId"] == trace_id
    assert first["metadata"]["spanId"] == asked.span_id


def test_without_a_caller_s_trace_one_begins_with_the_request(
    fleet: Fleet, collector: Collector
) -> None:
    fleet.web(web_workers=2)
    payment = fleet.api.create({"Prefer": "respond-async"}).json()
    [event] = fleet.api.events(payment["paymentId"])
    trace_id = event["metadata"]["traceId"]
    [asked] = until(lambda: collector.of_trace(trace_id))
    assert (asked.parent_id, asked.span_id) == ("", event["metadata"]["spanId"])


def test_a_collector_that_is_away_holds_nothing_up(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    web, worker = fleet.web(), fleet.worker()
    payment = fleet.api.created()
    fleet.customer.pay(payment["transactionRef"])
    fleet.api.becomes(payment["paymentId"], "completed")
    assert (web.terminate(), worker.terminate()) == (0, 0)


ASK_AND_LIST = """
import json, sys
from interface.bootstrap import Worker
from interface.settings import load_settings
from interface.web.app import create_app
settings = load_settings()
Worker(settings)
app = create_app(settings)
assert app.test_client().get("/healthz").status_code == 200
print(json.dumps([name for name in sys.modules if name.split(".")[0] == "opentelemetry"]))
"""


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_without_an_exporter_nothing_is_loaded(fleet: Fleet, more: dict[str, str]) -> None:
    ours = {f"PAYSAGA_{name.upper()}": str(value) for name, value in fleet.settings.items()}
    done = subprocess.run(
        [sys.executable, "-c", ASK_AND_LIST],
        env={**os.environ, **ours, **more},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_a_protocol_that_is_not_spoken_and_a_missing_library_stop_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert open_tracing("web") is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    check_tracing()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    monkeypatch.setattr("interface.telemetry.LIBRARIES", ("opentelemetry.sdk", "nowhere.at.all"))
    with pytest.raises(InvalidSettings) as caught:
        check_tracing()
    assert caught.value.problems == [
        "OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' is wrong: expected http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT: set, but OpenTelemetry is missing: install paysaga[otel]",
    ]
