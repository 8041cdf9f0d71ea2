"""A small receiver of confirmations that verifies each, for development: `paysaga listen`."""

import json
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks.webhooks import (
    EmptyWebhookSecretError,
    Webhook,
    WebhookVerificationError,
)

HOST = "127.0.0.1"
PATH = "/callback"
BODY_BYTES_MAX = 1_048_576
DIGITS_MAX = 15
REQUEST_SECONDS_MAX = 10
CALLS_MAX = 16


@dataclass(frozen=True)
class Message:
    """What came. `trouble` says why it was refused; None when its signature is right."""

    id: str
    body: bytes
    trouble: str | None

    @property
    def is_verified(self) -> bool:
        """True when one of the secrets has signed it lately."""
        return self.trouble is None

    @property
    def summary(self) -> str:
        """The type of the event and its payment."""
        try:
            event = json.loads(self.body)
            return f"{event['type']}  {event['aggregateId']}"
        except (ValueError, KeyError, TypeError, RecursionError):
            return "no event"


class ConfirmationReceiver:
    """Listens on this machine only. `on_message` hears of every message, one at a time.

    Raises:
        OSError: the port cannot be listened on.
        ValueError: one of the secrets is no Standard Webhooks secret.
    """

    def __init__(
        self,
        secrets: Sequence[str],
        port: int,
        on_message: Callable[[Message], None],
        *,
        status: int = 200,
    ) -> None:
        self._verifiers = list(map(_verifier, secrets))
        self._on_message = on_message
        self._status = status
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(CALLS_MAX)
        self._server = ThreadingHTTPServer((HOST, port), self._handler())

    @property
    def url(self) -> str:
        """The address to give to payments as their `callbackUrl`."""
        return f"http://{HOST}:{self._server.server_port}{PATH}"

    def run(self) -> None:
        """Receives until it is stopped, or interrupted by Ctrl-C."""
        with self._server, suppress(KeyboardInterrupt):
            self._server.serve_forever()

    def stop(self) -> None:
        """Ends `run`, from another thread."""
        self._server.shutdown()

    def receive(self, headers: dict[str, str], body: bytes) -> int:
        """Takes one message; returns the HTTP status to answer with."""
        message = Message(headers.get("webhook-id", "-"), body, self._trouble(headers, body))
        with self._lock:
            self._on_message(message)
        return self._status if message.is_verified else 401

    def _trouble(self, headers: dict[str, str], body: bytes) -> str | None:
        trouble = "no secret to verify with"
        for verifier in self._verifiers:
            try:
                verifier.verify(body, headers, json_parse=False)
            except (WebhookVerificationError, ValueError) as error:
                trouble = str(error)
            else:
                return None
        return trouble

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = REQUEST_SECONDS_MAX

            def do_POST(self) -> None:
                length = self.headers.get("Content-Length", "")
                is_number = length.isascii() and length.isdigit() and len(length) <= DIGITS_MAX
                is_fit = is_number and int(length) <= BODY_BYTES_MAX
                if not is_fit or not receiver._places.acquire(blocking=False):
                    self.close_connection = True
                    self._answer(503 if is_fit else 413)
                    return
                try:
                    body = self.rfile.read(int(length))
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    self._answer(receiver.receive(headers, body))
                except TimeoutError:
                    self.close_connection = True
                finally:
                    receiver._places.release()

            def _answer(self, status: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Keeps quiet: messages are told by `on_message`."""

        return Handler


def _verifier(secret: str) -> Webhook:
    try:
        return Webhook(secret)
    except EmptyWebhookSecretError as error:
        raise ValueError(str(error)) from None
