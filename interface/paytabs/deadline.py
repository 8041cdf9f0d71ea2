"""Keeps a deadline over a whole HTTP answer, because time-outs of `requests` are per read only.

A server that sends one byte at a time never trips a per-read time-out, neither in the headers nor
in the body. Here every read from the socket gets no more than what is left of the whole call.
"""

import http.client
import io
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import requests.adapters
import urllib3

_deadline: ContextVar[float | None] = ContextVar("paytabs_call_deadline", default=None)


@contextmanager
def deadline_at(moment: float) -> Iterator[None]:
    """Calls made inside end at this moment of `time.monotonic()` (in seconds)."""
    token = _deadline.set(moment)
    try:
        yield
    finally:
        _deadline.reset(token)


class DeadlineAdapter(requests.adapters.HTTPAdapter):
    """The adapter of `requests`, over connections that know the deadline of the call."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Builds the pools; see `requests.adapters.HTTPAdapter`."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """The pools behind a proxy; see `requests.adapters.HTTPAdapter`."""
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


class _DeadlineStream(io.RawIOBase):
    def __init__(self, raw: io.RawIOBase, connection: socket.socket, deadline: float) -> None:
        self._raw = raw
        self._connection = connection
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the call's time is up")
        self._connection.settimeout(left)
        return cast("int | None", self._raw.readinto(buffer))

    def close(self) -> None:
        self._raw.close()
        super().close()


class _DeadlineResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        deadline = _deadline.get()
        if deadline is not None:
            stream = _DeadlineStream(self.fp.detach(), sock, deadline)
            self.fp = io.BufferedReader(stream)


class _HttpConnection(urllib3.connection.HTTPConnection):
    response_class = _DeadlineResponse


class _HttpsConnection(urllib3.connection.HTTPSConnection):
    response_class = _DeadlineResponse


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


_POOLS = {"http": _HttpPool, "https": _HttpsPool}
