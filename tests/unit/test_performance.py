"""Each process records how it fares, interval by interval (contract 6, `performance.metric`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from application.circuit_breaker import CircuitBreakerConfig, EventDrivenCircuitBreaker
from domain.performance_metric import Figure
from system.performance import FIGURES_MAX, PerformanceLog
from system.performance_sources import BREAKER_UNITS, BREAKERS_MAX, BreakerFigures
from system.testing import SystemUnderTest
from tests.unit.docs_tables import DOCS, ROOT

SOURCES = "".join(
    (ROOT / name).read_text()
    for name in (
        "system/performance_sources.py",
        "system/presence.py",
        "interface/web/metrics.py",
    )
)
PAGE = (DOCS / "monitoring-and-metrics.md").read_text()
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


@pytest.fixture
def s() -> Iterator[SystemUnderTest]:
    with SystemUnderTest() as s:
        yield s


class Figures:
    """A source that gives what a test wants, and remembers the windows it was asked about."""

    def __init__(self, *figures: Figure) -> None:
        self.figures = figures
        self.windows: list[timedelta] = []

    def __call__(self, window: timedelta) -> tuple[Figure, ...]:
        self.windows.append(window)
        return self.figures


def log_of(s: SystemUnderTest, *sources: Any, interval: timedelta = MINUTE) -> PerformanceLog:
    return PerformanceLog(
        s.applications.operations, sources, process="host:1", role="worker", interval=interval
    )


def recorded(s: SystemUnderTest) -> list[dict[str, Any]]:
    """The public form of each metric."""
    return [event["data"] for event in s.events() if event["type"] == "performance.metric"]


def passes(s: SystemUnderTest, time: timedelta) -> None:
    s.clock.move_to(s.clock.now() + time)


def test_a_metric_carries_what_the_contract_names(s: SystemUnderTest) -> None:
    log = log_of(s, Figures(Figure("agenda.depth", 7.0, "items", {"kind": "gateway_call"})))
    passes(s, MINUTE)
    log.report_if_due()
    assert recorded(s) == [
        {
            "name": "agenda.depth",
            "value": 7.0,
            "unit": "items",
            "labels": {"process": "host:1", "role": "worker", "kind": "gateway_call"},
            "window": 60_000,
        }
    ]


def test_figures_are_recorded_once_each_interval(s: SystemUnderTest) -> None:
    log = log_of(s, Figures(Figure("a", 1.0, "items")))
    for _ in range(36):
        passes(s, timedelta(seconds=5))
        log.report_if_due()
    assert len(recorded(s)) == 3


def test_without_an_interval_nothing_is_recorded(s: SystemUnderTest) -> None:
    log = log_of(s, Figures(Figure("a", 1.0, "items")), interval=timedelta(0))
    passes(s, MINUTE)
    assert log.report_if_due() == 0
    assert recorded(s) == []


def test_zeros_are_not_kept_for_ever_but_the_sign_of_life_is(s: SystemUnderTest) -> None:
    idle = Figures(Figure("a", 0.0, "items"), Figure("b", 0.0, "items", always_told=True))
    log = log_of(s, idle)
    passes(s, MINUTE)
    assert log.report_if_due() == 1
    assert [metric["name"] for metric in recorded(s)] == ["b"]


def test_no_process_records_more_than_so_many_figures_at_once(s: SystemUnderTest) -> None:
    log = log_of(s, Figures(*(Figure(f"f{n}", 1.0, "items") for n in range(FIGURES_MAX + 5))))
    passes(s, MINUTE)
    assert log.report_if_due() == FIGURES_MAX == len(recorded(s))


def test_a_report_that_could_not_be_made_is_made_up_for(s: SystemUnderTest) -> None:
    figures = Figures(Figure("a", 1.0, "items"))
    outages = [OSError("the database is away")]

    def fails_once(_window: timedelta) -> tuple[Figure, ...]:
        if outages:
            raise outages.pop()
        return ()

    log = log_of(s, figures, fails_once)
    passes(s, MINUTE)
    with pytest.raises(OSError, match="away"):
        log.report_if_due()
    passes(s, timedelta(seconds=5))
    log.report_if_due()
    assert [window // SECOND for window in figures.windows] == [60, 65]
    assert [metric["window"] for metric in recorded(s)] == [65_000]


def test_a_clock_that_is_put_back_does_not_silence_a_process(s: SystemUnderTest) -> None:
    log = log_of(s, Figures(Figure("a", 1.0, "items")))
    s.clock.jump_back(timedelta(hours=1))
    log.report_if_due()
    passes(s, MINUTE)
    assert log.report_if_due() == 1


def breaker(name: str, calls: int) -> EventDrivenCircuitBreaker:
    made = EventDrivenCircuitBreaker(CircuitBreakerConfig(name=name))
    for _ in range(calls):
        made.call(lambda: None)
    return made


def test_breakers_are_told_of_with_the_names_of_the_contract() -> None:
    paytabs = breaker("paytabs", 20)
    figures = list(BreakerFigures(lambda: [paytabs])(MINUTE))
    assert {each.name for each in figures} == {f"breaker.{name}" for name in BREAKER_UNITS}
    values = {each.name.partition(".")[2]: each.value for each in figures}
    assert (values["totalRequests"], values["errorRate"]) == (20.0, 0.0)
    assert all(each.labels == {"service": "paytabs"} for each in figures)


def test_a_breaker_that_nobody_called_is_not_told_of_again() -> None:
    paytabs = breaker("paytabs", 1)
    source = BreakerFigures(lambda: [paytabs])
    assert list(source(MINUTE))
    assert list(source(MINUTE)) == []
    paytabs.call(lambda: None)
    assert list(source(MINUTE))


def test_only_the_busiest_breakers_are_told_of() -> None:
    many = [breaker(f"callback:{n}.example", n) for n in range(1, BREAKERS_MAX + 3)]
    told = {each.labels["service"] for each in BreakerFigures(lambda: many)(MINUTE)}
    assert told == {f"callback:{n}.example" for n in range(3, BREAKERS_MAX + 3)}


def test_every_figure_is_in_the_manual_with_its_unit() -> None:
    told = set(re.findall(r'Figure\(\s*"([\w.]+)",[^,]+,\s*"([^"]+)"', SOURCES))
    told |= {(f"breaker.{name}", unit) for name, unit in BREAKER_UNITS.items()}
    told |= {(f"payments.lifecycle.{quantile}", "ms") for quantile in ("p50", "p95")}
    rows = re.findall(r"^\| (`\w+\.[\w.`, ]+) \| ([\w/]+) \| .+ \| .+ \| .+ \|$", PAGE, re.M)
    documented = {(name.strip("`"), unit) for names, unit in rows for name in names.split(", ")}
    assert documented == told
