"""`paysaga contracts`, `events`, `sagas` and `circuit-breakers`, over HTTP."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from click.testing import Result

from interface.cli.circuit_breakers import circuit_breakers
from interface.cli.contracts import contracts
from interface.cli.events import events
from interface.cli.sagas import sagas
from tests.e2e.house import SECRETS, Api, House, house_on, until
from tests.generated_rows import fill_earnings
from tests.integration.cli_kit import run, settings_env
from tests.integration.test_web_events import feed_end

NEXT_YEAR = date.today() + timedelta(days=365)


@pytest.fixture(scope="module")
def home(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server) as home:
        yield home


@pytest.fixture
def api(home: House) -> Api:
    return home.api


@pytest.fixture
def env(home: House, tmp_path: Path) -> dict[str, str]:
    return settings_env(tmp_path, url=home.url, api_key=SECRETS["admin"])


def said(*arguments: str, env: dict[str, str]) -> str:
    result = run(*arguments, env=env)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def printed(*arguments: str, env: dict[str, str]) -> Any:
    """The document is the last line: the web of this test may log others in the same process."""
    text = said(*arguments, "--json", env=env)
    return json.loads(text.splitlines()[-1], parse_float=Decimal)


def agreed(env: dict[str, str], *more: str, due_on: date = NEXT_YEAR) -> Any:
    """A contract of one instalment, made on the command line."""
    return printed(
        *("contracts", "create", "sar", "--description", "Rent", "--payee", "p-1=Landlord Ltd"),
        *("--fee-percent", "2.5", "--instalment", f"{due_on}=99.50", *more),
        env=env,
    )


def test_a_contract_is_made_shown_listed_and_cancelled(env: dict[str, str]) -> None:
    id = f"c-{uuid4().hex}"
    made = agreed(env, "--contract-id", id, "--client-name", "Sara Omar")
    assert (made["contractId"], made["currency"]) == (id, "SAR")
    assert made["payee"] == {"id": "p-1", "name": "Landlord Ltd"}
    assert made["platformFeePercent"] == Decimal("2.5")
    assert made["instalments"][0]["amount"] == Decimal("99.50")
    shown = said("contracts", "show", id, env=env)
    assert "Landlord Ltd (p-1)" in shown
    assert f"{NEXT_YEAR}  99.50" in shown
    until(lambda: id in said("contracts", "list", "--payee-id", "p-1", env=env))
    assert id not in said("contracts", "list", "--payee-id", "nobody", env=env)
    cancelled = printed("contracts", "cancel", id, "--reason", "moved out", env=env)
    assert (cancelled["status"], cancelled["cancellationReason"]) == ("cancelled", "moved out")


def test_a_contract_is_made_once_for_one_key(env: dict[str, str]) -> None:
    key = ("--idempotency-key", uuid4().hex)
    assert agreed(env, *key)["contractId"] == agreed(env, *key)["contractId"]


def test_an_instalment_is_asked_for_again_paid_and_earned(
    home: House, api: Api, env: dict[str, str]
) -> None:
    id = agreed(env, due_on=date.today())["contractId"]

    def instalment() -> Any:
        return printed("contracts", "show", id, env=env)["instalments"][0]

    first = until(lambda: instalment()["paymentId"])
    assert api.cancel(first).status_code == 200
    until(lambda: instalment()["status"] not in {"due", "scheduled"})
    printed("contracts", "pay", id, "1", env=env)
    second = until(lambda: instalment()["nextAction"] and instalment()["paymentId"])
    assert second != first
    home.customer.pay(api.payment(second)["transactionRef"])
    until(lambda: printed("contracts", "earnings", id, env=env)["payments"])
    shown = said("contracts", "earnings", id, env=env)
    assert f"{second}  SAR       99.50  2.49  97.01" in shown
    everybody = said("contracts", "earnings", "--payee-id", "p-1", env=env)
    assert "p-1" in everybody


def test_earnings_are_shown_page_by_page_or_all(home: House, env: dict[str, str]) -> None:
    id, payee = agreed(env)["contractId"], f"payee-{uuid4()}"
    payments = sorted(uuid4() for _ in range(3))
    currencies = ("AED", "KWD", "SAR")
    with psycopg.connect(home.settings.conninfo) as connection:
        earned = [
            (payment, payee, code) for payment, code in zip(payments, currencies, strict=True)
        ]
        fill_earnings(connection, id, earned)
    for command, member, shown in (
        (("contracts", "earnings", id), "payments", payments),
        (("contracts", "earnings", "--payee-id", payee), "data", currencies),
    ):
        first = run(*command, "--limit", "2", env=env)
        assert [str(each) in first.stdout for each in shown] == [True, True, False]
        [cursor] = re.findall("add --cursor ([^ ]+) or --all", first.stderr)
        rest = run(*command, "--limit", "2", "--cursor", cursor, env=env)
        assert [str(each) in rest.stdout for each in shown] == [False, False, True]
        assert "There are more" not in rest.stderr
        everything = printed(*command, "--all", "--limit", "1", env=env)
        assert [each["currency"] for each in everything[member]] == list(currencies)
        assert everything["nextCursor"] is None
    one = printed("contracts", "earnings", id, "--limit", "1", env=env)
    assert [each["currency"] for each in one["totals"]] == list(currencies)


def test_what_is_wrong_with_a_contract_is_told_by_field(env: dict[str, str]) -> None:
    result = run(
        *("contracts", "create", "SAR", "--description", "x", "--payee", "p=P"),
        *("--fee-percent", "200", "--instalment", "tomorrow=1"),
        env=env,
    )
    assert result.exit_code == 1
    assert "/platformFeePercent: " in result.stderr
    assert "/instalments/0/dueOn: " in result.stderr


def test_events_are_listed_by_filters_and_shown(api: Api, env: dict[str, str]) -> None:
    payment = api.created()
    of_it = ("--aggregate", payment["paymentId"])
    until(lambda: len(printed("events", "list", *of_it, env=env)["data"]) == 2)
    [event] = printed("events", "list", *of_it, "--type", "payment.initiated", env=env)["data"]
    assert "payment.initiated" in said("events", "list", *of_it, env=env)
    shown = said("events", "show", event["id"], env=env)
    assert f"Payment {payment['paymentId']}" in shown
    more = run("events", "list", "--limit", "1", env=env)
    assert "add --after 1" in more.stderr
    assert "add --after 2" in run("events", "list", "--limit", "1", "--after", "1", env=env).stderr
    other = ("--correlation-id", "nobody's")
    assert printed("events", "list", *other, env=env)["data"] == []


def test_tail_shows_events_as_they_come(api: Api, env: dict[str, str]) -> None:
    results: list[Result] = []
    correlation_id = uuid4().hex
    arguments = ("events", "tail", "--correlation-id", correlation_id, "--after", "0")
    arguments += ("--type", "payment.processing", "--count", "2", "--json")
    listening = threading.Thread(target=lambda: results.append(run(*arguments, env=env)))
    listening.start()
    made = [api.created({"X-Correlation-Id": correlation_id})["paymentId"] for _ in range(2)]
    listening.join(30)
    [result] = results
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["aggregateId"] for event in told] == made


def test_tail_begins_behind_a_position(api: Api, env: dict[str, str]) -> None:
    api.created()
    end = feed_end(api)
    lines = said("events", "tail", "--after", str(end - 2), "--count", "2", env=env).splitlines()
    assert len(lines) == 2


def test_sagas_are_listed_and_shown(api: Api, env: dict[str, str]) -> None:
    payment = api.created()
    until(lambda: payment["paymentId"] in said("sagas", "list", "--status", "waiting", env=env))
    assert payment["paymentId"] not in said("sagas", "list", "--status", "parked", env=env)
    shown = said("sagas", "show", payment["paymentId"], env=env)
    assert "await_customer" in shown


@pytest.mark.parametrize("action", ["retry", "compensate"])
def test_a_parked_saga_goes_on(home: House, api: Api, env: dict[str, str], action: str) -> None:
    home.customer.behave(refund="decline")
    payment = api.created()
    api.cancel(payment["paymentId"])
    home.customer.pay(payment["transactionRef"])
    api.saga_becomes(payment["paymentId"], "parked")
    home.customer.behave_well()
    until(lambda: payment["paymentId"] in said("sagas", "list", "--status", "parked", env=env))
    assert "Parked" in said("sagas", "show", payment["paymentId"], env=env)
    resumed = printed("sagas", action, payment["paymentId"], env=env)
    assert resumed["parked"] is None
    api.saga_becomes(payment["paymentId"], "compensated")


def test_a_breaker_is_opened_and_reset(env: dict[str, str]) -> None:
    assert "paytabs" in said("circuit-breakers", "list", env=env)
    try:
        opened = printed("circuit-breakers", "force-open", "paytabs", env=env)
        assert opened["state"] == "OPEN"
        shown = said("circuit-breakers", "show", "paytabs", env=env)
        assert "OPEN" in shown
        assert "errorThreshold" in shown
    finally:
        closed = printed("circuit-breakers", "reset", "paytabs", env=env)
    assert closed["state"] == "CLOSED"
    assert run("circuit-breakers", "show", "nowhere", env=env).exit_code == 1


@pytest.mark.parametrize("group", [contracts, events, sagas, circuit_breakers])
def test_every_command_prints_json_and_has_help(group: Any) -> None:
    for command in group.commands.values():
        assert command.help
        assert any("--json" in option.opts for option in command.params)
