"""Makes the tables of the manual that come from the code: `python -m tests.unit.docs_tables`.

Writes them between `<!-- generated: NAME -->` and `<!-- end -->`; `test_docs` checks that they
are fresh.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from application.envelope import data_of
from application.event_log import EventLog
from domain.contract import Payee
from domain.event import Metadata, PaySagaAggregate
from domain.gateway_call import Operation
from domain.gateway_report import GatewayReport, TransactionKind, TransactionStatus
from domain.money import Money, money
from domain.payment import Failure
from domain.payment_saga import Call
from domain.sealed import Sealed
from interface.web.metrics import DURATION, REQUESTS, FleetCollector
from interface.web.problems import KINDS
from system.definition import PAYSAGA
from system.figures import GAUGES, FleetFigures
from system.followers.base import BatchFollower
from system.testing import SystemUnderTest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
NO_ID = UUID(int=0)

SAMPLES: dict[Any, Any] = {
    str: "text",
    int: 1,
    float: 1.0,
    bool: True,
    UUID: NO_ID,
    datetime: MOMENT,
    date: MOMENT.date(),
    Decimal: Decimal("2.5"),
    Payee: Payee("payee", "Name"),
    Money: money("1.00", "SAR"),
    Sealed: Sealed("client", "ciphertext"),
    Failure: Failure("code", "message"),
    GatewayReport: GatewayReport("ref", TransactionKind.SALE, TransactionStatus.AUTHORISED, "cart"),
    Metadata: Metadata("correlation"),
    Call: Call(
        call_id=NO_ID,
        operation=Operation.OPEN_PAGE,
        cart_id=None,
        transaction_ref=None,
        amount=None,
        about=None,
        due_at=MOMENT,
        not_after=None,
    ),
}
"""A value of each type that fields of events have."""

LOG_OF_AGGREGATE = {
    "Payment": "Payments",
    "PaymentSaga": "PaymentSagas",
    "GatewayCall": "Gateway",
    "Webhook": "Webhooks",
    "Confirmation": "Confirmations",
    "SecurityIncident": "Operations",
    "Contract": "Contracts",
    "Earnings": "Contracts",
    "AuditEntry": "Operations",
    "PerformanceMetric": "Operations",
    "Circuit": "Operations",
    "KeyedRequest": "Payments",
}
"""Which log holds the events of an aggregate. (A `KeyedRequest` stands in the log that it
changed; nobody takes it in from any.)"""


def event_classes() -> list[type[PaySagaAggregate.Event]]:
    """Every event class that has a public type, aggregate by aggregate, as they are written."""
    aggregates = {aggregate.__name__: aggregate for aggregate in PaySagaAggregate.__subclasses__()}
    return [
        member
        for name in LOG_OF_AGGREGATE
        for member in vars(aggregates[name]).values()
        if isinstance(member, type) and issubclass(member, PaySagaAggregate.Event)
        if hasattr(member, "event_type")
    ]


def aggregate_of(cls: type) -> str:
    """The name of the aggregate whose fact an event is."""
    return cls.__qualname__.split(".")[0]


def sample_of(cls: type[PaySagaAggregate.Event]) -> PaySagaAggregate.Event:
    """An event of that class with a value in each field."""
    fields = {name: _sample(hint) for name, hint in get_type_hints(cls).items() if _is_field(hint)}
    event = object.__new__(cls)
    event.__dict__.update(fields)
    return event


def _is_field(hint: Any) -> bool:
    return "ClassVar" not in str(hint)


def _sample(hint: Any) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _sample(next(argument for argument in arguments if argument is not type(None)))
    if origin in (list, dict):
        return origin()
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return next(iter(hint))
    return SAMPLES.get(hint)


def data_names(cls: type[PaySagaAggregate.Event]) -> list[str]:
    """The members of `data` in the envelope of such an event."""
    return list(data_of(sample_of(cls), lambda _sealed: None))


def followers_concerned(cls: type[PaySagaAggregate.Event]) -> list[str]:
    """The names of the followers that have a rule for such an event. The Journal, which takes in
    every event, is left out."""
    log = LOG_OF_AGGREGATE[aggregate_of(cls)]
    with SystemUnderTest() as s:
        return [
            follower.name
            for follower, leaders in s.applications.followers()
            if log in {leader.name for leader in leaders} and follower.concerns(cls)
            if follower is not s.applications.journal
        ]


def events_table() -> str:
    """Every event: type, class, priority, schema version, data, and who follows it."""
    rows = [
        (
            f"`{cls.event_type.value}`",
            f"`{cls.__qualname__}`",
            cls.priority.value,
            str(getattr(cls, "class_version", 1)),
            ", ".join(f"`{name}`" for name in data_names(cls)) or "empty",
            ", ".join(followers_concerned(cls)) or "nobody",
        )
        for cls in event_classes()
    ]
    return table(("type", "class", "priority", "version", "`data`", "taken in by"), rows)


def followers_table() -> str:
    """Each follower, the logs it follows, and what it writes."""
    with SystemUnderTest() as s:
        rows = [
            (
                follower.name,
                ", ".join(leader.name for leader in leaders),
                _writes(follower, s.applications.by_name),
            )
            for follower, leaders in s.applications.followers()
        ]
    return table(("follower", "follows the logs", "writes"), rows)


def _writes(follower: BatchFollower, by_name: dict[str, EventLog[Any]]) -> str:
    tables = getattr(follower, "tables", ())
    if tables:
        return "rows of " + ", ".join(f"`{name}`" for name in tables)
    return f"events into its own log, {by_name[follower.name].name}"


def problems_table() -> str:
    """Every problem code with its HTTP status and title."""
    rows = [(f"`{code}`", str(kind.status), kind.title) for code, kind in KINDS.items()]
    return table(("code", "status", "title"), rows)


def metrics_table() -> str:
    """Every metric of `/metrics` with its type, labels and meaning."""
    nothing = FleetFigures(gauges=[(gauges, ()) for gauges in GAUGES])
    families: list[Any] = [REQUESTS, DURATION, *FleetCollector(nothing).collect()]
    rows = []
    for family in families:
        [metric] = family.describe() if hasattr(family, "describe") else [family]
        labels = ", ".join(f"`{name}`" for name in family._labelnames) or "none"
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        rows.append((f"`{name}`", metric.type, labels, metric.documentation))
    return table(("metric", "type", "labels", "meaning"), rows)


def pipes() -> set[tuple[str, str]]:
    """Who follows whom: pairs of leader and follower (`system.definition.PAYSAGA`)."""
    return {(leader, name) for name, leaders in PAYSAGA.follows.items() for leader in leaders}


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


TABLES: dict[str, Callable[[], str]] = {
    "events": events_table,
    "followers": followers_table,
    "metrics": metrics_table,
    "problems": problems_table,
}
PAGES = {
    "events": DOCS / "payment-event-system.md",
    "followers": DOCS / "event-driven-architecture.md",
    "metrics": DOCS / "monitoring-and-metrics.md",
    "problems": DOCS / "api-endpoints.md",
}
"""On which page each table stands."""


def place(name: str) -> re.Pattern[str]:
    """Finds a generated table; its second group is the table with a line break at the end."""
    return re.compile(rf"(<!-- generated: {name} -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def main() -> None:
    """Writes all tables into their pages."""
    for name, make in TABLES.items():
        page = PAGES[name]
        old = page.read_text()
        found = place(name).search(old)
        assert found is not None
        page.write_text(old[: found.start(2)] + make() + old[found.end(2) :])


if __name__ == "__main__":
    main()
