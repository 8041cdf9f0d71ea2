"""A whole PaySaga in one process for tests: web on a real port, worker, simulator, merchant."""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psycopg
import requests
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from domain.security_incident import SecurityIncident
from interface.bootstrap import Worker
from interface.paytabs import sign_body
from interface.settings import Settings, load_settings
from interface.simulator import SimulatorConfig, SimulatorServer
from interface.web.app import PaySagaApp, create_app
from interface.web.context import WebContext
from system.definition import PAYSAGA
from tests.integration.simulator_merchant import KEY, Receiver, listening

PORTS = range(15_000, 32_000)
PORTS_TRIED_MAX = 100
PROFILE_ID = 90001
SECRETS = {"admin": "admin-secret", "write": "write-secret", "read": "read-secret"}
API_KEYS = ",".join(f"{role}:{role}:{secret}" for role, secret in SECRETS.items())
CONFIRMATION_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
WAIT_SECONDS = 30
GOOD_CARD = {"card": "4111111111111111", "cvv": "123"}
DECLINED_CARD = {"card": "4000000000000002", "cvv": "123"}
ORDER = {"amount": 149.5, "currency": "SAR", "description": "Tea"}


def free_port() -> int:
    """A port on which nobody listens, from below those that the system gives out by itself: no
    connection that somebody opens meanwhile gets it."""
    for _ in range(PORTS_TRIED_MAX):
        port = PORTS.start + secrets.randbelow(len(PORTS))
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def environment(database_url: str, simulator_url: str, port: int, **more: Any) -> dict[str, Any]:
    """The settings of a house by their names."""
    return {
        "database_url": database_url,
        "port": port,
        "api_keys": API_KEYS,
        "paytabs_profile_id": PROFILE_ID,
        "paytabs_server_key": KEY,
        "paytabs_base_url": simulator_url,
        "confirmation_secret": CONFIRMATION_SECRET,
        "allow_private_callbacks": True,
        "performance_interval_seconds": 0,
        **more,
    }


def simulator_config(**more: Any) -> SimulatorConfig:
    """A simulator that repeats unanswered callbacks at once."""
    quick: dict[str, Any] = {"callback_retry_base_seconds": 0.05, **more}
    return SimulatorConfig(profile_id=PROFILE_ID, server_key=KEY, **quick)


def until(holds: Callable[[], Any], seconds: float = WAIT_SECONDS) -> Any:
    """What `holds` answers as soon as that is true; fails when it never is."""
    pause = threading.Event()
    for _ in range(int(seconds * 50)):
        found = holds()
        if found:
            return found
        pause.wait(0.02)
    raise AssertionError("it did not happen in time")


class Api:
    """PaySaga's API as a merchant's server calls it, with one API key."""

    def __init__(self, url: str, secret: str | None = SECRETS["admin"]) -> None:
        self.url = url
        self.http = requests.Session()
        if secret is not None:
            self.http.headers["Authorization"] = f"Bearer {secret}"

    def request(self, method: str, path: str, **more: Any) -> requests.Response:
        more.setdefault("timeout", WAIT_SECONDS)
        return self.http.request(method, self.url + path, **more)

    def get(self, path: str, **query: Any) -> requests.Response:
        return self.request("GET", path, params=query)

    def create(self, headers: dict[str, str] | None = None, **fields: Any) -> requests.Response:
        return self.request("POST", "/v1/payments", json={**ORDER, **fields}, headers=headers)

    def created(self, headers: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
        answer = self.create(headers, **fields)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def cancel(self, payment_id: str, **more: Any) -> requests.Response:
        return self.request("POST", f"/v1/payments/{payment_id}/cancel", **more)

    def capture(self, payment_id: str, **fields: Any) -> requests.Response:
        return self.request("POST", f"/v1/payments/{payment_id}/capture", json=fields)

    def refund(self, payment_id: str, key: str | None = None, **fields: Any) -> requests.Response:
        headers = {"Idempotency-Key": key} if key else {}
        path = f"/v1/payments/{payment_id}/refunds"
        return self.request("POST", path, json=fields, headers=headers)

    def refunded(self, payment_id: str, **fields: Any) -> dict[str, Any]:
        answer = self.refund(payment_id, **fields)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def operate(self, payment_id: str, action: str) -> requests.Response:
        """An operator's `retry` or `compensate` of the payment's saga."""
        return self.request("POST", f"/v1/payments/{payment_id}/saga/{action}")

    def payment(self, payment_id: str, **query: Any) -> dict[str, Any]:
        answer = self.get(f"/v1/payments/{payment_id}", **query)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def data(self, path: str, **query: Any) -> list[dict[str, Any]]:
        answer = self.get(path, **query)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["data"])

    def events(self, payment_id: str) -> list[dict[str, Any]]:
        return self.data(f"/v1/payments/{payment_id}/events")

    def becomes(self, payment_id: str, status: str) -> dict[str, Any]:
        """The payment when it has that status."""

        def look() -> dict[str, Any] | None:
            payment = self.payment(payment_id)
            return payment if payment["status"] == status else None

        return dict(until(look))

    def saga_becomes(self, payment_id: str, status: str) -> dict[str, Any]:
        """The saga when it has that status."""

        def look() -> dict[str, Any] | None:
            saga = self.get(f"/v1/payments/{payment_id}/saga").json()
            return saga if saga.get("status") == status else None

        return dict(until(look))


