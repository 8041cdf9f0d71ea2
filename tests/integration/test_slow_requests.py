"""Clients that send their requests drop by drop do not keep the threads of the web role."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from interface.roles.patience import Patience
from tests.e2e.house import free_port
from tests.integration.cli_kit import settings_env
from tests.integration.role_process import WAIT_SECONDS, answers, wait_until

IMPATIENT_WEB_ROLE = (
    "import interface.roles.patience as patience\n"
    "patience.REQUEST_SECONDS_MAX = 1.0\n"
    "patience.LOOK_EVERY_SECONDS = 0.1\n"
    "from interface.cli import main\n"
    "import sys\n"
    "sys.argv = ['paysaga', 'web']\n"
    "main()\n"
)
HEAD = (
    b"POST /v1/webhooks/paytabs HTTP/1.1\r\nHost: x\r\nSignature: x\r\nContent-Length: 100000\r\n"
)


class Stopwatch:
    """A clock that stands still until it is moved on."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_reading_ends_when_the_time_is_up_and_writing_does_not() -> None:
    stopwatch, (ours, theirs) = Stopwatch(), socket.socketpair()
    patience = Patience(10, stopwatch)
    with ours, theirs, patience.reading(ours):
        theirs.sendall(b"a")
        stopwatch.seconds = 9.9
        patience.end_overdue()
        assert ours.recv(1) == b"a"
        stopwatch.seconds = 10
        patience.end_overdue()
        patience.end_overdue()
        ours.settimeout(WAIT_SECONDS)
        assert ours.recv(1) == b""
        ours.sendall(b"b")
        assert theirs.recv(1) == b"b"


def test_a_request_that_is_over_is_left_alone() -> None:
    stopwatch, (ours, theirs) = Stopwatch(), socket.socketpair()
    patience = Patience(10, stopwatch)
    with ours, theirs:
        with patience.reading(ours):
            pass
        stopwatch.seconds = 100
        patience.end_overdue()
        theirs.sendall(b"a")
        assert ours.recv(1) == b"a"


def test_a_connection_that_is_closed_already_does_no_harm() -> None:
    stopwatch, (ours, theirs) = Stopwatch(), socket.socketpair()
    patience = Patience(10, stopwatch)
    with theirs, patience.reading(ours):
        ours.close()
        stopwatch.seconds = 10
        patience.end_overdue()


@pytest.fixture
def port(database_url: str, tmp_path: Path) -> Iterator[int]:
    """The port of a web role of one thread that reads a request for one second."""
    port = free_port()
    env = settings_env(tmp_path, database_url=database_url, port=port, web_workers=1, web_threads=1)
    process = subprocess.Popen([sys.executable, "-c", IMPATIENT_WEB_ROLE], env={**env})
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/healthz"), "the web role answers")
        yield port
    finally:
        process.terminate()
        process.wait(WAIT_SECONDS)


@pytest.mark.parametrize("head", [HEAD + b"\r\n", HEAD])
def test_a_client_that_sends_drop_by_drop_is_sent_away(port: int, head: bytes) -> None:
    """In the body, and in the headers before it; the only thread serves others afterwards."""
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECONDS) as slow:
        slow.sendall(head)
        is_over = threading.Event()

        def drip() -> None:
            try:
                while not is_over.wait(0.2):
                    slow.sendall(b"X")
            except OSError:
                return

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            heard = slow.recv(4096)
        except ConnectionResetError:
            heard = b""
        is_over.set()
        dripping.join()
    answer = b"HTTP/1.1 400" if head.endswith(b"\r\n\r\n") else b""
    assert heard.startswith(answer)
    assert b"HTTP/1.1 2" not in heard
    wait_until(lambda: answers(f"http://127.0.0.1:{port}/healthz"), "others are served")
