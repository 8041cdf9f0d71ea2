"""Confirmations over real HTTP: signed, bounded in time and size."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from application.confirmations import RESPONSE_BODY_LENGTH_MAX, Delivery
from interface.confirmation_sender import TOTAL_TIMEOUT_SECONDS
from tests.integration.sending import (
    BODY,
    ID,
    NEW,
    OLD,
    Talk,
    answering,
    send,
    sender,
    talking,
)
from tests.integration.simulator_merchant import Receiver, listening


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with listening() as receiver:
        yield receiver


def test_a_message_can_be_verified_with_the_public_library(receiver: Receiver) -> None:
    delivery = send(receiver.url)
    got = receiver.next()
    assert delivery == Delivery(200)
    assert got.body == BODY
    assert Webhook(NEW).verify(got.body.decode(), got.headers) == json.loads(BODY)
    assert got.headers["webhook-id"] == ID
    assert got.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("secret", "message_id", "seconds", "body", "signature"),
    [
        (
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1614265330,
            b'{"test": 2432232314}',
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ),
        (
            "whsec_plJ3nmyCDGBKInavdOK15jsl",
            "msg_loFOjxBNrRLzqYUf",
            1731705121,
            b'{"event_type":"ping","data":{"success":true}}',
            "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
        ),
    ],
)
def test_the_published_vectors_of_standard_webhooks_are_signed_as_published(
    receiver: Receiver, secret: str, message_id: str, seconds: int, body: bytes, signature: str
) -> None:
    sent_at = datetime.fromtimestamp(seconds, UTC)
    assert sender(secrets=(secret,)).send(receiver.url, message_id, body, sent_at).is_success
    got = receiver.next()
    assert got.body == body
    assert got.headers["webhook-id"] == message_id
    assert got.headers["webhook-timestamp"] == str(seconds)
    assert got.headers["webhook-signature"] == signature


def test_while_rotating_each_secret_verifies(receiver: Receiver) -> None:
    send(receiver.url, secrets=(NEW, OLD))
    got = receiver.next()
    assert len(got.headers["webhook-signature"].split(" ")) == 2
    for secret in (NEW, OLD):
        assert Webhook(secret).verify(got.body.decode(), got.headers)


def test_a_message_that_was_changed_does_not_verify(receiver: Receiver) -> None:
    send(receiver.url)
    got = receiver.next()
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(got.body.decode() + " ", got.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify(got.body.decode(), got.headers)


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_is_success(receiver: Receiver, status: int) -> None:
    receiver.answers.append(status)
    assert send(receiver.url).is_success


@pytest.mark.parametrize("status", [300, 400, 404, 410, 429, 500, 503])
def test_anything_else_is_none(receiver: Receiver, status: int) -> None:
    receiver.answers.append(status)
    delivery = send(receiver.url)
    assert not delivery.is_success
    assert delivery.status_code == status
    assert delivery.is_gone == (status == 410)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(receiver: Receiver, status: int) -> None:
    with talking(answering(f"{status} Over there\r\nLocation: {receiver.url}")) as url:
        assert send(url) == Delivery(status)
    assert receiver.inbox.empty()


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("120", timedelta(seconds=120)),
        ("0", timedelta(0)),
        ("9" * 400, timedelta(seconds=999_999_999)),
        ("Wed, 21 Oct 2015 07:28:00 GMT", timedelta(0)),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("\xb2", None),
        ("", None),
        ("Wed, 99 Oct 2099 07:28:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 +99999999999", None),
    ],
)
def test_retry_after_is_read_when_it_can_be(value: str, wait: timedelta | None) -> None:
    with talking(answering(f"503 Busy\r\nRetry-After: {value}\r\nContent-Length: 0")) as url:
        assert send(url) == Delivery(503, retry_after=wait)


def test_retry_after_may_be_a_date() -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    text = later.strftime("%a, %d %b %Y %H:%M:%S GMT")
    with talking(answering(f"429 Busy\r\nRetry-After: {text}\r\nContent-Length: 0")) as url:
        wait = send(url).retry_after
    assert wait is not None
    assert timedelta(minutes=59) < wait <= timedelta(hours=1)


def endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"2710\r\n" + b"x" * 10_000 + b"\r\n")


def test_of_the_body_of_an_answer_only_the_beginning_is_read_and_kept() -> None:
    with talking(endless) as url:
        assert send(url) == Delivery(302, response_body="x" * RESPONSE_BODY_LENGTH_MAX)


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (b"", None),
        (b"no such order", "no such order"),
        (b"\xff\x00", "\ufffd\x00"),
        (b"4111111111111111 is no order", "411111######1111 is no order"),
    ],
)
def test_what_an_endpoint_says_is_kept_for_people(body: bytes, kept: str | None) -> None:
    head = f"HTTP/1.1 404 Not Found\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with talking(lambda connection: connection.sendall(head + body)) as url:
        assert send(url).response_body == kept


def test_a_body_that_breaks_off_is_kept_as_far_as_it_came() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nthank"
    with talking(lambda connection: connection.sendall(head)) as url:
        assert send(url) == Delivery(200, response_body="thank")


def trickle(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        connection.sendall(b"x")
        time.sleep(0.05)


def test_a_body_that_trickles_holds_an_attempt_no_longer_than_its_time() -> None:
    began = time.monotonic()
    with talking(trickle) as url:
        delivery = send(url, total_timeout_seconds=0.5)
    assert time.monotonic() - began < 10
    assert delivery.is_success
    assert set(delivery.response_body or "") == {"x"}
    assert len(delivery.response_body or "") < 1000


def test_a_message_has_15_seconds_by_default() -> None:
    assert TOTAL_TIMEOUT_SECONDS == 15.0


def drip(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X-A: b\r\n")
        time.sleep(0.05)


@pytest.mark.parametrize("talk", [lambda connection: connection.recv(1), drip])
def test_a_server_that_never_comes_to_an_end_is_given_up(talk: Talk) -> None:
    with talking(talk) as url:
        delivery = send(url, total_timeout_seconds=0.5)
    assert delivery.status_code is None
    assert delivery.error


@pytest.mark.parametrize(
    "talk",
    [
        lambda connection: connection.sendall(b"rubbish\r\n\r\n"),
        lambda connection: connection.close(),
        answering("200 OK\r\nX-Long: " + "x" * 100_000),
        answering("200 OK\r\n" + "\r\n".join(f"X-{n}: y" for n in range(2000))),
    ],
)
def test_an_answer_that_is_no_http_is_a_failed_attempt(talk: Talk) -> None:
    with talking(talk) as url:
        delivery = send(url)
    assert delivery.status_code is None
    assert delivery.error
    assert len(delivery.error) <= 500


def test_nobody_listening_is_a_failed_attempt() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        assert "refused" in str(send(f"http://127.0.0.1:{port}/").error)
