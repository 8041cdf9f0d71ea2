"""Every event class of the domain is stored and read again without losing anything."""

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from eventsourcing.persistence import StoredEvent
from eventsourcing.utils import TopicError, resolve_topic
from hypothesis import given
from hypothesis import strategies as st

import domain
from application.breaker_values import CircuitBreakerConfig, CircuitState, StateChange
from application.confirmations import Delivery
from application.payment_gateway import NotAttempted
from application.transcoding import (
    DECODED_BYTES_MAX,
    DECODED_MAX,
    PaySagaMapper,
    PaySagaTranscoder,
    enum_fields,
)
from domain.confirmation import Confirmation
from domain.event import PaymentEventType, PaySagaAggregate, Priority, event_id_of
from domain.keyed_request import KeyedCommand, serving
from domain.money import Money
from domain.payment import Payment
from domain.performance_metric import Figure
from system.testing import SystemUnderTest
from tests.simulation import scenarios
from tests.simulation.contract_kit import contract_of_every_fate
from tests.simulation.scenarios import SEED_STORIES, SLOW_STORIES
from tests.unit.domain_kit import PAYMENT_ID, initiated, report

Event = PaySagaAggregate.Event
ABSTRACT = {"PaymentSaga.Event", "PaymentSaga.StepCompensationStarted", "Circuit.Changed"}
"""Classes that are only there to be derived from."""
SHARED_TYPES = {
    PaymentEventType.SAGA_STEP_STARTED: {
        "PaymentSaga.StepStarted",
        "PaymentSaga.SettlementStarted",
        "PaymentSaga.AuthorizationStarted",
    },
    PaymentEventType.SAGA_STEP_SUCCEEDED: {
        "PaymentSaga.StepSucceeded",
        "PaymentSaga.PageOpened",
        "PaymentSaga.Captured",
    },
    PaymentEventType.SAGA_STEP_COMPENSATION_STARTED: {
        "PaymentSaga.RecordClosed",
        "PaymentSaga.RecordClosing",
    },
    PaymentEventType.EARNINGS_CALCULATED: {"Earnings.Calculated", "Earnings.Reversed"},
}
"""Public types that more than one class raises, on purpose."""


def event_classes() -> list[type[Event]]:
    """Every event class that the domain declares and that can be stored."""
    for module in pkgutil.walk_packages(domain.__path__, "domain."):
        importlib.import_module(module.name)
    stored = {
        cls
        for cls in _subclasses(Event)
        if cls.__module__.startswith("domain.")
        and cls.__qualname__ not in ABSTRACT
        and not cls.__qualname__.startswith("PaySagaAggregate")
        and cls.__qualname__.split(".")[-1] not in {"Event", "Created"}
        and resolve_topic(f"{cls.__module__}:{cls.__qualname__}") is cls
    }
    return sorted(stored, key=lambda cls: cls.__qualname__)


def _subclasses(cls: type) -> Iterator[Any]:
    sub: Any
    for sub in cls.__subclasses__():
        yield sub
        yield from _subclasses(sub)


@cache
def mapper() -> PaySagaMapper:
    """The mapper that all logs use."""
    with SystemUnderTest() as s:
        found = s.applications.payments.mapper
    assert isinstance(found, PaySagaMapper)
    return found


@cache
def examples() -> dict[type, list[Event]]:
    """Events of every class, out of the stories."""
    found: dict[type, list[Event]] = {}
    for event in _of_stories():
        found.setdefault(type(event), []).append(event)
    return found


def _of_stories() -> Iterator[Event]:
    for story in (*SEED_STORIES, *SLOW_STORIES, *SPECIAL_STORIES):
        with SystemUnderTest(seed=4) as s:
            story(s)
            for log in s.applications.by_name.values():
                yield from log.all()


def _everything_goes_wrong(s: SystemUnderTest) -> None:
    s.merchant.answers.extend([Delivery(500)] * 20)
    scenarios.parked(s)
    s.wait(timedelta(days=5))


def _command_is_refused(s: SystemUnderTest) -> None:
    payment_id = s.create_payment("10.00", "SAR", "Tea")
    with s.acting("operator"):
        s.applications.operations.record_without_effect(payment_id, "shop", "capture", "forbidden")


def _process_tells_how_it_fares(s: SystemUnderTest) -> None:
    figure = Figure("agenda.depth", 7.5, "items", {"kind": "gateway_call"})
    with s.acting("performance"):
        s.applications.operations.record_figures([figure], 60_000)


