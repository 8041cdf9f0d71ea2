"""The client against a real HTTP server that behaves as badly as a network can."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import simplejson

from application.payment_gateway import (
    FollowUpRequest,
    Outcome,
    PageRequest,
    PaymentGateway,
    Refusal,
    Refused,
    Succeeded,
    Unknown,
)
from domain.event import EventContext, Metadata, acting
from domain.money import money
from interface.paytabs import PayTabsClient, PayTabsConfig

EXAMPLES = Path(__file__).parent / "paytabs_answers"
KEY = "SABCDEFGH1-JKLMNPQRS2-TUVWXYZ345"
TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PAGE = PageRequest(
    cart_id="CART-77-a1",
    amount=money("149.50", "SAR"),
    description="Invoice 77",
    capture=True,
    payment_method="mada",
    client=None,
    return_url="https://pay.example.com/return",
    callback_url="https://pay.example.com/callback",
    page_ttl_minutes=20,
)
REFUND = FollowUpRequest(
    cart_id="CART-77-r1",
    amount=money("40", "SAR"),
    description="Broken cup",
    transaction_ref="TST2630100000104",
    callback_url="https://pay.example.com/callback",
)


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    raw: bytes
    port: int


Behaviour = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Gateway:
    """A server whose answer each test chooses, and what was asked of it."""

    url: str
    behave: Behaviour = field(default=lambda handler: None)
    received: list[Received] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def client(self, **changes: Any) -> PayTabsClient:
        return PayTabsClient(config(**{"base_url": self.url} | changes))

    def answers(self, name: str, status: int = 200, **headers: str) -> None:
        body = (EXAMPLES / f"{name}.json").read_bytes()
        self.behave = lambda handler: send(handler, status, body, **headers)


def config(**changes: Any) -> PayTabsConfig:
    defaults: dict[str, Any] = {
        "profile_id": 90017,
        "server_key": KEY,
        "base_url": "http://127.0.0.1:9",
    }
    return PayTabsConfig(**defaults | changes)


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            body = simplejson.loads(raw, use_decimal=True)
            headers = dict(self.headers)
            state.received.append(Received(self.path, headers, body, raw, self.client_address[1]))
            state.behave(self)

        def log_message(self, format: str, *args: object) -> None:
            """Keeps the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    state = Gateway(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    state.closing.set()
    server.shutdown()
    server.server_close()
    thread.join(5)


def unknown(outcome: Outcome) -> str:
    assert isinstance(outcome, Unknown)
    return outcome.reason


def test_it_is_a_payment_gateway_called_paytabs() -> None:
    gateway: PaymentGateway = PayTabsClient(config())
    assert gateway.name == "paytabs"


def test_a_page_is_asked_for_as_paytabs_wants_it(gateway: Gateway) -> None:
    gateway.answers("page_created")
    outcome = gateway.client().open_page(PAGE)
    assert isinstance(outcome, Succeeded)
    assert outcome.page is not None
    assert outcome.page.transaction_ref == "TST2630100000101"
    (asked,) = gateway.received
    assert asked.path == "/payment/request"
    assert asked.body == {
        "profile_id": 90017,
        "tran_type": "sale",
        "tran_class": "ecom",
        "cart_id": "CART-77-a1",
        "cart_description": "Invoice 77",
        "cart_currency": "SAR",
        "cart_amount": Decimal("149.50"),
        "return": "https://pay.example.com/return",
        "callback": "https://pay.example.com/callback",
        "paypage_ttl": 20,
        "payment_methods": ["mada"],
        "hide_shipping": True,
    }


def test_the_key_goes_raw_into_the_header(gateway: Gateway) -> None:
    gateway.answers("page_created")
    gateway.client().open_page(PAGE)
    headers = gateway.received[0].headers
    assert headers["Authorization"] == KEY
    assert headers["Content-Type"] == "application/json"
    assert "traceparent" not in headers


def test_a_netrc_entry_does_not_replace_the_key(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    gateway.answers("page_created")
    gateway.client().open_page(PAGE)
    assert gateway.received[0].headers["Authorization"] == KEY


def test_the_trace_goes_along_when_there_is_one(gateway: Gateway) -> None:
    gateway.answers("page_created")
    client = gateway.client()
    metadata = Metadata("c-1", trace_id=TRACE_ID, span_id=SPAN_ID)
    with acting(EventContext(metadata, datetime.now(UTC))):
        client.open_page(PAGE)
    client.open_page(PAGE)
    traced, untraced = gateway.received
    assert traced.headers["traceparent"] == f"00-{TRACE_ID}-{SPAN_ID}-01"
    assert "traceparent" not in untraced.headers


@pytest.mark.parametrize(
    "change",
    [
        {"cart_id": ""},
        {"cart_id": "x" * 65},
        {"return_url": "https://pay.example.com/" + "x" * 255},
        {"callback_url": "https://pay.example.com/" + "x" * 255},
    ],
)
def test_a_request_beyond_the_limits_of_the_gateway_is_refused_unsent(
    gateway: Gateway, change: dict[str, Any]
) -> None:
    outcome = gateway.client().open_page(replace(PAGE, **change))
    assert isinstance(outcome, Refused)
    assert (outcome.reason, outcome.code) == (Refusal.INVALID_REQUEST, "not_sent")
    assert gateway.received == []


@pytest.mark.parametrize(
    ("deed", "name", "amount", "cart_id", "previous"),
    [
        ("refund", "refund_done", "40", "CART-77-r1", "TST2630100000104"),
        ("refund", "refund_waiting", "40", "CART-77-r1", "TST2630100000104"),
        ("capture", "capture_done", "100", "CART-77-k1", "TST2630100000105"),
        ("void", "void_done", "149.5", "CART-77-v1", "TST2630100000105"),
        ("void", "void_as_release", "49.5", "CART-77-v1", "TST2630100000105"),
        ("void", "void_refused_on_hold", "149.5", "CART-77-v1", "TST2630100000105"),
    ],
)
def test_a_follow_up_names_the_earlier_transaction_and_the_amount_to_move(
    gateway: Gateway, deed: str, name: str, amount: str, cart_id: str, previous: str
) -> None:
    gateway.answers(name)
    request = FollowUpRequest(cart_id, money(amount, "SAR"), "Broken cup", previous, "")
    outcome = getattr(gateway.client(), deed)(request)
    assert isinstance(outcome, Succeeded)
    assert outcome.reports[0].previous_ref == previous
    (asked,) = gateway.received
    assert asked.path == "/payment/request"
    assert asked.body == {
        "profile_id": 90017,
        "tran_type": deed,
        "tran_class": "ecom",
        "tran_ref": previous,
        "cart_id": cart_id,
        "cart_description": "Broken cup",
        "cart_currency": "SAR",
        "cart_amount": Decimal(amount),
    }


def test_a_follow_up_may_bring_its_own_callback(gateway: Gateway) -> None:
    gateway.answers("refund_done")
    gateway.client().refund(REFUND)
    assert gateway.received[0].body["callback"] == REFUND.callback_url


def test_a_follow_up_beyond_the_limits_is_refused_unsent(gateway: Gateway) -> None:
    request = FollowUpRequest("x" * 65, money("1", "SAR"), "", "T1", "")
    outcome = gateway.client().void(request)
    assert isinstance(outcome, Refused)
    assert gateway.received == []


def test_a_transaction_is_asked_after_by_its_reference(gateway: Gateway) -> None:
    gateway.answers("sale_authorised")
    outcome = gateway.client().query_transaction("TST2630100000104")
    assert isinstance(outcome, Succeeded)
    assert gateway.received[0].path == "/payment/query"
    assert gateway.received[0].body == {"profile_id": 90017, "tran_ref": "TST2630100000104"}


def test_a_cart_is_asked_after_by_its_id(gateway: Gateway) -> None:
    gateway.answers("cart_of_four")
    outcome = gateway.client().query_cart("CART-77-a1")
    assert isinstance(outcome, Succeeded)
    assert len(outcome.reports) == 4
    assert gateway.received[0].body == {"profile_id": 90017, "cart_id": "CART-77-a1"}


def test_a_rate_limit_brings_its_wait(gateway: Gateway) -> None:
    gateway.answers("error_too_many", 429, Retry_After="9")
    outcome = gateway.client().query_cart("CART-77-a1")
    assert isinstance(outcome, Refused)
    assert outcome.retry_after_ms == 9000


def test_a_connection_is_kept_for_the_next_call(gateway: Gateway) -> None:
    gateway.answers("page_created")
    client = gateway.client()
    client.open_page(PAGE)
    client.open_page(PAGE)
    assert len({asked.port for asked in gateway.received}) == 1


def test_each_thread_has_its_own_connection(gateway: Gateway) -> None:
    gateway.answers("page_created")
    client = gateway.client()
    client.open_page(PAGE)
    thread = threading.Thread(target=client.open_page, args=(PAGE,))
    thread.start()
    thread.join(5)
    assert len({asked.port for asked in gateway.received}) == 2


def test_a_closed_client_can_still_be_used(gateway: Gateway) -> None:
    gateway.answers("page_created")
    client = gateway.client()
    client.open_page(PAGE)
    client.close()
    assert isinstance(client.open_page(PAGE), Succeeded)


def test_sessions_may_come_from_outside(gateway: Gateway) -> None:
    made: list[requests.Session] = []

    def factory() -> requests.Session:
        made.append(requests.Session())
        return made[-1]

    gateway.answers("page_created")
    client = PayTabsClient(config(base_url=gateway.url), session_factory=factory)
    client.open_page(PAGE)
    assert isinstance(client.open_page(PAGE), Succeeded)
    assert len(made) == 1


def test_html_instead_of_json_is_unknown(gateway: Gateway) -> None:
    gateway.behave = lambda handler: send(handler, 200, b"<html>", Content_Type="text/html")
    assert "not JSON" in unknown(gateway.client().open_page(PAGE))


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_5xx_is_unknown(gateway: Gateway, status: int) -> None:
    gateway.answers("refund_done", status)
    assert str(status) in unknown(gateway.client().refund(REFUND))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(gateway: Gateway, status: int) -> None:
    gateway.answers("page_created", status, Location=f"{gateway.url}/elsewhere")
    assert str(status) in unknown(gateway.client().open_page(PAGE))
    assert [asked.path for asked in gateway.received] == ["/payment/request"]


def test_a_redirect_to_nonsense_is_unknown_too(gateway: Gateway) -> None:
    gateway.answers("page_created", 302, Location="http://[\xff")
    assert "302" in unknown(gateway.client().open_page(PAGE))


def test_a_reset_connection_is_unknown(gateway: Gateway) -> None:
    gateway.behave = reset
    reason = unknown(gateway.client().refund(REFUND))
    assert reason.startswith("the connection failed before a complete answer came")


def reset(handler: BaseHTTPRequestHandler) -> None:
    linger_nothing = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_nothing)
    handler.rfile.close()
    handler.wfile.close()
    handler.connection.close()


def test_a_connection_closed_without_an_answer_is_unknown(gateway: Gateway) -> None:
    def close(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True

    gateway.behave = close
    reason = unknown(gateway.client().refund(REFUND))
    assert reason.startswith("the connection failed before a complete answer came")


def test_an_answer_cut_short_is_unknown(gateway: Gateway) -> None:
    def cut(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "500")
        handler.end_headers()
        handler.wfile.write(b'{"tran_ref":')
        handler.close_connection = True

    gateway.behave = cut
    reason = unknown(gateway.client().refund(REFUND))
    assert reason.startswith("the connection failed before a complete answer came")


def test_something_that_is_not_http_is_unknown(gateway: Gateway) -> None:
    def babble(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"\x00\x01\x02 hello\r\n\r\n")
        handler.close_connection = True

    gateway.behave = babble
    assert unknown(gateway.client().open_page(PAGE))


def test_a_server_that_never_answers_is_unknown(gateway: Gateway) -> None:
    def hang(handler: BaseHTTPRequestHandler) -> None:
        gateway.closing.wait(10)

    gateway.behave = hang
    reason = unknown(gateway.client(total_timeout_seconds=0.2).refund(REFUND))
    assert reason == "no complete answer within 0.2 s"


@pytest.mark.parametrize(
    "start",
    [b"", b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n"],
    ids=["status line", "headers", "body"],
)
def test_a_server_that_drips_bytes_is_cut_off_wherever_it_drips(
    gateway: Gateway, start: bytes
) -> None:
    noticed = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(start)
        try:
            for _ in range(150):
                handler.wfile.write(b"H")
                gateway.closing.wait(0.02)
        except OSError:
            noticed.set()

    gateway.behave = drip
    reason = unknown(gateway.client(total_timeout_seconds=0.3).refund(REFUND))
    assert reason == "no complete answer within 0.3 s"
    assert noticed.wait(10), "the client hung on until the server had dripped everything"


def test_a_dripping_body_is_cut_off_on_a_foreign_session_too(gateway: Gateway) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for _ in range(1000):
            if gateway.closing.wait(0.02):
                return
            handler.wfile.write(b"1\r\n \r\n")

    gateway.behave = drip
    limits = config(base_url=gateway.url, total_timeout_seconds=0.3)
    client = PayTabsClient(limits, session_factory=requests.Session)
    assert unknown(client.refund(REFUND)) == "no complete answer within 0.3 s"


def test_an_answer_that_is_too_large_is_unknown(gateway: Gateway) -> None:
    gateway.behave = lambda handler: send(handler, 200, b"[" + b" " * 5000 + b"]")
    reason = unknown(gateway.client(answer_bytes_max=4096).query_cart("CART-77-a1"))
    assert reason == "the answer is larger than 4096 bytes"


def test_a_refused_connection_was_not_sent() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        client = PayTabsClient(config(base_url=f"http://127.0.0.1:{port}"))
        assert unknown(client.refund(REFUND)).startswith("not sent: ")


def test_an_unresolved_name_was_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def unresolved(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    client = PayTabsClient(config(base_url="http://gateway.example.com"))
    assert unknown(client.refund(REFUND)).startswith("not sent: ")


def test_a_time_out_is_told_from_other_trouble(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.behave = lambda _handler: gateway.closing.wait(10)
    lost = gateway.client(total_timeout_seconds=0.2).refund(REFUND)
    assert isinstance(lost, Unknown)
    assert lost.is_timeout
    refused = PayTabsClient(config(base_url="http://127.0.0.1:1")).refund(REFUND)
    assert isinstance(refused, Unknown)
    assert not refused.is_timeout


def test_a_connect_timeout_was_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def timed_out(*args: object, **kwargs: object) -> None:
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket.socket, "connect", timed_out)
    assert unknown(PayTabsClient(config()).refund(REFUND)).startswith("not sent: ")


def test_a_failed_tls_handshake_was_not_sent(gateway: Gateway) -> None:
    client = gateway.client(base_url=gateway.url.replace("http:", "https:"))
    assert unknown(client.refund(REFUND)).startswith("not sent: ")
    assert gateway.received == []
