"""The Python client: what it repeats, what it does not, and what its errors say."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import pytest

from interface.client import (
    ATTEMPTS_MAX,
    REOPENINGS_MAX,
    ApiError,
    Client,
    ServiceUnreachable,
)

PAYMENT = {
    "paymentId": "11111111-1111-4111-8111-111111111111",
    "status": "initiated",
    "amount": 12345678901234567.89,
    "currency": "SAR",
    "description": "Tea",
    **dict.fromkeys(
        ("contractId", "clientInfo", "redirectUrl", "callbackUrl", "transactionRef"), None
    ),
    **dict.fromkeys(("gatewayProvider", "nextAction", "failure", "cancellationReason"), None),
    "paymentMethod": "all",
    "captureMethod": "automatic",
    "metadata": {},
    "amountCaptured": 0,
    "amountRefunded": 0,
    "refunds": [],
    "saga": {"sagaId": "22222222-2222-4222-8222-222222222222", "status": "running"},
    "version": 1,
    "createdAt": "2026-01-01T00:00:00.000001Z",
    "updatedAt": "2026-01-01T00:00:00.000001Z",
    "correlationId": "c-1",
    "addedLater": True,
}
EXACT = json.dumps(PAYMENT).replace(str(PAYMENT["amount"]), "9007199254740993.01").encode()
BUSY = {
    "title": "Busy",
    "detail": "later",
    "code": "database_unavailable",
    "correlationId": "c-2",
    "errors": [{"pointer": "/amount", "detail": "is wrong"}],
}


Answer = tuple[int, Any, dict[str, str]] | bytes | None


@dataclass
class Service:
    """Answers what it is told to: a status with a document, a broken connection for None, or just
    these bytes before the connection breaks."""

    answers: list[Answer]
    url: str = ""
    keys: list[str | None] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)

    def client(self, **more: Any) -> Client:
        return Client(self.url, "secret", sleep=self.slept.append, **more)


@contextmanager
def serving(*answers: Answer) -> Iterator[Service]:
    service = Service(list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            service.keys.append(self.headers["Idempotency-Key"])
            answer = service.answers.pop(0)
            if answer is None:
                self.connection.close()
                return
            if isinstance(answer, bytes):
                self.wfile.write(answer)
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            status, document, headers = answer
            body = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        service.url = f"http://127.0.0.1:{server.server_port}"
        yield service
        server.shutdown()


@pytest.mark.parametrize("failure", [None, (503, BUSY, {}), (500, BUSY, {}), (502, b"<html>", {})])
def test_what_failed_is_sent_again_with_the_same_key(failure: Any) -> None:
    with serving(failure, (201, EXACT, {})) as service, service.client() as client:
        payment = client.create_payment("10.00", "SAR", "Tea")
    assert payment.payment_id == PAYMENT["paymentId"]
    assert len(service.keys) == 2
    assert service.keys[0] == service.keys[1]
    assert UUID(str(service.keys[0]))


CREATED = b"HTTP/1.1 201 Created\r\n"
CUT_OFF = {
    "in the body": CREATED + b'Content-Length: 500\r\n\r\n{"paymentId"',
    "in a chunk": CREATED + b'Transfer-Encoding: chunked\r\n\r\nff\r\n{"paymentId"',
    "between chunks": CREATED + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
    "in an error": b'HTTP/1.1 503 Busy\r\nContent-Length: 500\r\n\r\n{"title"',
}


@pytest.mark.parametrize("cut_off", CUT_OFF.values(), ids=CUT_OFF)
def test_an_answer_that_breaks_off_is_asked_for_again_with_the_same_key(cut_off: bytes) -> None:
    with serving(cut_off, (201, EXACT, {})) as service, service.client() as client:
        assert client.create_payment("10.00", "SAR", "Tea").payment_id == PAYMENT["paymentId"]
    assert len(service.keys) == 2
    assert service.keys[0] == service.keys[1]


@pytest.mark.parametrize("cut_off", CUT_OFF.values(), ids=CUT_OFF)
def test_answers_that_break_off_again_and_again_are_given_up(cut_off: bytes) -> None:
    with (
        serving(*[cut_off] * ATTEMPTS_MAX) as service,
        service.client() as client,
        pytest.raises(ServiceUnreachable, match="cannot be reached"),
    ):
        client.create_payment("10.00", "SAR", "Tea")
    assert len(service.keys) == ATTEMPTS_MAX


@contextmanager
def half_an_answer(then: Callable[[socket.socket], object]) -> Iterator[Client]:
    """A service whose only answer is half sent, and then this is done to its connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(CUT_OFF["in the body"])
                then(connection)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with Client(
            f"http://127.0.0.1:{server.getsockname()[1]}", "sk_some", attempts_max=1
        ) as one:
            yield one
        thread.join()


