"""A load client that costs little itself, because it runs on the cores that it measures."""

import json
import socket
from typing import Any

TIMEOUT_SECONDS = 30.0
HEADERS_END = b"\r\n\r\n"


class Wire:
    """One kept-alive HTTP/1.1 connection to 127.0.0.1; not for several threads.

    Args:
        headers: sent with every request.
    """

    def __init__(self, port: int, headers: dict[str, str] | None = None) -> None:
        self._port = port
        self._fixed = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self._socket: socket.socket | None = None

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """The status and the JSON of the answer.

        Raises:
            OSError: nobody answers, or the connection broke twice.
        """
        payload = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n{self._fixed}"
            f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
        )
        parcel = head.encode() + payload
        is_fresh = self._socket is None
        try:
            return self._exchange(parcel)
        except (ConnectionError, ConnectionClosed):
            self.close()
            if is_fresh:
                raise
            return self._exchange(parcel)

    def close(self) -> None:
        """Closes the connection; the next call opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _exchange(self, parcel: bytes) -> tuple[int, Any]:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), TIMEOUT_SECONDS)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(parcel)
        data = self._more(b"")
        while HEADERS_END not in data:
            data = self._more(data)
        head, _, body = data.partition(HEADERS_END)
        lines = head.decode("latin-1").lower().split("\r\n")
        length = next(int(line[15:]) for line in lines if line.startswith("content-length:"))
        while len(body) < length:
            body = self._more(body)
        if "connection: close" in lines:
            self.close()
        return int(lines[0][9:12]), json.loads(body) if body else None

    def _more(self, data: bytes) -> bytes:
        assert self._socket is not None
        part = self._socket.recv(65_536)
        if not part:
            raise ConnectionClosed("the server closed the connection")
        return data + part


class ConnectionClosed(OSError):
    """The server closed the connection, perhaps before it saw the request."""
