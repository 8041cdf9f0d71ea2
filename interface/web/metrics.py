"""What Prometheus scrapes: the requests of this web's processes and figures of the whole fleet."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from itertools import accumulate
from typing import Any, TypeVar

import structlog
from eventsourcing.utils import TopicError
from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from psycopg import Error as DatabaseError

from application.transcoding import event_class
from domain.belief import Verdict
from domain.circuit import CircuitStatus
from domain.event import PaymentEventType
from domain.payment import Payment
from domain.performance_metric import Figure
from domain.saga_steps import Step
from domain.webhook import UNKNOWN_PAYMENT, UNREADABLE
from interface.roles.shared_metrics import FOLDER_VARIABLE
from interface.web.context import WebContext
from interface.web.problems import KINDS
from system.event_counts import BOUNDS, FINAL_TOPICS, OTHER, PARTIAL, REASONS, EventCount
from system.figures import Breaker, FleetFigures, fleet_figures

K = TypeVar("K")

log = structlog.get_logger(__name__)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FIGURES_SECONDS = 3.0
"""For so long the figures of the fleet are shown again: whoever asks more often learns no more and
costs no more."""
NO_ROUTE = "(none)"
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
SERVER_ERRORS = sorted({str(kind.status) for kind in KINDS.values() if kind.status >= 500})

REQUESTS = Counter(
    "paysaga_http_requests",
    "Requests answered, by the rule of their route.",
    ["method", "route", "status"],
    registry=None,
)
DURATION = Histogram(
    "paysaga_http_request_duration_seconds",
    "From the arrival of a request to its answer.",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=None,
)

REACHED: Mapping[type[Any], str] = {
    Payment.Initiated: "initiated",
    Payment.Processing: "processing",
    Payment.Authorized: "authorized",
    Payment.Completed: "completed",
    Payment.Failed: "failed",
    Payment.Cancelled: "cancelled",
    Payment.Refunded: "refunded",
}
"""The status that a payment has after an event; after a refund only if that was not partial."""
WITH_REASON = frozenset({"failed", "cancelled"})
REACHED_AND_WHY = [
    (status, reason)
    for status in REACHED.values()
    for reason in ((*REASONS, OTHER) if status in WITH_REASON else ("",))
]

STEP_OUTCOMES = {
    PaymentEventType.SAGA_STEP_STARTED: "started",
    PaymentEventType.SAGA_STEP_SUCCEEDED: "succeeded",
    PaymentEventType.SAGA_STEP_FAILED: "failed",
    PaymentEventType.SAGA_STEP_COMPENSATION_STARTED: "compensation_started",
    PaymentEventType.SAGA_STEP_COMPENSATED: "compensated",
}
STEPS_AND_OUTCOMES = [(step.value, end) for step in Step for end in STEP_OUTCOMES.values()]
UNKNOWN = "unknown"
"""The type of events that this version of the program does not know."""
WEBHOOK_ENDS = frozenset({PaymentEventType.WEBHOOK_PROCESSED, PaymentEventType.WEBHOOK_FAILED})
WEBHOOK_OUTCOMES = [*(verdict.value for verdict in Verdict), UNKNOWN_PAYMENT, UNREADABLE]

BREAKER_FIGURES: Mapping[str, tuple[str, str, float]] = {
    "breaker_error_ratio": ("errorRate", "Failed calls of the window, 0 to 1.", 100),
    "breaker_slow_call_ratio": ("slowCallRate", "Slow calls of the window, 0 to 1.", 100),
    "breaker_uptime_ratio": ("uptime", "Share of time not spent open, 0 to 1.", 100),
    "breaker_calls_per_second": ("throughput", "Calls settled in the window.", 1),
    "breaker_response_average_seconds": ("averageResponseTime", "Mean of the window.", 1000),
    "breaker_response_p95_seconds": ("p95ResponseTime", "95th percentile of the window.", 1000),
    "breaker_response_p99_seconds": ("p99ResponseTime", "99th percentile of the window.", 1000),
}
"""Metric: the member of contract 8, the text, and what its value is divided by."""
BREAKER_CALLS: Mapping[str, str] = {
    "successful": "successfulRequests",
    "failed": "failedRequests",
    "timed_out": "timeouts",
    "slow": "slowCalls",
    "rejected": "rejectedRequests",
}


class HttpFigures:
    """What this process answered within a window (`performance.metric`). It looks at the counts
    that are kept anyway: no request pays for it."""

    def __init__(self) -> None:
        self._before = _answered()

    def __call__(self, window: timedelta) -> Iterator[Figure]:
        now = _answered()
        requests, seconds, errors = (
            after - before for after, before in zip(now, self._before, strict=True)
        )
        self._before = now
        yield Figure("http.throughput", requests / window.total_seconds(), "requests/s")
        if requests:
            yield Figure("http.averageTime", 1000 * seconds / requests, "ms")
        yield Figure("http.serverErrors", errors, "requests")


def _answered() -> tuple[float, float, float]:
    """Requests answered, the seconds that took, and answers of 500 and above."""
    durations = [sample for metric in DURATION.collect() for sample in metric.samples]
    answers = [sample for metric in REQUESTS.collect() for sample in metric.samples]
    return (
        sum(sample.value for sample in durations if sample.name.endswith("_count")),
        sum(sample.value for sample in durations if sample.name.endswith("_sum")),
        sum(
            sample.value
            for sample in answers
            if sample.name.endswith("_total") and sample.labels["status"] >= "500"
        ),
    )


def serve_metrics(app: Flask) -> None:
    """Counts the app's requests and serves `/metrics`. To be called before other hooks are added,
    so that what they refuse is counted, too."""
    figures = RecentFigures(partial(_read, app))
    app.add_url_rule("/metrics", "metrics", partial(_show_metrics, figures))
    app.before_request(_begin)
    app.after_request(_count)


def count_errors_from_zero(app: Flask) -> None:
    """Shows how often each route failed before it ever did: `rate()` does not see the step with
    which a series begins. To be called when all routes are known, in the process that serves.
    HEAD and OPTIONS, which clients hardly send, are left out."""
    for rule in app.url_map.iter_rules():
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            for status in SERVER_ERRORS:
                REQUESTS.labels(method, rule.rule, status)


def _begin() -> None:
    g.began = time.perf_counter()


def _count(response: Response) -> Response:
    route = request.url_rule.rule if request.url_rule else NO_ROUTE
    method = request.method if request.method in METHODS else "(other)"
    REQUESTS.labels(method, route, response.status_code).inc()
    DURATION.labels(method, route).observe(time.perf_counter() - g.began)
    return response


def _read(app: Flask) -> FleetFigures | None:
    context: WebContext = app.extensions["paysaga"]
    try:
        return fleet_figures(context.settings.conninfo, context.applications.clock.now())
    except DatabaseError as error:
        log.warning("figures_unavailable", error=str(error))
        return None


class RecentFigures:
    """The figures of the fleet, read by one thread at a time and not too often."""

    def __init__(self, read: Callable[[], FleetFigures | None]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._known: FleetFigures | None = None
        self._good_until = float("-inf")

    def get(self) -> FleetFigures | None:
        """None when the database does not answer, or not in time."""
        with self._lock:
            if time.monotonic() >= self._good_until:
                self._known = self._read()
                self._good_until = time.monotonic() + FIGURES_SECONDS
            return self._known


def _show_metrics(figures: RecentFigures) -> Response:
    registry = CollectorRegistry()
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder:
        MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
    else:
        registry.register(REQUESTS)
        registry.register(DURATION)
    registry.register(FleetCollector(figures.get()))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE)


class FleetCollector(Collector):
    """Turns the figures of the fleet into metrics; without figures it says that there are none."""

    def __init__(self, figures: FleetFigures | None) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client.registry.Collector`."""
        up = _gauge("database_up", "1 when the figures of the fleet could be read in time.")
        up.add_metric([], float(self._figures is not None))
        yield up
        if self._figures is not None:
            yield from _gauges(self._figures)
            yield _events(self._figures.events)
            known = [each for each in self._figures.events if _is_known(each)]
            yield _payments(known)
            yield _times(known)
            yield _steps(known)
            yield _webhooks(known)
            yield from _breakers(self._figures.breakers)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"paysaga_{name}", text, labels=labels)


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"paysaga_{name}", text, labels=labels)