def test_an_answer_that_stops_half_way_is_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("interface.client.ANSWER_TIMEOUT_SECONDS", 0.2)
    is_over = threading.Event()
    with half_an_answer(lambda _: is_over.wait(60)) as client:
        with pytest.raises(ServiceUnreachable, match="did not answer within"):
            client.payment("p")
        is_over.set()


def test_a_connection_that_is_reset_during_the_answer_is_a_broken_one() -> None:
    at_once = struct.pack("ii", 1, 0)
    with (
        half_an_answer(
            lambda end: end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        ) as client,
        pytest.raises(ServiceUnreachable, match="cannot be reached"),
    ):
        client.payment("p")


@pytest.mark.parametrize("page", [b"<html>proxy</html>", b"", b'{"paymentId": "p', b"[" * 100_000])
def test_a_success_that_is_no_json_is_told_and_not_repeated(page: bytes) -> None:
    with (
        serving((200, page, {})) as service,
        service.client() as client,
        pytest.raises(ApiError, match="HTTP 200: the answer is no JSON of PaySaga") as refusal,
    ):
        client.create_payment("10.00", "SAR", "Tea")
    assert (refusal.value.status, refusal.value.code) == (200, "http_error")
    assert service.slept == []


def test_amounts_come_as_exact_decimals_and_new_members_are_passed_over() -> None:
    with serving((200, EXACT, {})) as service, service.client() as client:
        assert client.payment("p").amount == Decimal("9007199254740993.01")


def test_two_requests_have_two_keys_unless_one_is_given() -> None:
    ok = (201, EXACT, {})
    with serving(ok, ok, ok) as service, service.client() as client:
        client.create_payment("1", "SAR", "Tea")
        client.create_payment("1", "SAR", "Tea")
        client.create_payment("1", "SAR", "Tea", idempotency_key="mine")
    assert len(set(service.keys)) == 3
    assert service.keys[2] == "mine"


@pytest.mark.parametrize("secret", ["", " ", "sk_first\nsk_second", "sk_é", "🎉", "sk_\udcff"])
def test_a_secret_that_cannot_be_sent_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(ValueError, match="an API key is one line of printable") as refusal:
        Client("http://127.0.0.1:9", secret)
    assert "sk_" not in str(refusal.value)


@pytest.mark.parametrize("key", ["", " ", "a\nb", "é", "🎉", "x" * 256])
def test_an_idempotency_key_that_cannot_be_sent_is_refused_and_not_made_up(key: str) -> None:
    with (
        serving() as service,
        service.client() as client,
        pytest.raises(ValueError, match="1 to 255 printable ASCII"),
    ):
        client.create_payment("1", "SAR", "Tea", idempotency_key=key)
    assert service.keys == []


