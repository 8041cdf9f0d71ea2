"""Followers in production: woken, resumed, taken over, and each event taken in exactly once."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from domain.confirmation import Confirmation
from system.following import Following
from system.listener import Listener
from system.persistence.postgres import PostgresPersistence
from system.runner import Runner
from system.turns import FollowerTurns
from tests.integration.production_kit import (
    PATIENCE_SECONDS,
    Production,
    applications_on,
    context,
    kill_connections,
    production,
    store,
    until,
)


@pytest.fixture
def persistence(database_url: str) -> Iterator[PostgresPersistence]:
    """A fresh database."""
    with store(database_url) as opened:
        yield opened


class Followers:
    """The runner of one process, without a dispatcher."""

    def __init__(self, persistence: PostgresPersistence, name: str) -> None:
        self.applications = applications_on(persistence)
        self.listener = Listener(persistence.conninfo)
        self.runner = Runner(self.applications, persistence, self.listener, name)

    def start(self) -> None:
        """Starts to follow."""
        self.listener.start()
        self.runner.start()

    def stop(self) -> None:
        """Stops in good order."""
        self.runner.stop()
        self.listener.stop()


@contextmanager
def following(persistence: PostgresPersistence, name: str = "p-1") -> Iterator[Followers]:
    """Followers that run for the length of the block."""
    followers = Followers(persistence, name)
    followers.start()
    try:
        yield followers
    finally:
        followers.stop()


def idle(persistence: PostgresPersistence) -> Production:
    """A process that is never started: for commands and questions."""
    return Production(persistence, name="idle")


def saga_starts(process: Production) -> list[Any]:
    """The payments whose sagas were begun, once for each time."""
    events = process.applications.sagas.all()
    return [e.payment_id for e in events if e.event_type == "saga.started"]  # type: ignore


def test_a_runner_first_takes_in_what_was_recorded_while_it_was_down(
    persistence: PostgresPersistence,
) -> None:
    process = idle(persistence)
    ids = [process.create_payment("10.00", "SAR", "Tea") for _ in range(450)]
    with following(persistence):
        until(lambda: process.lag() == 0, "catching up")
    assert sorted(saga_starts(process)) == sorted(ids)


def test_a_backlog_with_confirmations_in_it_is_taken_in_without_parking_anything(
    persistence: PostgresPersistence,
) -> None:
    process = idle(persistence)
    for _ in range(1100):
        process.create_payment("10.00", "SAR", "Tea")
    told = process.create_payment("10.00", "SAR", "Tea", callback_url="https://m.example.com/told")
    process.cancel_payment(told)
    confirm_everything(process)
    with following(persistence):
        until(lambda: process.lag() == 0, "catching up")
    with persistence.connection() as connection:
        rows = connection.execute("SELECT * FROM parked_events").fetchall()
    assert rows == []
    assert len(saga_starts(process)) == 1101


def confirm_everything(process: Production) -> None:
    """Merchants are told while the sagas' follower is down."""
    applications = process.applications
    telling = Following(applications.confirmations, applications.payments)
    while telling.advance():
        continue
    with context():
        for event in list(applications.confirmations.all()):
            applications.confirmations.change(event.originator_id, _deliver)


def _deliver(confirmation: Confirmation) -> None:
    confirmation.deliver(200)


