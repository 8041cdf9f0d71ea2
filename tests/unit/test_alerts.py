"""The alert rules and the dashboard name metrics that exist, and promtool accepts them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator

import pytest
from prometheus_client.metrics import MetricWrapperBase

from domain.event import PaymentEventType
from interface.web.metrics import DURATION, REQUESTS, FleetCollector
from system.figures import GAUGES, FleetFigures
from tests.unit.docs_tables import DOCS
from tests.unit.promtool import needs_promtool, promtool

ALERTS = DOCS / "alerts"
RULES = (ALERTS / "paysaga.rules.yaml").read_text()
RULE_TESTS = (ALERTS / "paysaga.rules.test.yaml").read_text()
DASHBOARD = json.loads((ALERTS / "grafana-dashboard.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
NAMES = re.findall(r"alert: (\w+)", RULES)
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


def series() -> set[str]:
    """The names of all series that `/metrics` can show."""
    nothing = FleetFigures(gauges=[(gauges, ()) for gauges in GAUGES])
    http: list[MetricWrapperBase] = [REQUESTS, DURATION]
    families = [*(f for m in http for f in m.describe()), *FleetCollector(nothing).collect()]
    return {family.name + suffix for family in families for suffix in SUFFIXES[family.type]}


def from_the_beginning(name: str) -> Iterator[tuple[str, ...]]:
    """The values of a counter's labels for which a service shows 0 that has recorded nothing."""
    for family in FleetCollector(FleetFigures()).collect():
        for sample in family.samples:
            if sample.name == f"paysaga_{name}":
                assert sample.value == 0
                yield tuple(sample.labels.values())


def test_every_type_of_event_is_counted_from_the_beginning() -> None:
    assert list(from_the_beginning("events_total")) == [(each.value,) for each in PaymentEventType]


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("payments_total", ("completed", "")),
        ("payments_total", ("failed", "card_declined")),
        ("payments_total", ("cancelled", "other")),
        ("payment_final_seconds_count", ("failed",)),
        ("payment_final_seconds_bucket", ("cancelled", "60.0")),
        ("saga_steps_total", ("confirm", "failed")),
        ("saga_steps_total", ("settle", "compensated")),
        ("webhooks_total", ("doubted",)),
        ("webhooks_total", ("unknown_payment",)),
        ("webhooks_total", ("unreadable",)),
    ],
)
def test_what_can_be_known_beforehand_is_counted_from_the_beginning(
    name: str, labels: tuple[str, ...]
) -> None:
    assert labels in from_the_beginning(name)


@pytest.mark.parametrize("text", [RULES, RULE_TESTS, *QUERIES])
def test_every_metric_that_is_named_is_served(text: str) -> None:
    named = set(re.findall(r"paysaga_\w+", text))
    assert named
    assert named <= series()


def test_every_alert_has_a_test_in_which_it_fires_and_one_in_which_it_is_quiet() -> None:
    for name in NAMES:
        assert re.search(rf"alertname: {name}\n +exp_alerts:", RULE_TESTS), name
        assert f"alertname: {name}}}" in RULE_TESTS, name


def test_every_alert_is_in_the_manual_with_its_severity_and_what_to_do() -> None:
    page = (DOCS / "monitoring-and-metrics.md").read_text()
    severities = re.findall(r"severity: (\w+)}\n +annotations", RULES)
    rows = re.findall(r"^\| `(PaySaga\w+)` \| (\w+) \| .{20,} \|$", page, re.MULTILINE)
    assert rows == list(zip(NAMES, severities, strict=True))


@needs_promtool
def test_promtool_accepts_the_rules_and_their_tests_pass() -> None:
    promtool("check", "rules", str(ALERTS / "paysaga.rules.yaml"))
    promtool("test", "rules", str(ALERTS / "paysaga.rules.test.yaml"))


@needs_promtool
def test_promtool_can_read_the_queries_of_the_dashboard() -> None:
    rules = [{"record": f"query:{number}", "expr": q} for number, q in enumerate(QUERIES)]
    text = json.dumps({"groups": [{"name": "dashboard", "rules": rules}]})
    promtool("check", "rules", "/dev/stdin", given=text)


@needs_promtool
def test_promtool_is_not_content_with_anything() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        promtool("check", "rules", "/dev/stdin", given='{"groups": [{"name": 1, "x": []}]}')