def test_blanks_around_an_idempotency_key_mean_nothing() -> None:
    with serving((201, EXACT, {})) as service, service.client() as client:
        client.create_payment("1", "SAR", "Tea", idempotency_key=" mine ")
    assert service.keys == ["mine"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
def test_a_refusal_is_told_and_not_repeated(status: int) -> None:
    with (
        serving((status, BUSY, {})) as service,
        service.client() as client,
        pytest.raises(ApiError) as refusal,
    ):
        client.cancel_payment("p")
    error = refusal.value
    assert (error.status, error.code, error.correlation_id) == (status, BUSY["code"], "c-2")
    assert error.errors == (("/amount", "is wrong"),)
    assert str(error) == "Busy: later (database_unavailable, correlation id c-2)"
    assert service.slept == []


def test_a_wait_that_is_asked_for_is_waited() -> None:
    busy = (429, BUSY, {"Retry-After": "7"})
    with serving(busy, (200, EXACT, {})) as service, service.client() as client:
        client.payment("p")
    assert service.slept == [7]


def test_a_wait_that_is_too_long_is_left_to_the_caller() -> None:
    with (
        serving((429, BUSY, {"Retry-After": "60"})) as service,
        service.client() as client,
        pytest.raises(ApiError) as refusal,
    ):
        client.payment("p")
    assert refusal.value.retry_after_seconds == 60
    assert service.slept == []


def test_after_the_last_attempt_the_error_is_told() -> None:
    with (
        serving(None, None, None) as service,
        service.client() as client,
        pytest.raises(ServiceUnreachable, match="cannot be reached"),
    ):
        client.payment("p")
    assert len(service.keys) == 3
    assert service.slept == [0.2, 0.4]


def test_whatever_is_no_problem_document_is_told_shortly() -> None:
    with (
        serving((404, b"<html>nginx</html>", {})) as service,
        service.client() as client,
        pytest.raises(ApiError, match="is this its address") as refusal,
    ):
        client.payment("p")
    assert refusal.value.code == "http_error"


def test_pages_are_read_as_they_are_asked_for() -> None:
    first = (200, {"data": [PAYMENT], "nextCursor": "next"}, {})
    last = (200, {"data": [PAYMENT, PAYMENT], "nextCursor": None}, {})
    with serving(first, last) as service, service.client() as client:
        found = client.payments(status="initiated")
        next(found)
        assert len(service.answers) == 1, "the second page was not asked for yet"
        assert len(list(found)) == 2


def message(position: int) -> bytes:
    return b'id: %d\nevent: x\ndata: {"position":%d}\n\n' % (position, position)


class Feed:
    """Serves streams one after the other: what each sends before it breaks off; None: a 503."""

    def __init__(self, *streams: bytes | None) -> None:
        self.asked: list[str] = []
        self.slept: list[float] = []
        pieces, feed = list(streams), self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                feed.asked.append(self.path)
                piece = pieces.pop(0) if pieces else None
                self.send_response(503 if piece is None else 200)
                self.send_header("Content-Type", "text/event-stream; charset=utf-8")
                self.end_headers()
                self.wfile.write(piece or b"{}")

            def log_message(self, format: str, *args: object) -> None:
                """Keeps quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.client = Client(
            f"http://127.0.0.1:{self._server.server_port}", "secret", sleep=self.slept.append
        )

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def test_a_stream_that_breaks_off_goes_on_behind_the_last_event() -> None:
    begin = b"retry: 1000\nid: 7\n\n: alive\n\n"
    feed = Feed(begin, None, message(8) + message(9) + b"id: 10\nda", message(10), None)
    stream = feed.client.stream({"type": "x"})
    assert [json.loads(next(stream))["position"] for _ in range(3)] == [8, 9, 10]
    feed.close()
    begun = "/v1/events/stream?type=x"
    assert feed.asked == [begun, f"{begun}&after=7", f"{begun}&after=7", f"{begun}&after=9"]


def test_a_refusal_of_the_stream_that_breaks_off_is_asked_for_again() -> None:
    with (
        serving(CUT_OFF["in an error"], (403, BUSY, {})) as service,
        service.client() as client,
        pytest.raises(ApiError) as refusal,
    ):
        next(client.stream())
    assert refusal.value.status == 403
    assert service.answers == []


def test_a_page_in_place_of_the_stream_is_told() -> None:
    page = (200, b"<html>proxy</html>", {"Content-Type": "text/html"})
    with (
        serving(page) as service,
        service.client() as client,
        pytest.raises(ApiError, match="HTTP 200: the answer is no JSON of PaySaga"),
    ):
        next(client.stream())


def test_a_stream_is_given_up_after_many_attempts_and_one_that_never_was_after_few() -> None:
    feed = Feed(message(1))
    stream = feed.client.stream(after=0)
    assert json.loads(next(stream)) == {"position": 1}
    with pytest.raises(ApiError):
        next(stream)
    assert len(feed.asked) == 1 + REOPENINGS_MAX
    assert 30 < sum(feed.slept) < 60
    with pytest.raises(ApiError):
        next(feed.client.stream(after=0))
    assert len(feed.asked) == 1 + REOPENINGS_MAX + ATTEMPTS_MAX
    feed.close()