def _breaker_lives(s: SystemUnderTest) -> None:
    """Calls open, try and close a breaker; an operator opens and closes it again."""
    operations = s.applications.operations
    states = (
        CircuitState.CLOSED,
        CircuitState.OPEN,
        CircuitState.HALF_OPEN,
        CircuitState.CLOSED,
    )
    for old, new in pairwise(states):
        s.clock.move_to(s.clock.now() + timedelta(seconds=1))
        with s.acting("circuit_breaker"):
            operations.record_change(_change(old, new, s.clock.now()))
    with s.acting("operator"):
        operations.force_open("paytabs", "operator", CircuitBreakerConfig("paytabs"))
    s.clock.move_to(s.clock.now() + timedelta(seconds=1))
    with s.acting("operator"):
        operations.reset("paytabs", "operator", CircuitBreakerConfig("paytabs"))


def _change(old: CircuitState, new: CircuitState, now: datetime) -> StateChange:
    return StateChange(
        service_name="paytabs",
        old_state=old,
        new_state=new,
        error_rate=62.5,
        request_count=40,
        failure_count=25,
        last_failure_time=now,
        next_retry_time=now + timedelta(minutes=1) if new is CircuitState.OPEN else None,
        configuration=CircuitBreakerConfig("paytabs"),
        changed_at=now,
    )


def _incident_of_every_kind(s: SystemUnderTest) -> None:
    with s.acting("gateway"):
        s.applications.operations.record_incident("k", "low", "203.0.113.9", {"n": [1, None]})


def _request_with_a_key(s: SystemUnderTest) -> None:
    payment_id = s.create_payment("10.00", "SAR", "Tea")
    with serving(KeyedCommand(s.ids.uuid(), lambda: "fingerprint")):
        s.cancel_payment(payment_id)


def _told_late_and_again(s: SystemUnderTest) -> None:
    """A merchant's host is left alone for a while, and an operator has it told once more."""
    s.merchant.answers.append(NotAttempted("circuit_open", 60_000))
    payment_id = scenarios.paid(s)
    s.wait(timedelta(minutes=2))
    confirmation_id = Confirmation.create_id(payment_id, s.payment(payment_id).version)
    with s.acting("operator"):
        s.applications.confirmations.redeliver(confirmation_id, "olga")
    s.run()


SPECIAL_STORIES = (
    _command_is_refused,
    _told_late_and_again,
    _everything_goes_wrong,
    _breaker_lives,
    _incident_of_every_kind,
    _process_tells_how_it_fares,
    _request_with_a_key,
    contract_of_every_fate,
)

CLASSES = pytest.mark.parametrize("cls", event_classes(), ids=lambda cls: cls.__qualname__)


@CLASSES
def test_no_event_class_is_without_an_example(cls: type[Event]) -> None:
    assert cls in examples(), f"add a story that raises {cls.__qualname__}"


@CLASSES
def test_an_event_comes_out_of_the_log_as_it_went_in(cls: type[Event]) -> None:
    for event in examples()[cls]:
        read = mapper().to_domain_event(mapper().to_stored_event(event))
        assert type(read) is cls
        assert vars(read) == vars(event)


@CLASSES
def test_a_read_event_has_the_types_it_was_made_with(cls: type[Event]) -> None:
    for event in examples()[cls]:
        read = vars(mapper().to_domain_event(mapper().to_stored_event(event)))
        for name, enum in enum_fields(cls):
            assert read[name] is None or type(read[name]) is enum
        again = mapper().to_stored_event(event)
        assert again.state == mapper().to_stored_event(mapper().to_domain_event(again)).state


@CLASSES
def test_every_stored_topic_resolves(cls: type[Event]) -> None:
    topics = {mapper().to_stored_event(event).topic for event in examples()[cls]}
    assert topics == {f"{cls.__module__}:{cls.__qualname__}"}
    assert [resolve_topic(topic) for topic in topics] == [cls]


@pytest.mark.parametrize("topic", ["os:system", "subprocess:Popen", "domain.money:Money"])
def test_nothing_is_made_of_a_topic_that_names_no_event(topic: str) -> None:
    with pytest.raises(TopicError, match="names no event"):
        mapper().decode(UUID(int=1), 1, topic, b"{}")


@CLASSES
def test_every_event_class_has_a_public_type_and_a_priority(cls: type[Event]) -> None:
    assert isinstance(cls.event_type, PaymentEventType)
    assert isinstance(cls.priority, Priority)


def test_a_public_type_belongs_to_one_class_unless_it_is_meant_to_be_shared() -> None:
    raised: dict[PaymentEventType, set[str]] = {}
    for cls in event_classes():
        raised.setdefault(cls.event_type, set()).add(cls.__qualname__)
    shared = {public: names for public, names in raised.items() if len(names) > 1}
    assert shared == SHARED_TYPES


def test_every_public_type_is_raised_by_some_class() -> None:
    assert {cls.event_type for cls in event_classes()} == set(PaymentEventType)


