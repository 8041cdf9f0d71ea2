"""How long healthy merchants wait for their confirmations while a third of all receivers is dead.

Run `python -m tests.benchmarks.bench_confirmations --messages 1000`. So many confirmations are due
at one moment, for thirty receivers: of the ten dead ones half refuse the connection and half take
it and never answer. Shown is when the healthy ones had been told, with nobody dead, and with a
third dead, guarded (a breaker and a share of the places for each host) and not.
"""

import argparse
import multiprocessing
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from uuid import uuid4

from application.circuit_breaker import CircuitBreakerConfig
from application.confirmations import MerchantNotifier
from application.payments import NewPayment
from domain.money import money
from interface.clock import SystemClock
from interface.confirmation_sender import ConfirmationSender
from interface.guarded_merchants import GuardedMerchants
from interface.json_text import write_json
from system.agenda_store import PostgresAgendaStore
from system.applications import LOG_NAMES, Applications
from system.circuits import Circuits
from system.dispatcher import Dispatcher
from system.following import Following
from system.handlers import ConfirmationHandler
from system.listener import Listener
from system.persistence.postgres import PostgresPersistence
from system.work_item import WorkKind
from tests.benchmarks.kit import durable_postgres, percentile, table
from tests.integration.production_kit import applications_on, context

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
RECEIVERS = 30
DEAD = 10
THREADS = 32
PATIENCE_SECONDS = 300.0


def serve_healthy(count: int, pipe: Connection) -> None:
    """A process of receivers. Sends their ports; for everything sent to it the arrivals so far."""
    arrivals: list[tuple[str, float]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            arrivals.append((self.headers["webhook-id"], time.time()))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Keeps quiet."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 256

    servers = [Server(("127.0.0.1", 0), Handler) for _ in range(count)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    pipe.send([server.server_port for server in servers])
    while pipe.recv():
        pipe.send(list(arrivals))


@contextmanager
def healthy(count: int) -> Iterator[tuple[list[int], Connection]]:
    """The ports of healthy receivers, and the pipe to ask them by."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=serve_healthy, args=(count, theirs), daemon=True
    )
    process.start()
    try:
        yield ours.recv(), ours
    finally:
        ours.send(None)
        process.join(10)


@contextmanager
def dead(count: int) -> Iterator[list[int]]:
    """Ports of which every other one refuses connections; the rest take them and say nothing."""
    with ExitStack() as stack:
        ports = []
        for number in range(count):
            listener = socket.create_server(("127.0.0.1", 0), backlog=512)
            ports.append(listener.getsockname()[1])
            if number % 2:
                listener.close()
            else:
                stack.callback(listener.close)
        yield ports


class Guards:
    """What keeps the breakers in step, for the length of a run."""

    def __init__(self, applications: Applications, url: str) -> None:
        self.listener = Listener(url)
        self.circuits = Circuits(applications.operations, self.listener, "bench")

    def around(self, notifier: MerchantNotifier) -> MerchantNotifier:
        """The notifier with a breaker and a share of the places for each host."""
        return GuardedMerchants(
            notifier, lambda name: CircuitBreakerConfig(name=name), self.circuits, places=THREADS
        )


def made_due(applications: Applications, ports: Sequence[int], messages: int) -> set[str]:
    """Puts the confirmations of cancelled payments on the agenda; returns the events' ids."""
    for number in range(messages):
        with context():
            url = f"http://127.0.0.1:{ports[number % len(ports)]}/callback"
            new = NewPayment(money("10.00", "SAR"), "Tea", callback_url=url)
            payment, _ = applications.payments.initiate(new)
            applications.payments.cancel(payment.id, "bench")
    for follower, leader in (
        (applications.confirmations, applications.payments),
        (applications.agenda, applications.confirmations),
    ):
        while Following(follower, leader).advance():
            continue
    return {str(event.event_id) for event in applications.payments.all()}


def seconds_to_healthy(
    url: str,
    ports: Sequence[int],
    pipe: Connection,
    *,
    messages: int,
    expected: int,
    is_guarded: bool,
) -> list[float]:
    """How many seconds after all fell due each of the `expected` healthy confirmations had
    arrived, sorted."""
    persistence = PostgresPersistence(url, 24)
    persistence.prepare(LOG_NAMES)
    applications = applications_on(persistence)
    ids = made_due(applications, ports, messages)
    sender: MerchantNotifier = ConfirmationSender([SECRET], allow_private=True)
    guards = Guards(applications, url)
    notifier = guards.around(sender) if is_guarded else sender
    dispatcher = Dispatcher(
        PostgresAgendaStore(persistence),
        {WorkKind.CONFIRMATION: ConfirmationHandler(applications, notifier, write_json)},
        SystemClock(),
        threads={WorkKind.CONFIRMATION: THREADS},
        worker="bench",
    )
    guards.listener.start()
    guards.circuits.start()
    began = time.time()
    dispatcher.start()
    arrived: dict[str, float] = {}
    while len(arrived) < expected and time.time() - began < PATIENCE_SECONDS:
        time.sleep(0.25)
        pipe.send("more")
        arrived = {id: moment for id, moment in reversed(pipe.recv()) if id in ids}
    dispatcher.stop()
    guards.circuits.stop()
    guards.listener.stop()
    persistence.close()
    return sorted(moment - began for moment in arrived.values())


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=300)
    messages = parser.parse_args(arguments).messages
    per_receiver = messages // RECEIVERS
    told = per_receiver * (RECEIVERS - DEAD)
    rows = []
    with (
        healthy(RECEIVERS - DEAD) as (alive, pipe),
        dead(DEAD) as gone,
        durable_postgres() as server,
    ):
        for name, ports, guarded in (
            ("nobody dead", alive, True),
            ("a third dead, guarded", [*alive, *gone], True),
            ("a third dead, not guarded", [*alive, *gone], False),
        ):
            url = server.ensure_database(f"bench_{uuid4().hex}")
            seconds = seconds_to_healthy(
                url,
                ports,
                pipe,
                messages=per_receiver * len(ports),
                expected=told,
                is_guarded=guarded,
            )
            shown = [percentile(seconds, 0.5), percentile(seconds, 0.99), seconds[-1]]
            rows.append([name, len(seconds), *shown])
    columns = ["receivers", "healthy told", "half told after, s", "99 % after, s", "all after, s"]
    table(f"{messages} confirmations due at once, {THREADS} threads", columns, rows)


if __name__ == "__main__":
    main()
