"""Sends confirmations in tests, to receivers that say what a test wants."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from application.confirmations import Delivery
from interface.confirmation_sender import ConfirmationSender

OLD = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NEW = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
BODY = '{"type":"payment.completed","amount":149.50,"name":"سارة"}'.encode()
ID = "msg-1"


def sender(**more: Any) -> ConfirmationSender:
    more = {"allow_private": True, "total_timeout_seconds": 5.0, **more}
    return ConfirmationSender(more.pop("secrets", (NEW,)), **more)


def send(to: str, **more: Any) -> Delivery:
    return sender(**more).send(to, ID, BODY, datetime.now(UTC))


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
