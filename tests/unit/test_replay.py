"""A payment's story from its events: every state, every change, every cause."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from eventsourcing.application import AggregateNotFoundError

from application.envelope import camel_case
from domain.event import PaySagaAggregate
from system.replay import LIBRARY_FIELDS, Happening, plain, story_of
from system.testing import SystemUnderTest
from tests.simulation import scenarios


def told_story(**when: Any) -> Any:
    with SystemUnderTest(seed=3) as s:
        payment_id = scenarios.paid(s)
        return story_of(s.applications, payment_id, **when)


def names(happenings: list[Happening]) -> list[str]:
    return [happening.event.event_type.value for happening in happenings]


def test_a_story_holds_all_that_belongs_to_the_payment() -> None:
    with SystemUnderTest(seed=3) as s:
        other, payment_id = scenarios.paid(s), scenarios.paid(s)
        story = story_of(s.applications, payment_id)
        theirs = {
            str(event.event_id)
            for log in s.applications.by_name.values()
            for event in log.all()
            if payment_id in (event.originator_id, getattr(event, "payment_id", None))
        }
        assert {str(each.event.event_id) for each in story.happenings} == theirs
        assert other not in {each.event.originator_id for each in story.happenings}


def test_everything_follows_from_the_request_and_from_the_customers_paying() -> None:
    story = told_story()
    assert names(list(story.roots)) == ["payment.initiated", "webhook.received"]
    [started] = [
        each for each in story.roots[0].effects if each.event.event_type.value == "saga.started"
    ]
    assert started.event.metadata.causation_id == str(story.roots[0].event.event_id)
    for happening in story.happenings:
        for effect in happening.effects:
            assert effect.event.metadata.causation_id == str(happening.event.event_id)


def test_each_event_shows_what_it_changed() -> None:
    story = told_story()
    [completed] = [
        each for each in story.happenings if each.event.event_type.value == "payment.completed"
    ]
    changes = {change.path: (change.before, change.after) for change in completed.changes}
    assert changes["status"] == ("processing", "completed")
    assert str(changes["amountCaptured.amount"][1]) == "10.00"
    assert "currency" not in changes


def test_applying_all_changes_gives_the_state() -> None:
    story = told_story()
    own = [each for each in story.happenings if each.event.originator_id == story.payment.id]
    state: dict[str, Any] = {}
    for happening in own:
        for change in happening.changes:
            place = state
            *path, name = change.path.split(".")
            for step in path:
                place = place.setdefault(step, {})
            place[name] = change.after
    assert leaves(state) == leaves(state_of(story.payment))


def state_of(aggregate: PaySagaAggregate) -> dict[str, Any]:
    """An aggregate's whole state, as the changes tell of it."""
    return {
        camel_case(name): plain(value, lambda _sealed: "sealed")
        for name, value in vars(aggregate).items()
        if name not in LIBRARY_FIELDS
    }


def leaves(state: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Every single value with its place; what is empty is left out."""
    found: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, dict):
            found |= leaves(value, f"{path}{name}.")
        elif value is not None:
            found[f"{path}{name}"] = value
    return found


@pytest.mark.parametrize(
    ("version", "status"), [(1, "initiated"), (2, "processing"), (3, "completed")]
)
def test_a_story_ends_at_the_version_that_is_asked_for(version: int, status: str) -> None:
    story = told_story(version=version)
    assert story.payment.version == version
    assert story.payment.status == status
    own = [each for each in story.happenings if each.event.originator_id == story.payment.id]
    assert len(own) == version


def test_a_story_ends_at_the_time_that_is_asked_for() -> None:
    with SystemUnderTest(seed=3) as s:
        payment_id = scenarios.opened(s)
        moment = s.clock.now()
        s.wait(timedelta(seconds=5))
        s.gateway.pay(payment_id)
        s.run()
        story = story_of(s.applications, payment_id, as_of=moment)
        assert story.payment.status == "processing"
        assert all(each.event.timestamp <= moment for each in story.happenings)
        assert story.saga is not None
        assert story.saga.status == "waiting"


def test_there_is_no_story_of_what_never_was() -> None:
    with SystemUnderTest(seed=3) as s:
        payment_id = scenarios.paid(s)
        before = s.payment(payment_id).created_on - timedelta(seconds=1)
        for when in ({"version": 99}, {"as_of": before}):
            with pytest.raises(AggregateNotFoundError):
                story_of(s.applications, payment_id, **when)  # type: ignore[arg-type]
        with pytest.raises(AggregateNotFoundError):
            story_of(s.applications, uuid4())


def test_personal_data_stays_out_of_the_changes() -> None:
    story = told_story()
    shown = repr([each.changes for each in story.happenings])
    assert "Sara" not in shown
    assert "sealed" in shown
