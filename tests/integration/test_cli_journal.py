"""`paysaga journal`: the proof, the head to keep elsewhere, and the export."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli_kit import run, settings_env
from tests.integration.journal_kit import Books, books


@pytest.fixture
def kept(database_url: str) -> Iterator[Books]:
    with books(database_url) as kept:
        yield kept


@pytest.fixture
def env(database_url: str, tmp_path: Path) -> dict[str, str]:
    return settings_env(tmp_path, database_url=database_url)


def exported(env: dict[str, str], *options: str) -> list[dict[str, Any]]:
    result = run("journal", "export", *options, env=env)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_sound_journal_is_verified_with_the_head_that_was_kept(
    kept: Books, env: dict[str, str]
) -> None:
    head = run("journal", "head", env=env).stdout.strip()
    assert head == str(kept.head())
    result = run("journal", "verify", "--expect", head, env=env)
    assert result.exit_code == 0
    assert result.stdout == f"sound: {len(kept.journal())} entries, head {head}\n"
    assert run("journal", "verify", "--deep", env=env).exit_code == 0


def test_events_that_are_set_aside_are_told_with_the_verdict(
    kept: Books, env: dict[str, str]
) -> None:
    kept.query(
        "INSERT INTO parked_events (parked_id, follower, leader, position, payment_id, topic, "
        "attempts, is_released) VALUES (gen_random_uuid(), 'Journal', 'Payments', 2, "
        "gen_random_uuid(), '', 1, false)"
    )
    assert "without 1 events set aside" in run("journal", "verify", env=env).stdout
    assert json.loads(run("journal", "verify", "--json", env=env).stdout)["setAside"] == 1


def test_the_first_broken_entry_is_named_and_the_command_fails(
    kept: Books, env: dict[str, str]
) -> None:
    kept.query("UPDATE journal SET correlation_id = 'x' WHERE position = 4")
    result = run("journal", "verify", env=env)
    assert result.exit_code == 1
    assert "entry 4: altered" in result.stderr
    document = json.loads(run("journal", "verify", "--json", env=env).stdout)
    assert (document["ok"], document["entries"]) == (False, 3)
    assert document["firstBroken"]["position"] == 4


def test_a_journal_cut_off_after_its_head_was_kept_is_found(
    kept: Books, env: dict[str, str]
) -> None:
    head = run("journal", "head", env=env).stdout.strip()
    kept.query("DELETE FROM journal")
    kept.query("DELETE FROM journal_tracking")
    result = run("journal", "verify", "--expect", head, env=env)
    assert result.exit_code == 1
    assert "entry 1: cut_off" in result.stderr


def test_a_head_that_cannot_be_read_is_wrong_usage(kept: Books, env: dict[str, str]) -> None:
    assert run("journal", "verify", "--expect", "12", env=env).exit_code == 2
    document = json.loads(run("journal", "head", "--json", env=env).stdout)
    assert f"{document['position']}:{document['hash']}" == str(kept.head())


def test_every_entry_is_exported_as_a_line_of_json(kept: Books, env: dict[str, str]) -> None:
    lines = exported(env)
    assert [line["position"] for line in lines] == [row["position"] for row in kept.journal()]
    assert lines[0]["data"]["clientInfo"]["name"] == "Sara Omar"
    assert "status" not in lines[0]


def test_an_export_is_filtered_by_type_payment_and_time(kept: Books, env: dict[str, str]) -> None:
    payment_id = kept.create_payment()
    kept.follow()
    of_payment = exported(env, "--payment", str(payment_id))
    assert {line["aggregateType"] for line in of_payment} == {"Payment", "PaymentSaga"}
    of_type = exported(env, "--type", "payment.cancelled")
    assert [line["type"] for line in of_type] == ["payment.cancelled"]
    moment = of_payment[0]["timestamp"]
    later = exported(env, "--from", moment)
    assert [line["position"] for line in later] == [line["position"] for line in of_payment]
    assert len(exported(env, "--to", moment)) == len(exported(env)) - len(later)
    tomorrow = (datetime.fromisoformat(moment) + timedelta(days=1)).date().isoformat()
    assert exported(env, "--from", tomorrow) == []
    assert run("journal", "export", "--from", "soon", env=env).exit_code == 2


def test_an_unknown_type_is_wrong_usage_and_the_known_ones_are_told(
    kept: Books, env: dict[str, str]
) -> None:
    result = run("journal", "export", "--type", "payment.complete", env=env)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "'payment.complete' is not one of" in result.stderr
    assert "'payment.completed'" in result.stderr


def test_an_export_for_spreadsheets_runs_no_formula(kept: Books, env: dict[str, str]) -> None:
    kept.query("UPDATE journal SET envelope = replace(envelope, '\"test\"', '\"=1+1\"')")
    result = run("journal", "export", "--format", "csv", env=env)
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert len(rows) == len(kept.journal())
    assert rows[0]["type"] == "payment.initiated"
    assert json.loads(rows[0]["data"])["amount"] == 10.0
    assert {row["source"] for row in rows if row["aggregateType"] == "Payment"} == {"'=1+1"}


def test_a_line_for_spreadsheets_has_all_that_a_line_of_json_has(
    kept: Books, env: dict[str, str]
) -> None:
    for name in ("userId", "sessionId", "ipAddress", "userAgent", "traceId", "spanId"):
        change = (f'"{name}":null', f'"{name}":"the {name}"')
        kept.query("UPDATE journal SET envelope = replace(envelope, %s, %s)", *change)
    result = run("journal", "export", "--format", "csv", env=env)
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    for row, line in zip(rows, exported(env), strict=True):
        metadata, data = line.pop("metadata"), line.pop("data")
        told = {name: "" if value is None else str(value) for name, value in line.items()}
        told |= {name: value or "" for name, value in metadata.items()}
        assert {name: text for name, text in row.items() if name != "data"} == told
        assert json.loads(row["data"]) == data


CUT_OFF = "left(envelope, 40)"
NO_TEXT = 'regexp_replace(envelope, \'"description":"[^"]*"\', \'"description":"\\ud800"\')'


@pytest.mark.parametrize(
    ("form", "envelope"),
    [
        *((form, broken) for form in ("jsonl", "csv") for broken in (CUT_OFF, "'[]'", "'{}'")),
        ("jsonl", NO_TEXT),
        ("csv", NO_TEXT),
        ("csv", "replace(envelope, 'traceId', 'trace')"),
    ],
)
def test_an_entry_that_cannot_be_exported_is_named_behind_those_before_it(
    kept: Books, env: dict[str, str], envelope: str, form: str
) -> None:
    kept.query(f"UPDATE journal SET envelope = {envelope} WHERE position = 2")
    result = run("journal", "export", "--format", form, env=env)
    told, advice = result.stderr.splitlines()
    assert result.exit_code == 1
    assert told.startswith("entry 2: its envelope cannot be read: ")
    assert advice == "`paysaga journal verify` names what was altered"
    assert len(result.stdout.splitlines()) == 1 + (form == "csv")


def test_whoever_was_erased_reads_erased_in_an_export(kept: Books, env: dict[str, str]) -> None:
    kept.query("DELETE FROM client_keys")
    assert exported(env)[0]["data"]["clientInfo"] == "erased"
