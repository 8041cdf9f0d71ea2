"""Serves the simulator over HTTP/1.1 with keep-alive, one daemon thread per connection.

Werkzeug's own server closes every connection and waits 10 ms after each answer, which would
spoil load tests; this one reads each body in full and answers in one write.
"""

from __future__ import annotations

import io
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from interface.simulator.app import BODY_BYTES_MAX, app_for
from interface.simulator.config import SimulatorConfig
from interface.simulator.desk import Desk, utc_now, with_public_url
from interface.simulator.faults import ConnectionDroppedError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

logger = logging.getLogger(__name__)

CONNECTIONS_MAX = 512
IDLE_TIMEOUT_SECONDS = 60
_POLL_SECONDS = 0.02
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104
_BODILESS = (204, 304)
_LENGTH_DIGITS_MAX = 16


class SimulatorServer:
    """A simulator on its own port; ``port`` 0 takes a free one, kept for every later start.

    Use it as a context manager, or with ``start`` and ``stop``; the books live on while it is
    stopped, so a stop is an outage. Raises OSError when the port is taken.
    """

    def __init__(
        self,
        config: SimulatorConfig,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._host = host
        self._http: _HttpServer | None = _HttpServer((host, port), _Handler)
        self._port = int(self._http.server_address[1])
        self._thread: threading.Thread | None = None
        try:
            self._desk = Desk(with_public_url(config, self.url), clock)
        except BaseException:
            self._http.server_close()
            raise
        self._app = app_for(self._desk)

    @property
    def url(self) -> str:
        """The base address, without a slash at the end."""
        host = _ANY_ADDRESS.get(self._host, self._host)
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"

    def start(self) -> SimulatorServer:
        """Serve in the background; a stopped server starts again on the same port."""
        http = self._bound()
        self._thread = threading.Thread(
            target=http.serve_forever, args=(_POLL_SECONDS,), daemon=True
        )
        self._thread.start()
        return self

    def serve_forever(self) -> None:
        """Serve in this thread until ``stop`` is called from another one."""
        self._bound().serve_forever(_POLL_SECONDS)

    def stop(self) -> None:
        """Close the port and every connection, and stop sending callbacks."""
        http, self._http = self._http, None
        if http is not None:
            http.stop()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._desk.notifier.stop()

    def close(self) -> None:
        """Stop for good and close the data file."""
        self.stop()
        self._desk.close()

    def __enter__(self) -> SimulatorServer:
        return self.start()

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _bound(self) -> _HttpServer:
        if self._http is None:
            self._http = _HttpServer((self._host, self._port), _Handler)
        self._http.app = self._app
        self._http.begun = True
        self._desk.notifier.start()
        return self._http


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    app: WSGIApplication

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self._connections: set[socket.socket] = set()
        self._guard = threading.Lock()
        self.begun = False
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Bind without HTTPServer's look-up of the host's name, which may wait for DNS."""
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            full = len(self._connections) >= CONNECTIONS_MAX
            if not full:
                self._connections.add(request)
        if full:
            logger.warning("connection refused: %s are open already", CONNECTIONS_MAX)
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):
            logger.exception("connection from %s failed", client_address)

    def stop(self) -> None:
        if self.begun:
            self.shutdown()
        self.server_close()
        with self._guard:
            connections = list(self._connections)
        for connection in connections:
            cut(connection)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65_536
    timeout = IDLE_TIMEOUT_SECONDS
    server: _HttpServer

    def _serve(self) -> None:
        objection = self._objection()
        if objection:
            self._refuse(*objection)
            return
        try:
            self._run(self._environ(self.rfile.read(self._length())))
        except ConnectionDroppedError:
            self.close_connection = True
            cut(self.connection)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _serve  # noqa: N815

    def _run(self, environ: WSGIEnvironment) -> None:
        """Run the app and answer; what the app does on closing comes after the answer."""
        begun: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, headers: list[tuple[str, str]], _error: Any = None) -> Any:
            begun.append((status, headers))
            return _no_write

        parts = self.server.app(environ, start_response)
        try:
            body = b"".join(parts)
            self._send(*begun[-1], body)
        finally:
            close = getattr(parts, "close", None)
            if close:
                close()

    def _objection(self) -> tuple[int, str] | None:
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers:
            return 411, "Send the body with a Content-Length"
        if not (length.isascii() and length.isdigit() and len(length) < _LENGTH_DIGITS_MAX):
            return 400, "Content-Length must be a number"
        if self._length() > BODY_BYTES_MAX:
            return 413, f"The body may have {BODY_BYTES_MAX} bytes"
        return None

    def _length(self) -> int:
        return int(self.headers.get("Content-Length", "0"))

    def _refuse(self, status: int, message: str) -> None:
        self.close_connection = True
        body = f'{{"code":2,"message":"{message}"}}'.encode()
        self._send(f"{status} Refused", [("Content-Type", "application/json")], body)

    def _send(self, status: str, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        code, _, phrase = status.partition(" ")
        self.send_response(int(code), phrase)
        for name, value in headers:
            if name.lower() != "content-length":
                self.send_header(name, value)
        if int(code) not in _BODILESS:
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD" and int(code) not in _BODILESS:
            self.wfile.write(body)
        self.wfile.flush()

    def handle_expect_100(self) -> bool:
        going_on = super().handle_expect_100()
        self.wfile.flush()
        return going_on

    def version_string(self) -> str:
        return "PaySagaSimulator"

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Keep quiet: an access log of its own would drown the log of the tests."""

    def _environ(self, body: bytes) -> WSGIEnvironment:
        path, _, query = self.path.partition("?")
        host, port = self.server.server_address[:2]
        environ: WSGIEnvironment = {
            "REQUEST_METHOD": self.command,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "SERVER_NAME": str(host),
            "SERVER_PORT": str(port),
            "SERVER_PROTOCOL": self.request_version,
            "REMOTE_ADDR": self.client_address[0],
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in self.headers.items():
            environ.setdefault("HTTP_" + name.upper().replace("-", "_"), value)
        return environ


def cut(connection: socket.socket) -> None:
    """Close a TCP connection at once, in both directions."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError as gone:
        logger.debug("connection was closed already: %s", gone)


def _no_write(_data: bytes) -> None:
    raise NotImplementedError("WSGI's write() is not offered: yield the body instead")
