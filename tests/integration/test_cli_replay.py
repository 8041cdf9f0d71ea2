"""`paysaga replay`: past states, the tree of causes, and the check of the read models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.payment_saga import PaymentSaga
from tests.integration.cli_kit import run, settings_env
from tests.integration.journal_kit import Books, books
from tests.integration.production_kit import Production, running
from tests.simulation import scenarios


@pytest.fixture
def kept(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Books]:
    monkeypatch.setattr("system.replay_check.SECOND_LOOKS", 1)
    with books(database_url) as kept:
        yield kept


@pytest.fixture
def env(database_url: str, tmp_path: Path) -> dict[str, str]:
    return settings_env(tmp_path, database_url=database_url)


@pytest.fixture
def cancelled(kept: Books) -> UUID:
    payment_id = kept.create_payment()
    kept.follow()
    kept.cancel_payment(payment_id)
    kept.follow()
    return payment_id


def replayed(env: dict[str, str], *arguments: str) -> dict[str, Any]:
    result = run("replay", *arguments, "--json", env=env)
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def test_a_payment_is_shown_with_its_history_as_a_tree(
    cancelled: UUID, env: dict[str, str]
) -> None:
    result = run("replay", str(cancelled), env=env)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert any(line.split() == ["status", "cancelled"] for line in lines)
    [initiated] = [line for line in lines if "payment.initiated" in line]
    [started] = [line for line in lines if "saga.started" in line]
    assert "Payment v1  by test" in initiated
    assert started.index("saga.started") == initiated.index("payment.initiated") + 2
    assert any("status: initiated -> cancelled" in line for line in lines)


def test_a_past_version_and_a_past_time_are_rebuilt(cancelled: UUID, env: dict[str, str]) -> None:
    now = replayed(env, str(cancelled))
    assert now["payment"]["status"] == "cancelled"
    first = replayed(env, str(cancelled), "--version", "1")
    assert (first["payment"]["status"], first["payment"]["version"]) == ("initiated", 1)
    moment = first["payment"]["updatedAt"]
    assert replayed(env, str(cancelled), "--as-of", moment)["payment"]["version"] == 1
    assert first["history"][0]["event"]["type"] == "payment.initiated"
    assert len(first["history"]) < len(now["history"])


def test_what_never_was_is_told(cancelled: UUID, env: dict[str, str]) -> None:
    assert run("replay", str(uuid4()), env=env).exit_code == 1
    assert run("replay", str(cancelled), "--version", "9", env=env).exit_code == 1
    assert run("replay", str(cancelled), "--as-of", "2020-01-01", env=env).exit_code == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--all"],
        ["--check"],
        [str(UUID(int=1)), "--version", "1", "--as-of", "2026-01-01"],
        [str(UUID(int=1)), "--all", "--check"],
        ["--all", "--check", "--version", "1"],
        [str(UUID(int=1)), "--as-of", "soon"],
    ],
)
def test_wrong_usage_is_refused(env: dict[str, str], arguments: list[str]) -> None:
    assert run("replay", *arguments, env=env).exit_code == 2


def test_read_models_that_show_what_the_events_say_pass(
    cancelled: UUID, env: dict[str, str]
) -> None:
    result = run("replay", "--all", "--check", env=env)
    assert result.exit_code == 0, result.output
    assert "Payments 4" in result.stdout


PAYMENT = "UPDATE payments_events SET {} WHERE originator_id = '{{payment}}'"
SAGA = "UPDATE paymentsagas_events SET {} WHERE originator_id = '{{saga}}'"
DAMAGES = {
    PAYMENT.format(r"state = '\x00ff'") + " AND originator_version = 2": (
        "Payments {payment} cannot be replayed: MapperDeserialisationError: "
    ),
    PAYMENT.format("originator_version = 3") + " AND originator_version = 2": (
        "Payments {payment} cannot be replayed: its event 2 is gone"
    ),
    "DELETE FROM payments_events WHERE originator_id = '{payment}' AND originator_version = 1": (
        "Payments {payment} cannot be replayed: its first event is gone"
    ),
    PAYMENT.format("topic = 'domain.payment:Payment.Lost'"): "TopicError: ",
    PAYMENT.format("topic = E'domain.payment:Payment.\\x1b[2J\\nLost'"): "TopicError: ",
    PAYMENT.format("topic = 'os:system'"): "Payments {payment} cannot be replayed: TypeError: ",
    PAYMENT.format("topic = 'domain.contract:Contract.Cancelled'"): "AssertionError",
    PAYMENT.format(
        "state = convert_to(replace(convert_from(state, 'UTF8'), 'amount', 'a'), 'UTF8')"
    ): ("Payments {payment} cannot be replayed: "),
    SAGA.format("state = ''") + " AND originator_version = 2": (
        "PaymentSagas {saga} cannot be replayed: MapperDeserialisationError: "
    ),
    "DELETE FROM paymentsagas_events WHERE originator_id = '{saga}' AND originator_version = 2": (
        "PaymentSagas {saga} cannot be replayed: its event 2 is gone"
    ),
    SAGA.format("state = '{{}}'") + " AND originator_version = 2": "cannot be replayed: ",
}


@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize("damage", list(DAMAGES))
def test_a_payment_whose_log_is_damaged_is_named_in_two_lines(
    kept: Books, cancelled: UUID, env: dict[str, str], damage: str, options: list[str]
) -> None:
    ids = {"payment": cancelled, "saga": PaymentSaga.create_id(cancelled)}
    kept.query(damage.format(**ids))
    result = run("replay", str(cancelled), *options, env=env)
    told, advice = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (1, "")
    assert DAMAGES[damage].format(**ids) in told
    assert told.isprintable()
    assert advice == "`paysaga journal verify` names what was altered"


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE payments_events SET state = '' WHERE originator_version = 2",
        "UPDATE payments_events SET originator_version = 3 WHERE originator_version = 2",
    ],
)
def test_a_version_before_the_damage_is_still_rebuilt(
    kept: Books, cancelled: UUID, env: dict[str, str], damage: str
) -> None:
    kept.query(f"{damage} AND originator_id = %s", cancelled)
    first = replayed(env, str(cancelled), "--version", "1")
    assert (first["payment"]["status"], first["payment"]["version"]) == ("initiated", 1)
    assert run("replay", str(cancelled), "--version", "2", env=env).exit_code == 1


TAMPERINGS = {
    "UPDATE view_payments SET status = 'completed' WHERE payment_id = '{id}'": (
        "view_payments {id}: status is 'completed', replayed it is 'cancelled'"
    ),
    "UPDATE view_payments SET client_info = NULL WHERE payment_id = '{id}'": (
        "view_payments {id}: client_info is None, replayed"
    ),
    "DELETE FROM view_payments WHERE payment_id = '{id}'": "{id}: the row is missing",
    "UPDATE view_sagas SET status = 'parked' WHERE payment_id = '{id}'": "status is 'parked'",
    "UPDATE view_sagas SET saga_id = '{id}' WHERE payment_id = '{id}'": "comes of no event",
}


@pytest.mark.parametrize("statement", list(TAMPERINGS))
def test_every_difference_is_told(
    kept: Books, cancelled: UUID, env: dict[str, str], statement: str
) -> None:
    kept.query(statement.format(id=cancelled))
    result = run("replay", "--all", "--check", env=env)
    assert result.exit_code == 1
    assert TAMPERINGS[statement].format(id=cancelled) in result.stdout
    assert "between the events and the read models" in result.stderr


def test_the_read_models_of_a_busy_system_show_what_the_events_say(
    database_url: str, env: dict[str, str]
) -> None:
    with books(database_url) as kept:
        process = Production(kept.persistence)
        with running(process):
            for scenario in (scenarios.paid, scenarios.opened):
                scenario(process)
            paid = scenarios.paid(process)
            process.refund_payment(paid, scenarios.PART)
            process.run()
            result = run("replay", "--all", "--check", env=env)
            assert result.exit_code == 0, result.output