def _gauges(figures: FleetFigures) -> Iterator[Metric]:
    for gauges, rows in figures.gauges:
        for name, text in gauges.help.items():
            family = (_counter if name.endswith("_total") else _gauge)(name, text, *gauges.labels)
            for row in rows:
                family.add_metric([row[label] for label in gauges.labels], float(row[name]))
            yield family


def _events(counts: Iterable[EventCount]) -> Metric:
    family = CounterMetricFamily(
        "paysaga_events",
        "Events recorded, by their public type; `unknown` for those of another version.",
        labels=["type"],
    )
    known = [each.value for each in PaymentEventType]
    for name, count in _summed(counts, _shown_type, known):
        family.add_metric([name], count)
    return family


def _payments(counts: Iterable[EventCount]) -> Metric:
    family = CounterMetricFamily(
        "paysaga_payments", "Payments that reached a status.", labels=["status", "reason"]
    )
    reached = [
        each for each in counts if event_class(each.topic) in REACHED and each.reason != PARTIAL
    ]
    for (status, reason), count in _summed(
        reached, lambda each: (REACHED[event_class(each.topic)], each.reason), REACHED_AND_WHY
    ):
        family.add_metric([status, reason], count)
    return family


def _steps(counts: Iterable[EventCount]) -> Metric:
    family = _counter("saga_steps", "What became of the steps of sagas.", "step", "outcome")
    of_steps = [each for each in counts if _type_of(each) in STEP_OUTCOMES]
    for (step, outcome), count in _summed(
        of_steps, lambda each: (each.reason, STEP_OUTCOMES[_type_of(each)]), STEPS_AND_OUTCOMES
    ):
        family.add_metric([step, outcome], count)
    return family


