"""Two hundred listeners on one real web process, whose other callers are served all the same."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import psutil
import pytest

from tests.e2e.fleet import Fleet, Process, fleet_on
from tests.e2e.house import SECRETS, Api, free_port, until

LISTENERS = 200
THREADS = 4
OTHER_THREADS_MAX = 16
"""What a web process has beside those that serve requests."""
HEAR_SECONDS = 60
SMALL_BUFFER = 4096


@pytest.fixture
def fleet(postgres_server: Any) -> Iterator[Fleet]:
    name = f"fleet_{uuid4().hex}"
    url = postgres_server.ensure_database(name)
    with fleet_on(url, web_threads=THREADS) as fleet:
        yield fleet
    postgres_server.drop_database(name)


class Ear:
    """One listener. It speaks HTTP/1.0, so that the stream comes without chunks."""

    def __init__(self, port: int, after: int = 0, buffer: int | None = None) -> None:
        self.ids: list[int] = []
        self.is_greeted = self.has_ended = False
        self._rest = b""
        self.connection = socket.socket()
        if buffer is not None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.connection.connect(("127.0.0.1", port))
        self.connection.sendall(
            b"GET /v1/events/stream HTTP/1.0\r\nHost: x\r\n"
            b"Authorization: Bearer %b\r\nLast-Event-ID: %d\r\n\r\n"
            % (SECRETS["read"].encode(), after)
        )

    def hear(self) -> None:
        """Takes what has come."""
        piece = self.connection.recv(65536)
        self.has_ended = not piece
        *messages, self._rest = (self._rest + piece).split(b"\n\n")
        for message in messages:
            self.is_greeted = self.is_greeted or b"retry: " in message
            if message.startswith(b"id: "):
                self.ids.append(int(message.split(b"\n")[0][4:]))


def hear(ears: list[Ear], is_enough: Callable[[Ear], bool]) -> None:
    """Listens until each ear has heard enough."""
    end = time.monotonic() + HEAR_SECONDS
    with selectors.DefaultSelector() as selector:
        for ear in ears:
            selector.register(ear.connection, selectors.EVENT_READ, ear)
        while selector.get_map():
            assert time.monotonic() < end, "not all have heard everything in time"
            for key in [key for key in selector.get_map().values() if is_enough(key.data)]:
                selector.unregister(key.fileobj)
            for key, _ in selector.select(0.1):
                key.data.hear()


def up_to(end: int) -> Callable[[Ear], bool]:
    """Enough is what reaches so far; more may follow, as a payment has its aftermath."""
    return lambda ear: bool(ear.ids) and ear.ids[-1] >= end


def without_a_gap(ears: list[Ear], first: int) -> bool:
    return all(ear.ids == list(range(first, first + len(ear.ids))) for ear in ears)


def greeted(port: int, after: int = 0) -> list[Ear]:
    ears = [Ear(port, after) for _ in range(LISTENERS)]
    hear(ears, lambda ear: ear.is_greeted)
    return ears


def head(fleet: Fleet) -> int:
    """The newest position, as soon as all that was recorded is in the journal."""
    until(lambda: not fleet.unread())
    return int(fleet.rows("SELECT max(position) FROM journal")[0][0])


def paid(fleet: Fleet, api: Api, count: int) -> int:
    """So many payments are made and paid; the newest position afterwards."""
    for _ in range(count):
        payment = api.created()
        fleet.customer.pay(payment["transactionRef"])
        api.becomes(payment["paymentId"], "completed")
    return head(fleet)


def threads_of(web: Process) -> int:
    [worker] = psutil.Process(web.process.pid).children()
    return int(worker.num_threads())


def test_two_hundred_listen_and_everybody_else_is_served(fleet: Fleet) -> None:
    web = fleet.web()
    fleet.worker()
    paid(fleet, fleet.api, 1)
    ears = greeted(fleet.port)
    end = paid(fleet, fleet.api, 3)
    assert fleet.api.get("/v1/payments").status_code == 200
    assert threads_of(web) <= THREADS + OTHER_THREADS_MAX
    hear(ears, up_to(end))
    assert without_a_gap(ears, 1)


def test_a_restart_loses_nothing_for_those_who_come_back_with_the_last_id(fleet: Fleet) -> None:
    web = fleet.web()
    fleet.worker()
    before = paid(fleet, fleet.api, 1)
    ears = greeted(fleet.port)
    hear(ears, up_to(before))
    assert web.terminate() == 0
    hear(ears, lambda ear: ear.has_ended)
    other = free_port()
    fleet.web(other)
    paid(fleet, Api(f"http://127.0.0.1:{other}"), 1)
    fleet.web()
    again = greeted(fleet.port, before)
    end = paid(fleet, fleet.api, 1)
    hear(again, up_to(end))
    assert without_a_gap(again, before + 1)


def test_a_killed_process_is_replaced_and_listeners_may_come_back_at_once(fleet: Fleet) -> None:
    web = fleet.web()
    fleet.worker()
    ears = greeted(fleet.port)
    [worker] = psutil.Process(web.process.pid).children()
    worker.kill()
    hear(ears, lambda ear: ear.has_ended)
    end = paid(fleet, fleet.api, 1)
    again = greeted(fleet.port, 0)
    hear(again, up_to(end))
    assert without_a_gap(again, 1)


def test_a_slow_reader_holds_nobody_up_and_misses_nothing(fleet: Fleet) -> None:
    fleet.web()
    fleet.worker()
    slow = Ear(fleet.port, buffer=SMALL_BUFFER)
    ears = greeted(fleet.port)
    end = paid(fleet, fleet.api, 12)
    hear(ears, up_to(end))
    assert fleet.api.get("/v1/payments").status_code == 200
    hear([slow], up_to(end))
    assert without_a_gap([slow], 1)
