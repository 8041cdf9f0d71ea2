"""Confirmations over real HTTP: signed, bounded in time and size, and sent only where allowed."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from application.confirmations import RESPONSE_BODY_LENGTH_MAX, Delivery
from interface import callback_address
from interface.callback_address import is_public
from interface.confirmation_sender import TOTAL_TIMEOUT_SECONDS, ConfirmationSender
from tests.integration.simulator_merchant import Receiver, listening

OLD = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NEW = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
BODY = '{"type":"payment.completed","amount":149.50,"name":"سارة"}'.encode()
ID = "msg-1"


def sender(**more: Any) -> ConfirmationSender:
    more = {"allow_private": True, "total_timeout_seconds": 5.0, **more}
    return ConfirmationSender(more.pop("secrets", (NEW,)), **more)


def send(to: str, **more: Any) -> Delivery:
    return sender(**more).send(to, ID, BODY, datetime.now(UTC))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with listening() as receiver:
        yield receiver


Talk = Callable[[socket.socket], None]


@contextmanager
def talking(talk: Talk) -> Iterator[str]:
    """A server that says on each connection what `talk` says, after the request's headers."""
    listener = socket.create_server(("127.0.0.1", 0))
    stopping = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65536)
                talk(connection)
            except OSError:
                stopping.is_set()

    def accept() -> None:
        while not stopping.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/callback"
    stopping.set()
    listener.close()


def answering(head: str) -> Talk:
    return lambda connection: connection.sendall(f"HTTP/1.1 {head}\r\n\r\n".encode("latin-1"))


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
    [(b"", None), (b"no such order", "no such order"), (b"\xff\x00", "\ufffd\x00")],
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


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0",
        "0.0.0.0",
        "localhost",
        "LOCALHOST",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.2.1",
        "224.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:10.0.0.1]",
        "[fe80::1]",
        "[fc00::1]",
        "[ff02::1]",
        "[2002:7f00:1::]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b::a00:1]",
        "[::127.0.0.1]",
        "[::ffff:0:127.0.0.1]",
        "[64:ff9b:1::7f00:1]",
        "[fec0::1]",
        "[2001:0:7f00:1::]",
        "[2001:db8::1]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "198.18.0.1",
        "240.0.0.1",
    ],
)
def test_private_addresses_are_refused(receiver: Receiver, host: str) -> None:
    port = receiver.url.rsplit(":", 1)[1].split("/")[0]
    delivery = send(f"http://{host}:{port}/callback", allow_private=False)
    assert delivery.status_code is None
    assert "is a private address" in str(delivery.error)
    assert receiver.inbox.empty()


@pytest.mark.parametrize("port", [1, 22, 25, 3306, 5432, 6379, 8081, 11211, 65535])
def test_at_public_addresses_only_the_ports_of_web_servers_are_called(
    monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    resolving(monkeypatch, [["8.8.8.8"]])
    delivery = send(f"http://shop.example.com:{port}/", allow_private=False)
    assert f"the port {port} is not called" in str(delivery.error)


def test_a_name_server_that_does_not_answer_holds_an_attempt_no_longer_than_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered = threading.Event()
    monkeypatch.setattr(
        callback_address.socket, "getaddrinfo", lambda *_, **__: answered.wait(30) and []
    )
    delivery = send("http://shop.example.com/", total_timeout_seconds=0.2)
    answered.set()
    assert "could not be looked up in time" in str(delivery.error)


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8"])
def test_public_addresses_are_not_private(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://shop.example.com/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_x",
        "//shop.example.com",
        "http://",
        "",
        "http://user:password@127.0.0.1/",
        "http://user@127.0.0.1/",
        "http://@127.0.0.1/",
        "http://:@127.0.0.1/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:x/",
        "http://[::1",
        f"http://{'x' * 64}.example.com/",
        "http://a..example.com/",
        "http://xn--\xfc.example.com/",
    ],
)
def test_an_address_that_is_none_is_a_failed_attempt(url: str) -> None:
    delivery = send(url)
    assert delivery.status_code is None
    assert delivery.error


def test_a_name_with_one_private_address_is_refused(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, [["8.8.8.8", "127.0.0.1"]])
    assert "private" in str(send("http://shop.example.com/", allow_private=False).error)


def resolving(monkeypatch: pytest.MonkeyPatch, answers: list[list[str]]) -> list[str]:
    """Lets names resolve to these addresses, one answer after another; returns who was asked."""
    asked: list[str] = []

    def look_up(name: str, *_: Any, **__: Any) -> list[Any]:
        asked.append(name)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, 0)) for a in answers[len(asked) - 1]
        ]

    monkeypatch.setattr(callback_address.socket, "getaddrinfo", look_up)
    return asked


def test_the_address_that_was_checked_is_the_one_connected_to(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected: list[Any] = []
    asked: list[str] = []
    real = socket.getaddrinfo

    def look_up(host: str, *rest: Any, **more: Any) -> Any:
        if host.replace(".", "").isdigit():
            return real(host, *rest, **more)
        asked.append(host)
        address = "8.8.8.8" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))]

    def connect(self: socket.socket, address: Any) -> None:
        connected.append(address)
        raise ConnectionRefusedError("no network in tests")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(socket.socket, "connect", connect)
    delivery = send("http://rebind.example.com:8080/", allow_private=False)
    assert delivery.status_code is None
    assert asked == ["rebind.example.com"]
    assert connected == [("8.8.8.8", 8080)]


def test_the_host_header_names_the_merchant_not_the_address(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(receiver.url.rsplit(":", 1)[1].split("/")[0])
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **more: real(
            "127.0.0.1" if host == "shop.example.com" else host, *rest, **more
        ),
    )
    assert send(f"http://shop.example.com:{port}/callback?x=a%20b#top").is_success
    assert receiver.next().headers["Host"] == f"shop.example.com:{port}"


def test_the_next_address_is_tried_when_nobody_listens_at_the_first(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(receiver.url.rsplit(":", 1)[1].split("/")[0])
    real = socket.getaddrinfo
    both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, 0)) for a in ("127.0.0.2", "127.0.0.1")]
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **more: (
            both if host == "shop.example.com" else real(host, *rest, **more)
        ),
    )
    assert send(f"http://shop.example.com:{port}/callback").is_success


def test_the_environment_does_not_lead_messages_elsewhere(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert send(receiver.url).is_success
    assert "Authorization" not in receiver.next().headers


# TLS


def certificate_for(name: str, folder: Path) -> Path:
    """A file with a fresh self-signed certificate for the name and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


@contextmanager
def secure_server(certificate: Path) -> Iterator[tuple[int, list[str | None]]]:
    """A TLS server that answers 200 and notes which server name it was asked for."""
    names: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(connection, server_side=True) as secure:
                    received = b""
                    while not received.endswith(BODY) and (piece := secure.recv(65536)):
                        received += piece
                    secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            except OSError:
                connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1], names
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.mark.parametrize(
    ("certified", "is_trusted"), [("shop.example.com", True), ("other.example.com", False)]
)
def test_the_certificate_must_be_the_merchants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certified: str, is_trusted: bool
) -> None:
    certificate = certificate_for(certified, tmp_path)
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **more: real(
            "127.0.0.1" if host == "shop.example.com" else host, *rest, **more
        ),
    )
    with secure_server(certificate) as (port, names):
        url = f"https://shop.example.com:{port}/callback"
        delivery = send(url, ca_bundle=str(certificate))
        assert delivery.is_success == is_trusted, delivery
        assert names == ["shop.example.com"]
        assert not send(url).is_success