def _webhooks(counts: Iterable[EventCount]) -> Metric:
    family = _counter("webhooks", "What came of the gateway's callbacks.", "outcome")
    handled = [each for each in counts if _type_of(each) in WEBHOOK_ENDS]
    for outcome, count in _summed(handled, lambda each: each.reason, WEBHOOK_OUTCOMES):
        family.add_metric([outcome], count)
    return family


def _is_known(count: EventCount) -> bool:
    """False for events of another version of the program, and for what was tampered with."""
    try:
        event_class(count.topic)
    except TopicError:
        return False
    return True


def _type_of(count: EventCount) -> PaymentEventType:
    event_type: PaymentEventType = event_class(count.topic).event_type
    return event_type


def _shown_type(count: EventCount) -> str:
    return _type_of(count).value if _is_known(count) else UNKNOWN


def _summed(
    counts: Iterable[EventCount], key: Callable[[EventCount], K], known: Iterable[K]
) -> Iterable[tuple[K, int]]:
    """The counts by their key. What is known beforehand is counted from 0: of a series that
    begins with its first event, `rate()` and `increase()` never see that one."""
    sums = dict.fromkeys(known, 0)
    for each in counts:
        sums[key(each)] = sums.get(key(each), 0) + each.count
    return sums.items()


def _times(counts: Sequence[EventCount]) -> Metric:
    family = HistogramMetricFamily(
        "paysaga_payment_final_seconds",
        "From the creation of a payment to its completion, failure or cancellation.",
        labels=["status"],
    )
    for topic in FINAL_TOPICS:
        mine = [each for each in counts if each.topic == topic]
        sizes = accumulate(sum(each.count for each in mine if each.le == le) for le in BOUNDS)
        bounds = [*map(str, map(float, BOUNDS[:-1])), "+Inf"]
        buckets = list(zip(bounds, sizes, strict=True))
        seconds = sum(each.seconds for each in mine)
        family.add_metric([REACHED[event_class(topic)]], buckets=buckets, sum_value=seconds)
    return family


def _breakers(breakers: Iterable[Breaker]) -> Iterator[Metric]:
    state = _gauge("breaker_state", "1 for the state that is recorded.", "service", "state")
    calls = _gauge(
        "breaker_calls", "Calls since each worker started, by outcome.", "service", "outcome"
    )
    for each in breakers:
        for status in CircuitStatus:
            state.add_metric([each.service, status.value], float(each.status is status))
        for outcome, name in BREAKER_CALLS.items():
            if name in each.metrics:
                calls.add_metric([each.service, outcome], each.metrics[name])
    yield state
    yield calls
    for metric, (name, text, divisor) in BREAKER_FIGURES.items():
        family = _gauge(metric, text, "service")
        for each in breakers:
            if each.metrics.get(name) is not None:
                family.add_metric([each.service], each.metrics[name] / divisor)
        yield family
