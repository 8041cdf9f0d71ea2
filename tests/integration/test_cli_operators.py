"""`paysaga projections` and `paysaga parked`, on the database of running followers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from tests.e2e.house import free_port
from tests.integration.cli_kit import run, settings_env
from tests.integration.production_kit import Node, Poison, node, poisoned_payment, until


@pytest.fixture(autouse=True)
def log_lines() -> Iterator[None]:
    """Keeps the log lines of the followers in this process out of what commands print."""
    with capture_logs():
        yield


@pytest.fixture
def env(database_url: str, tmp_path: Path) -> dict[str, str]:
    return settings_env(tmp_path, database_url=database_url)


def positions(env: dict[str, str]) -> dict[tuple[str, str], dict[str, Any]]:
    """What `paysaga projections list` shows, by follower and log."""
    result = run("projections", "list", "--json", env=env)
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["data"]
    return {(row["follower"], row["leader"]): row for row in rows}


def parked(env: dict[str, str], *options: str) -> list[dict[str, Any]]:
    """What `paysaga parked list` shows."""
    result = run("parked", "list", "--json", *options, env=env)
    assert result.exit_code == 0, result.output
    return list(json.loads(result.stdout)["data"])


def view_rows(at: Node) -> int:
    return len(at.query("SELECT payment_id FROM view_payments"))


def test_every_follower_is_listed_with_each_log_it_follows(
    running: Node, env: dict[str, str]
) -> None:
    expected = {
        (follower.name, leader.name)
        for follower, leaders in running.applications.followers()
        for leader in leaders
    }
    assert set(positions(env)) == expected


def test_followers_that_are_up_to_date_are_shown_running(
    running: Node, env: dict[str, str]
) -> None:
    running.create_payment()

    def is_up_to_date() -> bool:
        return all(
            (row["state"], row["lagEvents"]) == ("running", 0) for row in positions(env).values()
        )

    until(is_up_to_date)
    view = positions(env)["PaymentsView", "Payments"]
    assert view["position"] == view["head"] >= 1
    assert view["parkedEvents"] == 0
    assert view["process"] == "one"


def test_a_follower_that_never_ran_shows_how_far_it_is_behind(
    database_url: str, env: dict[str, str]
) -> None:
    with node(database_url) as stopped:
        stopped.create_payment()
        view = positions(env)["PaymentsView", "Payments"]
        assert (view["state"], view["lagEvents"], view["position"]) == ("never_run", 1, 0)
        assert view["lagSeconds"] > 0


def test_people_get_a_table_of_positions(running: Node, env: dict[str, str]) -> None:
    result = run("projections", "list", env=env)
    assert result.exit_code == 0
    for word in ("follower", "lag", "state", "PaymentsView", "PaymentSagas", "Agenda"):
        assert word in result.output


def test_nothing_is_listed_when_nothing_is_parked(running: Node, env: dict[str, str]) -> None:
    assert parked(env) == []


def test_parked_events_are_listed_oldest_first_with_their_reason(
    running: Node, env: dict[str, str]
) -> None:
    payment_id = poisoned_payment(running, Poison(running))
    first, second = parked(env)
    assert {event["paymentId"] for event in (first, second)} == {str(payment_id)}
    assert {event["follower"] for event in (first, second)} == {"PaymentsView"}
    assert (first["error"], first["attempts"]) == ("ValueError: poison", 3)
    assert (second["error"], second["attempts"]) == (None, 0)
    assert positions(env)["PaymentsView", "Payments"]["parkedEvents"] == 2
    assert [event["parkedId"] for event in parked(env, "--limit", "1")] == [first["parkedId"]]


def test_people_get_a_table_of_parked_events(running: Node, env: dict[str, str]) -> None:
    poisoned_payment(running, Poison(running))
    first, _ = parked(env)
    result = run("parked", "list", env={**env, "COLUMNS": "300"})
    assert result.exit_code == 0
    for word in (first["parkedId"], "PaymentsView", "Payment.Initiated", "ValueError: poison"):
        assert word in result.output


def test_a_retried_event_is_taken_in_with_those_that_waited_behind_it(
    running: Node, env: dict[str, str]
) -> None:
    poison = Poison(running)
    poisoned_payment(running, poison)
    poison.payments.clear()
    result = run("parked", "retry", parked(env)[0]["parkedId"], env=env)
    assert result.exit_code == 0
    assert "released" in result.output
    until(lambda: not parked(env))
    assert view_rows(running) == 1


def test_a_skipped_event_is_passed_over_for_good(running: Node, env: dict[str, str]) -> None:
    poison = Poison(running)
    poisoned_payment(running, poison)
    poison.payments.clear()
    result = run("parked", "skip", "--yes", parked(env)[0]["parkedId"], env=env)
    assert result.exit_code == 0
    assert "skipped" in result.output
    until(lambda: not parked(env))
    assert view_rows(running) == 0


def test_an_event_that_the_journal_lacks_is_not_skipped(running: Node, env: dict[str, str]) -> None:
    poisoned_payment(running, Poison(running))
    running.query("UPDATE parked_events SET follower = 'Journal' RETURNING 1")
    before = parked(env)
    result = run("parked", "skip", "--yes", before[0]["parkedId"], env=env)
    assert result.exit_code == 1
    assert "then retry the event" in result.stderr
    assert parked(env) == before


def test_skipping_is_asked_about_first(running: Node, env: dict[str, str]) -> None:
    poisoned_payment(running, Poison(running))
    before = parked(env)
    result = run("parked", "skip", before[0]["parkedId"], env=env)
    assert result.exit_code != 0
    assert "Skip it?" in result.output
    assert parked(env) == before


@pytest.mark.parametrize("command", [("retry",), ("skip", "--yes")])
def test_an_event_that_is_not_parked_is_refused(
    running: Node, env: dict[str, str], command: tuple[str, ...]
) -> None:
    result = run("parked", *command, str(uuid4()), env=env)
    assert result.exit_code == 1
    assert "paysaga parked list" in result.output


@pytest.mark.parametrize(
    "arguments", [("parked", "retry", "x"), ("parked", "list", "--limit", "0"), ("parked", "away")]
)
def test_wrong_usage_exits_with_2(env: dict[str, str], arguments: tuple[str, ...]) -> None:
    assert run(*arguments, env=env).exit_code == 2


@pytest.mark.parametrize("arguments", [("parked", "list"), ("projections", "list")])
def test_a_database_that_is_not_there_is_named_with_what_to_do(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    url = f"postgresql://127.0.0.1:{free_port()}/nowhere"
    result = run(*arguments, env=settings_env(tmp_path, database_url=url))
    assert result.exit_code == 1
    assert "cannot be reached" in result.output
    assert "paysaga doctor" in result.output


@pytest.mark.parametrize("arguments", [("parked", "list"), ("projections", "list")])
def test_a_database_that_was_never_prepared_is_left_as_it_is(
    env: dict[str, str], arguments: tuple[str, ...]
) -> None:
    result = run(*arguments, env=env)
    assert result.exit_code == 1
    assert "paysaga doctor" in result.output
    assert not isinstance(result.exception, AssertionError | AttributeError)


def test_every_operators_command_explains_itself() -> None:
    for arguments in (("projections",), ("projections", "list"), ("parked",), ("parked", "skip")):
        result = run(*arguments, "--help")
        assert result.exit_code == 0
        assert "Usage:" in result.output
