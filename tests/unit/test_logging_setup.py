"""Logs: one line of JSON for each event of ours and of the libraries, never with a secret."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from interface.logging_setup import configure_logging, secrets_of
from interface.settings import Settings, load_settings

SETTINGS = {
    "database_url": "postgresql://paysaga:db-password@db.example.com/paysaga",
    "api_keys": "shop:write:sk_of_the_shop",
    "confirmation_secret": "whsec_bmV3ZXI= whsec_b2xkZXI=",
    "paytabs_profile_id": 1,
    "paytabs_server_key": "SERVERKEY-1",
    "paytabs_region": "SAU",
}
SECRETS = {"db-password", "sk_of_the_shop", "whsec_bmV3ZXI=", "whsec_b2xkZXI=", "SERVERKEY-1"}


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    handlers, level = logging.root.handlers, logging.root.level
    yield
    logging.root.handlers = handlers
    logging.root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def configured(**settings: object) -> Settings:
    loaded = load_settings(**{**SETTINGS, **settings})
    configure_logging(loaded, "worker")
    return loaded


def test_our_events_are_lines_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    configured()
    structlog.get_logger("here").info("payment_seen", payment_id="p-1")
    line = json.loads(capsys.readouterr().err)
    assert line["event"] == "payment_seen"
    assert line["payment_id"] == "p-1"
    assert line["level"] == "info"
    assert line["role"] == "worker"
    assert line["timestamp"].endswith("Z")


def test_lines_of_libraries_have_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    configured()
    logging.getLogger("some.library").warning("retrying in %s s", 5)
    line = json.loads(capsys.readouterr().err)
    assert line["event"] == "retrying in 5 s"
    assert line["logger"] == "some.library"


def test_lines_below_the_level_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configured(log_level="WARNING")
    structlog.get_logger("here").info("not_interesting")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_secrets_are_blotted_out_wherever_they_stand(
    capsys: pytest.CaptureFixture[str], log_format: str
) -> None:
    configured(log_format=log_format)
    for secret in SECRETS:
        structlog.get_logger("here").warning(f"failed with {secret}", detail={"key": secret})
        try:
            raise RuntimeError(f"cannot use {secret}")
        except RuntimeError:
            structlog.get_logger("here").exception("broken")
    written = capsys.readouterr().err
    assert "broken" in written
    assert not [secret for secret in SECRETS if secret in written]


def test_every_secret_of_the_settings_is_known() -> None:
    assert set(secrets_of(load_settings(**SETTINGS))) == SECRETS


PERSONAL = {
    "an API key": "sk_Zm9vYmFyYmF6cXV4",
    "a bearer token": "Authorization: Bearer abc.def",
    "a signing secret": "whsec_c29tZXRoaW5nIGVsc2U=",
    "an address": "somebody.else+shop@mail.example.com",
    "a card": "4111 1111 1111 1111",
}


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("text", PERSONAL.values(), ids=PERSONAL.keys())
def test_what_looks_personal_is_blotted_out_though_no_setting_holds_it(
    capsys: pytest.CaptureFixture[str], log_format: str, text: str
) -> None:
    configured(log_format=log_format)
    log = structlog.get_logger("here")
    log.warning(f"failed with {text}", detail={"seen": [text]})
    logging.getLogger("some.library").warning("got %s", text)
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("request_failed")
    shown = capsys.readouterr().err
    assert text.split()[-1] not in shown
    assert shown.count("(hidden)") >= 4


def test_a_row_that_the_database_quotes_is_blotted_out(capsys: pytest.CaptureFixture[str]) -> None:
    configured()
    said = "violates a constraint\nDETAIL:  Failing row contains (1, Layla, Riyadh)."
    try:
        raise ValueError(said)
    except ValueError:
        structlog.get_logger("here").exception("request_failed")
    line = json.loads(capsys.readouterr().err)
    assert "violates a constraint" in line["exception"]
    assert "Layla" not in line["exception"]


def test_ids_and_times_stay_readable(capsys: pytest.CaptureFixture[str]) -> None:
    configured()
    said = {
        "payment_id": "1bb8f709-3904-4152-93a7-cadb763cec10",
        "url": "http://127.0.0.1:8080/v1/payments",
        "at": "2026-11-23T13:42:45.000419Z",
        "ref": "TST2632787633131",
    }
    structlog.get_logger("here").info("seen", **said)
    line = json.loads(capsys.readouterr().err)
    assert {name: line[name] for name in said} == said
