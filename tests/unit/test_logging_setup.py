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
