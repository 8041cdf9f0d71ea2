"""Confirmations are sent only where allowed, and to whom they are meant for."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
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

from interface import callback_address
from interface.callback_address import is_public
from tests.integration.sending import (
    BODY,
    send,
)
from tests.integration.simulator_merchant import Receiver, listening


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with listening() as receiver:
        yield receiver


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
