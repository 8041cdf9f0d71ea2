"""`paysaga payments` about money: capture, refund, what the saga does, and watching it happen."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from interface.client import Client
from tests.e2e.house import SECRETS, House, house_on, until
from tests.integration.cli_kit import run, settings_env


@pytest.fixture(scope="module")
def home(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server) as home:
        yield home


@pytest.fixture
def env(home: House, tmp_path: Path) -> dict[str, str]:
    return settings_env(tmp_path, url=home.url, api_key=SECRETS["admin"])


@pytest.fixture
def client(home: House) -> Iterator[Client]:
    with Client(home.url, SECRETS["admin"]) as client:
        yield client


def paid(home: House, client: Client, **fields: Any) -> str:
    payment = client.create_payment("149.50", "SAR", "Tea", **fields)
    assert payment.transaction_ref
    home.customer.pay(payment.transaction_ref)
    wanted = "authorized" if fields else "completed"
    until(lambda: client.payment(payment.payment_id).status == wanted)
    return payment.payment_id


def printed(*arguments: str, env: dict[str, str]) -> Any:
    result = run(*arguments, "--json", env=env)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout, parse_float=Decimal)


def test_part_of_an_authorized_payment_is_captured(
    home: House, client: Client, env: dict[str, str]
) -> None:
    payment_id = paid(home, client, captureMethod="manual")
    printed("payments", "capture", payment_id, "--amount", "49.50", env=env)
    until(lambda: client.payment(payment_id).amount_captured == Decimal("49.50"))


def test_a_refund_is_made_once_for_one_key(
    home: House, client: Client, env: dict[str, str]
) -> None:
    payment_id = paid(home, client)
    command = ("payments", "refund", payment_id, "--amount", "5", "--reason", "broken")
    first = printed(*command, "--idempotency-key", "k-1", env=env)
    again = printed(*command, "--idempotency-key", "k-1", env=env)
    assert first["refundId"] == again["refundId"]
    assert (first["amount"], first["reason"]) == (Decimal("5.00"), "broken")
    until(lambda: client.payment(payment_id).amount_refunded == 5)


def test_people_see_the_refund_and_the_steps_of_the_saga(
    home: House, client: Client, env: dict[str, str]
) -> None:
    payment_id = paid(home, client)
    refund = run("payments", "refund", payment_id, env=env)
    assert "Amount   149.50" in refund.stdout
    shown = run("payments", "show", payment_id, env=env).stdout
    steps = [step.name.value for step in client.saga(payment_id).steps]
    assert all(f"\n{step} " in shown for step in steps)
    assert "Attempts" in shown


def test_a_capture_that_is_not_possible_says_what_is(
    home: House, client: Client, env: dict[str, str]
) -> None:
    result = run("payments", "capture", paid(home, client), env=env)
    assert result.exit_code == 1
    assert "invalid_transition" in result.stderr


def test_tail_shows_each_event_once_and_ends_with_the_saga(
    home: House, client: Client, env: dict[str, str]
) -> None:
    payment_id = paid(home, client)
    until(lambda: client.saga(payment_id).status == "completed")
    result = run("payments", "tail", payment_id, env=env)
    assert result.exit_code == 0, result.stderr
    types = [line.split()[1] for line in result.stdout.splitlines()]
    assert types == [event.type.value for event in client.events(payment_id)]
    lines = run("payments", "tail", payment_id, "--json", env=env).stdout.splitlines()
    assert [json.loads(line)["type"] for line in lines] == types


def output_on_a_terminal(arguments: list[str], env: dict[str, str]) -> bytes:
    """What a command writes when its output is a terminal."""
    ours, theirs = pty.openpty()
    whole = {**os.environ, "TERM": "xterm-256color", **env}
    whole.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "interface.cli", *arguments]
    with subprocess.Popen(command, stdout=theirs, env=whole) as process:
        os.close(theirs)
        seen = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:
                break
            if not piece:
                break
            seen += piece
        process.wait(30)
    os.close(ours)
    return seen


def test_there_are_colours_on_a_terminal_and_none_in_a_pipe(
    home: House, client: Client, env: dict[str, str]
) -> None:
    payment_id = paid(home, client)
    until(lambda: any(found.payment_id == payment_id for found in client.payments(limit=5)))
    until(lambda: list(client.payments(status="completed")))
    assert b"\x1b[" in output_on_a_terminal(["payments", "list"], env)
    assert "\x1b" not in run("payments", "list", env=env).stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_can_complete_commands(shell: str) -> None:
    env = {**os.environ, "_PAYSAGA_COMPLETE": f"{shell}_source"}
    program = Path(sys.executable).with_name("paysaga")
    script = subprocess.run([program], env=env, capture_output=True, text=True, timeout=60)
    assert "paysaga" in script.stdout
    words = {"COMP_WORDS": "paysaga payments re", "COMP_CWORD": "2"}
    env = {**os.environ, "_PAYSAGA_COMPLETE": "bash_complete", **words}
    found = subprocess.run([program], env=env, capture_output=True, text=True, timeout=60)
    assert found.stdout.strip() == "plain,refund"
