"""Events that a follower cannot take in are set aside, and nothing else waits for them."""

from typing import Any
from uuid import uuid4

from eventsourcing.persistence import IntegrityError

from system.definition import PAYSAGA
from system.parking import ParkedEvent, list_parked, retry_parked, skip_parked
from system.positions import positions
from tests.integration.production_kit import (
    Node,
    Poison,
    context,
    node,
    poisoned_payment,
    until,
)


def seen(at: Node) -> int:
    return int(str(at.query("SELECT count(*) FROM view_payments")[0]["count"]))


def parked(at: Node) -> list[ParkedEvent]:
    return list_parked(at.persistence)


def test_a_poison_event_stops_no_other_payment(running: Node) -> None:
    poison = Poison(running)
    running.create_payment()
    poisoned_payment(running, poison)
    running.create_payment()
    until(lambda: seen(running) == 2)


def test_a_poison_event_is_tried_three_times_and_then_left_alone(running: Node) -> None:
    poison = Poison(running)
    payment_id = poisoned_payment(running, poison)
    first, second = parked(running)
    assert (first.payment_id, first.attempts, first.error) == (payment_id, 3, "ValueError: poison")
    assert (second.payment_id, second.attempts, second.error) == (payment_id, 0, None)
    running.create_payment()
    until(lambda: seen(running) == 1)
    assert poison.tasted <= 6, "the event is not tried again and again"


def test_a_retry_takes_the_payments_events_in_again_in_order(running: Node) -> None:
    poison = Poison(running)
    payment_id = poisoned_payment(running, poison)
    poison.payments.clear()
    assert retry_parked(running.persistence, parked(running)[0].parked_id)
    until(lambda: not parked(running))
    [row] = running.query("SELECT * FROM view_payments WHERE payment_id = %s", payment_id)
    assert (row["status"], row["version"]) == ("cancelled", 2)


def test_a_retry_that_fails_again_keeps_the_events_parked_and_counts_the_attempt(
    running: Node,
) -> None:
    poisoned_payment(running, Poison(running))
    retry_parked(running.persistence, parked(running)[0].parked_id)
    until(lambda: parked(running)[0].attempts == 4)
    first, second = parked(running)
    assert not first.is_released
    assert second.attempts == 0


def test_a_skipped_event_is_passed_over_and_those_behind_it_are_taken_in(running: Node) -> None:
    poison = Poison(running)
    payment_id = poisoned_payment(running, poison)
    poison.payments.clear()
    assert skip_parked(running.persistence, parked(running)[0].parked_id)
    until(lambda: not parked(running))
    assert not running.query("SELECT * FROM view_payments WHERE payment_id = %s", payment_id), (
        "the skipped event would have made the row that the later one patches"
    )


def test_an_event_that_contradicts_what_is_recorded_is_parked_too(running: Node) -> None:
    bad = uuid4()
    view = running.applications.payments_view
    record = view.record_batch

    def refuse(work: Any) -> None:
        if any(change.table == "view_payments" and change.key == (bad,) for change in work.rows):
            raise IntegrityError("somebody was quicker, as always")
        record(work)

    view.record_batch = refuse  # type: ignore[method-assign]
    running.create_payment("contradiction", bad)
    until(lambda: [event.payment_id for event in parked(running)] == [bad])
    running.create_payment()
    until(lambda: seen(running) == 1)


def test_retry_and_skip_say_when_there_is_no_such_event(running: Node) -> None:
    assert not retry_parked(running.persistence, uuid4())
    assert not skip_parked(running.persistence, uuid4())


def test_parked_events_survive_the_process(database_url: str) -> None:
    with node(database_url) as first:
        first.start()
        poison = Poison(first)
        payment_id = poisoned_payment(first, poison)
        first.stop()
    with node(database_url, "two") as second:
        second.start()
        with context():
            second.applications.payments.cancel(payment_id, "again")
        retry_parked(second.persistence, parked(second)[0].parked_id)
        until(lambda: not parked(second))
        assert seen(second) == 1
        second.stop()


def test_positions_show_what_is_parked_and_that_nothing_lags(running: Node) -> None:
    poisoned_payment(running, Poison(running))
    until(lambda: all(p.state == "running" and p.lag_events == 0 for p in of(running)))
    [view] = [p for p in of(running) if p.follower == "PaymentsView"]
    assert (view.parked_events, view.position) == (2, view.head)


def test_a_follower_that_is_behind_shows_its_lag_and_never_looks_healthy(database_url: str) -> None:
    with node(database_url) as stopped:
        stopped.create_payment()
        [view] = [p for p in of(stopped) if p.follower == "PaymentsView"]
        assert (view.lag_events, view.state) == (1, "never_run")
        assert view.lag_seconds > 0


def of(at: Node) -> list[Any]:
    return positions(at.applications, at.persistence)


def test_followers_are_shared_between_workers_and_handed_over_on_stop(database_url: str) -> None:
    everything = len(PAYSAGA.follows)
    half = everything // 2
    with node(database_url, "one") as first, node(database_url, "two") as second:
        first.start()
        until(lambda: holders(first) == {"one": everything})
        second.start()
        until(lambda: sorted(holders(first).values()) == [half, everything - half])
        first.create_payment()
        until(lambda: seen(second) == 1)
        first.stop()
        until(lambda: holders(second) == {"two": everything})
        second.create_payment()
        until(lambda: seen(second) == 2)
        second.stop()


def holders(at: Node) -> dict[str, int]:
    rows = at.query(
        "SELECT process, count(*) FROM follower_heartbeats "
        "WHERE active_at > now() - interval '5 s' GROUP BY process"
    )
    return {str(row["process"]): int(str(row["count"])) for row in rows}