class Customer:
    """What customers and the gateway's own people do at the simulator."""

    def __init__(self, url: str) -> None:
        self.url = f"{url}/_simulator"
        self.http = requests.Session()

    def act(self, ref: str, action: str, body: Any = None) -> dict[str, Any]:
        answer = self.http.post(
            f"{self.url}/transactions/{ref}/{action}", json=body, timeout=WAIT_SECONDS
        )
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def pay(self, ref: str, card: dict[str, str] = GOOD_CARD) -> dict[str, Any]:
        return self.act(ref, "pay", card)

    def transactions(self, payment_id: str) -> list[dict[str, Any]]:
        answer = self.http.get(
            f"{self.url}/transactions", params={"cart_prefix": payment_id}, timeout=WAIT_SECONDS
        )
        return list(answer.json()["data"])

    def books(self, payment_id: str) -> dict[str, Any]:
        answer = self.http.get(
            f"{self.url}/books", params={"cart_prefix": payment_id}, timeout=WAIT_SECONDS
        )
        return dict(answer.json())

    def kinds(self, payment_id: str) -> list[tuple[str, str, str]]:
        """Kind, status and amount of the payment's transactions, oldest first."""
        return [
            (str(found["tran_type"]), str(found["status"]), str(found["cart_amount"]))
            for found in reversed(self.transactions(payment_id))
        ]

    def behave_well(self) -> None:
        assert self.http.delete(f"{self.url}/behaviour", timeout=WAIT_SECONDS).ok

    def behave(self, **wishes: Any) -> None:
        answer = self.http.put(f"{self.url}/behaviour", json=wishes, timeout=WAIT_SECONDS)
        assert answer.status_code == 200, answer.text


@dataclass
class House:
    """One running PaySaga. `client` needs no network; `api` and `customer` do."""

    settings: Settings
    app: PaySagaApp
    simulator: SimulatorServer
    merchant: Receiver
    worker: Worker | None

    @property
    def url(self) -> str:
        return self.settings.base_url

    @property
    def api(self) -> Api:
        return Api(self.url)

    @property
    def customer(self) -> Customer:
        return Customer(self.simulator.url)

    @property
    def context(self) -> WebContext:
        context = self.app.extensions["paysaga"]
        assert isinstance(context, WebContext)
        return context

    def recorded(self) -> dict[str, int]:
        """How far each log has come when the followers have taken in what there was: what they
        make of it is recorded at a moment of their own."""
        if self.worker is not None:
            until(lambda: not unread(self.settings.conninfo))
        logs = self.context.applications.by_name
        return {name: log.recorder.max_notification_id() or 0 for name, log in logs.items()}

    def events_of(self, log: str) -> list[Any]:
        """Every event of a log, oldest first."""
        return list(self.context.applications.by_name[log].all())

    def incidents(self) -> list[SecurityIncident.Recorded]:
        """Every security event, oldest first."""
        events = self.events_of("Operations")
        return [event for event in events if isinstance(event, SecurityIncident.Recorded)]

    def notify(self, body: bytes, signature: str | None = None, **headers: str) -> Any:
        """Sends a callback as PayTabs does, signed unless told otherwise."""
        signed = {"Signature": signature if signature is not None else sign_body(KEY, body)}
        return requests.post(
            f"{self.url}/v1/webhooks/paytabs",
            data=body,
            headers={"Content-Type": "application/json", **signed, **headers},
            timeout=WAIT_SECONDS,
        )


class _QuietHandler(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        """Keeps quiet: the access log says nothing that a test asks for."""


@contextmanager
def serving(app: PaySagaApp, port: int) -> Iterator[BaseWSGIServer]:
    """Serves the app on a port of 127.0.0.1."""
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=_QuietHandler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def house(database_url: str, *, with_worker: bool = True, **more: Any) -> Iterator[House]:
    """A house on an empty database; without a worker nothing follows a request."""
    with ExitStack() as stack:
        simulator = stack.enter_context(SimulatorServer(simulator_config()))
        merchant = stack.enter_context(listening())
        settings = load_settings(**environment(database_url, simulator.url, free_port(), **more))
        app = create_app(settings)
        stack.callback(app.extensions["paysaga"].close)
        stack.enter_context(serving(app, settings.port))
        worker = Worker(settings) if with_worker else None
        if worker:
            worker.start()
            stack.callback(worker.stop)
        yield House(settings, app, simulator, merchant, worker)


@contextmanager
def house_on(postgres_server: Any, **more: Any) -> Iterator[House]:
    """A house with a database of its own, dropped afterwards."""
    name = f"house_{uuid4().hex}"
    url = postgres_server.ensure_database(name)
    try:
        with house(url, **more) as built:
            yield built
    finally:
        postgres_server.drop_database(name)


def unread(database_url: str) -> dict[str, int]:
    """How many positions of its leaders' logs each follower has still before it; none: empty."""
    behind: dict[str, int] = {}
    with psycopg.connect(database_url, autocommit=True) as connection:
        for follower, leaders in PAYSAGA.follows.items():
            for leader in leaders:
                row = connection.execute(
                    "SELECT coalesce("
                    f"(SELECT max(notification_id) FROM {leader.lower()}_events), 0)"
                    f" - coalesce((SELECT notification_id FROM {follower.lower()}_tracking"
                    " WHERE application_name = %s), 0)",
                    (leader,),
                ).fetchone()
                if row and row[0]:
                    behind[f"{follower}<{leader}"] = row[0]
    return behind
