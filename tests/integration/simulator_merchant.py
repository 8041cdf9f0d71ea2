"""A merchant and a callback receiver for tests that talk to the simulator over real HTTP."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

from interface.simulator import SimulatorConfig, SimulatorServer

KEY = "SABCDEFGH1-JKLMNPQRS2-TUVWXYZ345"
CONFIG = SimulatorConfig(
    profile_id=90001, server_key=KEY, callback_retry_base_seconds=0.01, callback_timeout_seconds=5
)
WAIT_SECONDS = 10
GOOD_CARD = {"card": "4111111111111111", "cvv": "123"}
HELD_CARD = {"card": "4000000000001208", "cvv": "123"}
PENDING_CARD = {"card": "4000000000006009", "cvv": "123"}


@dataclass
class Received:
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


@dataclass
class Receiver:
    """A merchant's callback address; ``answers`` are the next HTTP statuses, then always 200."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    inbox: queue.Queue[Received] = field(default_factory=queue.Queue)

    def next(self) -> Received:
        return self.inbox.get(timeout=WAIT_SECONDS)


@contextmanager
def listening() -> Iterator[Receiver]:
    """A receiver on a port of its own."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.inbox.put(Received(dict(self.headers), body))
            self.send_response(receiver.answers.pop(0) if receiver.answers else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_port}/callback"
    yield receiver
    server.shutdown()
    server.server_close()


class Merchant:
    """Calls the API as a merchant's server does."""

    def __init__(self, server: SimulatorServer, callback: str | None = None) -> None:
        self.server = server
        self.callback = callback
        self.http = requests.Session()
        self.http.headers["Authorization"] = KEY

    def post(self, path: str, body: dict[str, Any]) -> requests.Response:
        body = {"profile_id": 90001} | body
        return self.http.post(self.server.url + path, json=body, timeout=WAIT_SECONDS)

    def order(self, tran_type: str = "sale", **fields: Any) -> dict[str, Any]:
        order = {
            "tran_type": tran_type,
            "tran_class": "ecom",
            "cart_id": "ORD-1001-a1",
            "cart_description": "Order 1001",
            "cart_currency": "SAR",
            "cart_amount": 149.5,
        } | ({"callback": self.callback} if self.callback else {})
        return order | fields

    def request(self, tran_type: str = "sale", **fields: Any) -> requests.Response:
        return self.post("/payment/request", self.order(tran_type, **fields))

    def page(self, tran_type: str = "sale", **fields: Any) -> str:
        answer = self.request(tran_type, **fields)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["tran_ref"])

    def follow(self, tran_type: str, tran_ref: str, amount: object, cart_id: str) -> dict[str, Any]:
        answer = self.request(tran_type, tran_ref=tran_ref, cart_amount=amount, cart_id=cart_id)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def query(self, **fields: Any) -> Any:
        return self.post("/payment/query", fields).json()

    def paid(self, tran_type: str = "sale", **fields: Any) -> str:
        tran_ref = self.page(tran_type, **fields)
        assert self.control(tran_ref, "pay", GOOD_CARD).json()["status"] == "A"
        return tran_ref

    def control(self, tran_ref: str, action: str, body: object = None) -> requests.Response:
        path = f"/_simulator/transactions/{tran_ref}/{action}"
        return self.http.post(self.server.url + path, json=body, timeout=WAIT_SECONDS)

    def get(self, path: str, **query: str) -> requests.Response:
        return self.http.get(
            f"{self.server.url}/_simulator/{path}", params=query, timeout=WAIT_SECONDS
        )

    def behave(self, **wishes: object) -> requests.Response:
        url = self.server.url + "/_simulator/behaviour"
        return self.http.put(url, json=wishes, timeout=WAIT_SECONDS)

    def tries(self, tran_ref: str) -> list[int | None]:
        callbacks = self.get(f"transactions/{tran_ref}").json()["callbacks"]
        return [attempt["status"] for attempt in callbacks]


def status(answer: dict[str, Any]) -> tuple[str, str]:
    result = answer["payment_result"]
    return result["response_status"], result["response_code"]


def until(holds: Any) -> None:
    """Wait until something that happens in the background has happened."""
    pause = threading.Event()
    for _ in range(WAIT_SECONDS * 100):
        if holds():
            return
        pause.wait(0.01)
    raise AssertionError("it did not happen in time")
