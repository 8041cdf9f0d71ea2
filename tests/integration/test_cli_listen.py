"""`paysaga listen`: what PaySaga sends is verified by another process with the public package."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from application.confirmations import Delivery
from interface.confirmation_sender import ConfirmationSender
from tests.e2e.house import CONFIRMATION_SECRET, house
from tests.integration.cli_kit import run
from tests.integration.role_process import role_process, wait_until

SECRET = CONFIRMATION_SECRET
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
BODY = '{"type":"payment.completed","aggregateId":"5f0c","note":"سارة\\u001b[2J"}'.encode()


class Listener:
    """A running `paysaga listen`."""

    def __init__(self, log: Path) -> None:
        self._log = log

    @property
    def said(self) -> str:
        return self._log.read_text()

    @property
    def url(self) -> str:
        found = re.search(r"http://\S+", self.said)
        return found.group() if found else ""

    def told(self, *secrets: str, body: bytes = BODY) -> Delivery:
        sender = ConfirmationSender(secrets, allow_private=True)
        return sender.send(self.url, "msg-1", body, datetime.now(UTC))


@contextmanager
def listening(folder: Path, *arguments: str, secrets: str = SECRET) -> Iterator[Listener]:
    env = {"PAYSAGA_CONFIRMATION_SECRET": secrets, "PYTHONUNBUFFERED": "1"}
    with role_process("listen", env, folder, "--port", "0", *arguments):
        listener = Listener(folder / "listen.log")
        wait_until(lambda: bool(listener.url), "it listens")
        yield listener


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    with listening(tmp_path) as listener:
        yield listener


def test_a_message_is_verified_and_told(listener: Listener) -> None:
    assert listener.told(SECRET) == Delivery(200)
    wait_until(lambda: "verified  msg-1  payment.completed  5f0c" in listener.said, "it is told")


def test_what_a_whole_paysaga_tells_is_verified(listener: Listener, database_url: str) -> None:
    with house(database_url) as home:
        created = home.api.create({"Prefer": "respond-async"}, callbackUrl=listener.url).json()
        assert home.api.cancel(created["paymentId"]).status_code == 200
        [event] = [
            event
            for event in home.api.events(created["paymentId"])
            if event["type"] == "payment.cancelled"
        ]
        line = f"verified  {event['id']}  payment.cancelled  {created['paymentId']}"
        wait_until(lambda: line in listener.said, "it is told")


def test_a_message_signed_with_two_secrets_is_verified_with_either(listener: Listener) -> None:
    assert listener.told(OTHER, SECRET).is_success


def test_a_message_with_another_signature_is_refused(listener: Listener) -> None:
    assert listener.told(OTHER).status_code == 401
    wait_until(lambda: "REFUSED   No matching signature found" in listener.said, "it is told")


def test_a_message_that_was_changed_is_refused(listener: Listener) -> None:
    listener.told(SECRET)
    answer = requests.post(listener.url, data=BODY, headers={"webhook-id": "msg-2"}, timeout=10)
    assert answer.status_code == 401
    wait_until(lambda: "Missing required headers" in listener.said, "it is told")


@pytest.mark.parametrize("length", [str(2**40), "9" * 5000], ids=["long", "absurd"])
def test_a_body_that_is_too_long_is_not_read(listener: Listener, length: str) -> None:
    headers = {"Content-Length": length}
    answer = requests.post(listener.url, headers=headers, timeout=10)
    assert answer.status_code == 413


def test_what_is_printed_cannot_steer_the_terminal(tmp_path: Path) -> None:
    with listening(tmp_path, "--body") as listener:
        assert listener.told(SECRET, body=BODY.replace(b"\\u001b", b"\x1b")).is_success
        wait_until(lambda: "\\u001b[2J" in listener.said, "it is told")
        assert "\x1b" not in listener.said


def test_it_can_fail_on_purpose(tmp_path: Path) -> None:
    with listening(tmp_path, "--status", "500") as listener:
        assert listener.told(SECRET) == Delivery(500)


def test_without_a_secret_it_says_where_to_get_one(tmp_path: Path) -> None:
    result = run("listen", "--port", "0", env={"PAYSAGA_DATA_DIR": str(tmp_path)})
    assert result.exit_code == 1
    assert "PAYSAGA_CONFIRMATION_SECRET" in result.output


@pytest.mark.parametrize("secret", ["whsec_é", "whsec_"])
def test_a_secret_that_is_none_is_told(secret: str) -> None:
    result = run("listen", "--port", "0", env={"PAYSAGA_CONFIRMATION_SECRET": secret})
    assert result.exit_code == 1
    assert result.output.startswith("PAYSAGA_CONFIRMATION_SECRET: ")