def test_a_runner_is_woken_by_another_process(
    persistence: PostgresPersistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("system.turns.POLL_SECONDS", 3600.0)
    process = idle(persistence)
    with following(persistence):
        until(lambda: bool(heartbeats(persistence)), "a heartbeat")
        for number in range(5):
            process.create_payment("10.00", "SAR", "Tea")
            until(lambda number=number: len(saga_starts(process)) > number, "a saga")  # type: ignore


def heartbeats(persistence: PostgresPersistence) -> dict[str, str]:
    """Which process runs which follower."""
    with persistence.connection() as connection:
        rows = connection.execute("SELECT follower, process FROM follower_heartbeats").fetchall()
    return {row["follower"]: row["process"] for row in rows}


def test_a_runner_survives_a_policy_that_fails_for_a_while(
    persistence: PostgresPersistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    followers = Followers(persistence, "p-1")
    record = followers.applications.sagas.record_batch
    failures: list[Any] = []

    def unwell(work: Any) -> None:
        if len(failures) < 2:
            failures.append(work)
            raise RuntimeError("boom")
        record(work)

    monkeypatch.setattr(followers.applications.sagas, "record_batch", unwell)
    process = idle(persistence)
    payment_id = process.create_payment("10.00", "SAR", "Tea")
    followers.start()
    try:
        until(lambda: saga_starts(process) == [payment_id], "the saga")
    finally:
        followers.stop()
    assert len(failures) == 2


def test_two_runners_take_in_each_event_exactly_once(persistence: PostgresPersistence) -> None:
    process = idle(persistence)
    with following(persistence, "p-1"), following(persistence, "p-2"):
        ids = [process.create_payment("10.00", "SAR", "Tea") for _ in range(60)]
        until(lambda: process.lag() == 0, "catching up")
    assert sorted(saga_starts(process)) == sorted(ids)


def test_two_processes_that_both_believe_to_lead_still_take_in_each_event_once(
    persistence: PostgresPersistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("system.leadership.Leadership.acquire", lambda self, follower: True)
    process = idle(persistence)
    with following(persistence, "p-1"), following(persistence, "p-2"):
        ids = [process.create_payment("10.00", "SAR", "Tea") for _ in range(40)]
        until(lambda: process.lag() == 0, "catching up")
    assert sorted(saga_starts(process)) == sorted(ids)


def test_a_runner_that_stops_hands_its_followers_over_at_once(
    persistence: PostgresPersistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one does not have to ask: it is told."""
    monkeypatch.setattr("system.turns.POLL_SECONDS", 3600.0)
    monkeypatch.setattr("system.turns.TAKE_OVER_SECONDS", 3600.0)
    process = idle(persistence)
    first, second = Followers(persistence, "p-1"), Followers(persistence, "p-2")
    first.start()
    until(lambda: set(heartbeats(persistence).values()) == {"p-1"}, "the first to run")
    second.start()
    first.stop()
    try:
        until(lambda: len(led(persistence)) == len(heartbeats(persistence)), "the locks")
        payment_id = process.create_payment("10.00", "SAR", "Tea")
        until(lambda: saga_starts(process) == [payment_id], "the second to take over")
    finally:
        second.stop()


def led(persistence: PostgresPersistence) -> list[int]:
    """The locks of the followers that somebody runs."""
    with persistence.connection() as connection:
        rows = connection.execute(
            "SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND classid = 7261 AND granted "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        ).fetchall()
    return [row["objid"] for row in rows]


def leaders(persistence: PostgresPersistence) -> list[int]:
    """The server's processes that hold a follower's lock."""
    with persistence.connection() as connection:
        rows = connection.execute(
            "SELECT DISTINCT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = 7261"
        ).fetchall()
    return [row["pid"] for row in rows]


def test_followers_go_on_after_the_leading_connection_was_killed(
    persistence: PostgresPersistence,
) -> None:
    process = idle(persistence)
    with following(persistence, "p-1"), following(persistence, "p-2"):
        until(lambda: bool(leaders(persistence)), "a leader")
        with persistence.connection() as connection:
            for pid in leaders(persistence):
                connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
        ids = [process.create_payment("10.00", "SAR", "Tea") for _ in range(10)]
        until(lambda: process.lag() == 0, "catching up")
        until(lambda: bool(leaders(persistence)), "a new leader")
    assert sorted(saga_starts(process)) == sorted(ids)


def test_everything_goes_on_after_all_connections_were_cut(database_url: str) -> None:
    with production(database_url) as process:
        before = process.create_payment("10.00", "SAR", "Tea")
        process.run()
        assert kill_connections(database_url) > 3
        after = process.create_payment("10.00", "SAR", "Tea")
        process.run()
        for payment_id in (before, after):
            process.gateway.pay(payment_id)
        process.run()
        statuses = {process.payment(p).status.value for p in (before, after)}
        assert statuses == {"completed"}


def test_a_follower_that_leads_reports_that_it_lives(persistence: PostgresPersistence) -> None:
    with following(persistence) as followers:
        names = {follower.name for follower, _ in followers.applications.followers()}
        until(lambda: set(heartbeats(persistence)) == names, "all heartbeats")


def test_stopping_is_prompt_however_often_it_is_done(persistence: PostgresPersistence) -> None:
    for number in range(3):
        with following(persistence, f"p-{number}"):
            pass
    assert [t.name for t in threading.enumerate() if t.name == "heartbeat"] == []


def test_a_poisoned_event_stops_its_payment_only(
    persistence: PostgresPersistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, followers = idle(persistence), Followers(persistence, "p-1")
    poisoned = process.create_payment("10.00", "SAR", "Poison")
    well = process.create_payment("10.00", "SAR", "Tea")
    project = followers.applications.payments_view.policy

    def policy(event: Any, work: Any) -> None:
        if event.originator_id == poisoned:
            raise ValueError("poison")
        project(event, work)

    monkeypatch.setattr(followers.applications.payments_view, "policy", policy)
    with capture_logs():
        followers.start()
        try:
            until(lambda: process.lag() == 0, "going on")
        finally:
            followers.stop()
    with persistence.connection() as connection:
        parked = connection.execute("SELECT follower, payment_id FROM parked_events").fetchall()
        shown = connection.execute("SELECT payment_id FROM view_payments").fetchall()
    assert {(row["follower"], row["payment_id"]) for row in parked} == {("PaymentsView", poisoned)}
    assert [row["payment_id"] for row in shown] == [well]


def test_an_aggregate_that_exists_already_does_not_make_a_follower_spin(
    persistence: PostgresPersistence,
) -> None:
    process = idle(persistence)
    process.create_payment("10.00", "SAR", "Tea")
    applications = process.applications
    taking_in = Following(applications.sagas, applications.payments)
    taking_in.advance()
    with psycopg.connect(persistence.conninfo, autocommit=True) as connection:
        connection.execute("DELETE FROM paymentsagas_tracking")
    with capture_logs() as logs, following(persistence):
        heard = threading.Event()
        heard.wait(1.0)
    taken_again = [entry for entry in logs if entry["event"] == "batch_taken_again"]
    assert len(taken_again) < 20


def test_a_follower_whose_turn_takes_long_does_not_hold_the_others_up(
    persistence: PostgresPersistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, followers = idle(persistence), Followers(persistence, "p-1")
    let_go, is_stuck = threading.Event(), threading.Event()
    record = followers.applications.payments_view.record_batch

    def stuck(work: Any) -> None:
        is_stuck.set()
        let_go.wait(PATIENCE_SECONDS)
        record(work)

    monkeypatch.setattr(followers.applications.payments_view, "record_batch", stuck)
    first = process.create_payment("10.00", "SAR", "Tea")
    with capture_logs():
        followers.start()
        try:
            assert is_stuck.wait(PATIENCE_SECONDS)
            second = process.create_payment("10.00", "SAR", "Tea")
            until(lambda: len(saga_starts(process)) == 2, "the sagas, beside a view that is stuck")
            let_go.set()
            until(lambda: process.lag() == 0, "the view to catch up")
        finally:
            let_go.set()
            followers.stop()
    assert sorted(saga_starts(process)) == sorted([first, second])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_is_replaced(
    persistence: PostgresPersistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, followers = idle(persistence), Followers(persistence, "p-1")
    deaths: list[str] = []
    take = FollowerTurns.take

    def deadly(turns: FollowerTurns) -> bool:
        if not deaths:
            deaths.append(turns.name)
            raise SystemExit
        return take(turns)

    monkeypatch.setattr(FollowerTurns, "take", deadly)
    payment_id = process.create_payment("10.00", "SAR", "Tea")
    with capture_logs():
        followers.start()
        try:
            until(lambda: saga_starts(process) == [payment_id], "the saga")
        finally:
            followers.stop()
    assert len(deaths) == 1


def test_what_a_follower_passed_over_is_recorded_at_the_latest_when_it_stops(
    persistence: PostgresPersistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("system.turns.PASSED_OVER_SECONDS", 3600.0)
    process = idle(persistence)

    def position_of_webhooks() -> int | None:
        return process.applications.webhooks.recorder.max_tracking_id("PaymentSagas")

    def in_the_view() -> int:
        with persistence.connection() as connection:
            return len(connection.execute("SELECT 1 FROM view_sagas").fetchall())

    with following(persistence):
        process.create_payment("10.00", "SAR", "Tea")
        until(lambda: in_the_view() == 1, "the first payment")
        passed_over = process.applications.sagas.recorder.max_notification_id()
        process.create_payment("10.00", "SAR", "Tea")
        until(lambda: in_the_view() == 2, "another round of turns")
        assert position_of_webhooks() is None
    assert (position_of_webhooks() or 0) >= (passed_over or 0) > 0
