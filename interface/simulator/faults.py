"""Stands in front of the API and spoils calls as asked: slow, refused, garbled or cut off."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING

from interface.simulator.behaviour import Behaviour, CallFault

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_HTML = b"<!doctype html><html><head><title>Error</title></head><body><h1>Oops</h1></body></html>"
_CODES = {400: 2, 401: 1, 409: 4, 429: 5}
_INTERNAL_ERROR = 400
_BODILESS = (204, 304)


class ConnectionDroppedError(Exception):
    """Asks the server to close the TCP connection without answering."""


class Faults:
    """WSGI middleware that applies the behaviour's call faults to API paths only."""

    def __init__(
        self,
        app: WSGIApplication,
        behaviour: Behaviour,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._app = app
        self._behaviour = behaviour
        self._sleep = sleep

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        fault = self._behaviour.take_call(environ["PATH_INFO"])
        if fault is None:
            return self._app(environ, start_response)
        self._sleep(fault.latency_ms / 1000)
        return self._spoil(fault, environ, start_response)

    def _spoil(
        self, fault: CallFault, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        if fault.drop_before:
            raise ConnectionDroppedError
        replaced = fault.status is not None or fault.malformed
        if fault.drop_after or (replaced and fault.perform):
            self._perform(environ)
        if replaced:
            return _replacement(fault, start_response)
        if fault.drop_after:
            raise ConnectionDroppedError
        return self._app(environ, start_response)

    def _perform(self, environ: WSGIEnvironment) -> None:
        answer = self._app(environ, lambda _status, _headers, _error=None: lambda _data: None)
        try:
            for _part in answer:
                continue
        finally:
            close = getattr(answer, "close", None)
            if close:
                close()


def _replacement(fault: CallFault, start_response: StartResponse) -> Iterable[bytes]:
    status = fault.status or HTTPStatus.OK.value
    body = _HTML if fault.malformed else _error_body(status)
    kind = "text/html; charset=utf-8" if fault.malformed else "application/json"
    headers = [("Content-Type", kind)]
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        headers.append(("Retry-After", "1"))
    if status in _BODILESS:
        body = b""
    else:
        headers.append(("Content-Length", str(len(body))))
    start_response(f"{status} {_phrase(status)}", headers)
    return [body]


def _error_body(status: int) -> bytes:
    code = _CODES.get(status, _INTERNAL_ERROR)
    return json.dumps({"code": code, "message": _phrase(status)}).encode()


def _phrase(status: int) -> str:
    known = {item.value for item in HTTPStatus}
    return HTTPStatus(status).phrase if status in known else "Simulated"