def test_events_that_concern_money_are_urgent() -> None:
    urgent = {Priority.HIGH, Priority.CRITICAL}
    assert {
        Payment.Completed.priority,
        Payment.Refunded.priority,
        Payment.Failed.priority,
    } <= urgent


def test_the_public_id_of_an_event_follows_from_its_place() -> None:
    event: Any = initiated().pending_events[0]
    assert event.event_id == event_id_of(PAYMENT_ID, 1)
    assert event.event_id != event_id_of(PAYMENT_ID, 2)


# Values

AMOUNTS = st.builds(
    Money,
    st.decimals(allow_nan=False, allow_infinity=False, places=3),
    st.sampled_from(["SAR", "KWD", "JPY"]),
)


@given(AMOUNTS)
def test_money_is_stored_to_the_last_digit(amount: Money) -> None:
    read = through_the_store({"amount": amount})["amount"]
    assert read == amount
    assert str(read.amount) == str(amount.amount)
    assert read.currency is amount.currency


def test_the_zeros_of_an_amount_are_kept() -> None:
    assert str(through_the_store({"a": Money(Decimal("10.00"), "SAR")})["a"].amount) == "10.00"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["_type_", "_data_", "a", ""]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON))
def test_documents_from_outside_are_stored_as_they_came(document: dict[str, Any]) -> None:
    assert through_the_store({"payload": document}) == {"payload": document}


@pytest.mark.parametrize(
    "name", ["money", "uuid_hex", "report", "dict", "tuple_as_list", "nothing"]
)
def test_nobody_outside_can_choose_what_his_document_is_read_as(name: str) -> None:
    sly = {"_type_": name, "_data_": "10.00 SAR"}
    assert through_the_store({"metadata": sly, "list": {"x": [sly]}}) == {
        "metadata": sly,
        "list": {"x": [sly]},
    }


def test_a_payment_with_sly_metadata_is_paid_like_any_other() -> None:
    with SystemUnderTest() as s:
        sly = {"_type_": "uuid_hex", "_data_": "boom"}
        payment_id = scenarios.opened(s, metadata=sly)
        s.gateway.pay(payment_id)
        s.run()
        assert s.payment(payment_id).status == "completed"
        assert s.payment(payment_id).merchant_metadata == sly


def test_a_value_object_leaves_out_what_has_its_default() -> None:
    state = transcoder().encode({"report": report(code=None, message=None)})
    assert b"previous_ref" not in state
    assert b"occurred_at" not in state


def test_an_event_stored_in_an_unknown_way_is_an_error_and_not_a_guess() -> None:
    stored = mapper().to_stored_event(initiated().pending_events[0])
    broken = StoredEvent(stored.originator_id, 1, stored.topic, b'{"a":{"_type_":"?","_data_":1}}')
    with pytest.raises(ValueError, match="not deserializable"):
        mapper().to_domain_event(broken)


def test_what_was_recorded_or_decoded_lately_is_not_decoded_again() -> None:
    fresh = mapper()
    fresh.forget()
    event: Any = initiated().pending_events[0]
    stored = fresh.to_stored_event(event)
    decoded = fresh.to_domain_event(stored)
    assert decoded is not event
    assert fresh.to_domain_event(stored) is decoded
    fresh.remember([stored], [event])
    assert fresh.to_domain_event(stored) is event
    fresh.forget()
    assert fresh.to_domain_event(stored) is not event


def test_other_bytes_are_another_event() -> None:
    fresh = mapper()
    fresh.forget()
    event: Any = initiated().pending_events[0]
    stored = fresh.to_stored_event(event)
    fresh.remember([stored], [event])
    forged = replace(stored, state=stored.state.replace(b"SAR", b"USD"))
    assert vars(fresh.to_domain_event(forged))["amount"].currency.code == "USD"


def test_few_and_no_large_events_are_kept_decoded() -> None:
    fresh = mapper()
    fresh.forget()
    event: Any = initiated().pending_events[0]
    stored = fresh.to_stored_event(event)
    large = replace(stored, state=stored.state + b" " * DECODED_BYTES_MAX)
    assert fresh.to_domain_event(large) is not fresh.to_domain_event(large)
    fresh.remember([stored], [event])
    others = [replace(stored, originator_version=n) for n in range(2, DECODED_MAX + 2)]
    for other in others:
        fresh.to_domain_event(other)
    assert fresh.to_domain_event(others[-1]) is fresh.to_domain_event(others[-1])
    assert fresh.to_domain_event(stored) is not event


def transcoder() -> PaySagaTranscoder:
    """The transcoder that all logs use."""
    found = mapper().transcoder
    assert isinstance(found, PaySagaTranscoder)
    return found


def through_the_store(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of an event after being stored and read."""
    read: dict[str, Any] = transcoder().decode(transcoder().encode(fields))
    return read
