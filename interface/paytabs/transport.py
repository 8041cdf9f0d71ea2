"""Carries one request to PayTabs and brings back what came of it, without ever raising for it."""

import http.client
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
import urllib3

from application.payment_gateway import Unknown
from domain.event import trace_parent
from interface.paytabs.config import PayTabsConfig
from interface.paytabs.deadline import DeadlineAdapter, deadline_at

SessionFactory = Callable[[], requests.Session]
_CHUNK_BYTES = 16_384
_REASON_LENGTH_MAX = 300


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, complete."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport:
    """Posts JSON to PayTabs over connections that are kept open, one session per thread."""

    def __init__(
        self, config: PayTabsConfig, session_factory: SessionFactory | None = None
    ) -> None:
        self._config = config
        self._factory = session_factory or _new_session
        self._empty: dict[str, requests.PreparedRequest] = {}
        self._local = threading.local()
        self._sessions: weakref.WeakSet[requests.Session] = weakref.WeakSet()
        self._lock = threading.Lock()

    def post(self, path: str, body: bytes) -> Answer | Unknown:
        """The complete answer to one POST, or why there is none.

        The reason begins with "not sent" only when no byte of the body can have left us.
        """
        parcel = _Parcel(body)
        deadline = time.monotonic() + self._config.total_timeout_seconds
        try:
            with deadline_at(deadline):
                return self._exchange(path, parcel, deadline)
        except _NoAnswer as problem:
            return Unknown(str(problem))
        except _TROUBLE as error:
            cause = _root_cause(error)
            is_timeout = isinstance(cause, TimeoutError | urllib3.exceptions.TimeoutError)
            return Unknown(self._explain(cause, is_timeout, parcel), is_timeout)

    def close(self) -> None:
        """Closes the kept connections of all threads."""
        with self._lock:
            sessions = list(self._sessions)
        for session in sessions:
            session.close()

    def _exchange(self, path: str, parcel: "_Parcel", deadline: float) -> Answer:
        session = self._session()
        response = session.send(
            self._request(path, parcel),
            timeout=(self._connect_seconds, self._config.total_timeout_seconds),
            allow_redirects=False,
            **self._environment(session),
        )
        with response:
            return Answer(response.status_code, response.headers, self._read(response, deadline))

    @property
    def _connect_seconds(self) -> float:
        return min(self._config.connect_timeout_seconds, self._config.total_timeout_seconds)

    def _request(self, path: str, parcel: "_Parcel") -> requests.PreparedRequest:
        """A copy of an empty request that was prepared once: to prepare one costs as much as to
        send it."""
        empty = self._empty.get(path)
        if empty is None:
            empty = self._empty[path] = self._empty_request(path)
        request = empty.copy()
        request.body = parcel  # type: ignore[assignment]
        request.headers["Content-Length"] = str(len(parcel))
        trace = trace_parent()
        if trace:
            request.headers["traceparent"] = trace
        return request

    def _empty_request(self, path: str) -> requests.PreparedRequest:
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": self._config.user_agent,
        }
        url = self._config.base_url.rstrip("/") + path
        key = _ServerKey(self._config.server_key)
        return requests.Request("POST", url, headers=headers, auth=key).prepare()

    def _read(self, response: requests.Response, deadline: float) -> bytes:
        body = bytearray()
        for chunk in response.iter_content(_CHUNK_BYTES):
            body += chunk
            if len(body) > self._config.answer_bytes_max:
                raise _NoAnswer(f"the answer is larger than {self._config.answer_bytes_max} bytes")
            if time.monotonic() >= deadline:
                raise TimeoutError("the call's time is up")
        return bytes(body)

    def _environment(self, session: requests.Session) -> Mapping[str, Any]:
        """The proxies and certificates that the environment names, asked for once: `requests` would
        ask with every call, which costs as much as the call."""
        found: Mapping[str, Any] | None = getattr(self._local, "environment", None)
        if found is None:
            found = self._local.environment = session.merge_environment_settings(
                self._config.base_url, {}, True, None, None
            )
        return found

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = self._factory()
            with self._lock:
                self._sessions.add(session)
        return session

    def _explain(self, cause: BaseException, is_timeout: bool, parcel: "_Parcel") -> str:
        detail = f"{type(cause).__name__}: {cause}"[:_REASON_LENGTH_MAX]
        if not parcel.was_taken:
            return f"not sent: {detail}"
        if is_timeout:
            return f"no complete answer within {self._config.total_timeout_seconds:g} s"
        return f"the connection failed before a complete answer came: {detail}"


class _NoAnswer(Exception):
    """What came cannot be used as an answer."""


_TROUBLE = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    UnicodeError,
)


class _Parcel:
    """A request body that knows whether it was taken to be sent.

    The HTTP library takes the body only after the connection stands and the headers are out, so
    as long as it was not taken the gateway cannot have acted on it.
    """

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.was_taken = False

    def __len__(self) -> int:
        return len(self._body)

    def __iter__(self) -> Iterator[bytes]:
        self.was_taken = True
        yield self._body


class _ServerKey(requests.auth.AuthBase):
    """The raw server key, without "Bearer" (PayTabs, section 1). Given as `auth`, it cannot be
    replaced by an entry of a `.netrc` file."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._key
        return request


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: a redirect is an answer like any other, and its body is not read unbounded."""


def _new_session() -> requests.Session:
    session = _Session()
    session.mount("https://", DeadlineAdapter(pool_connections=1, pool_maxsize=1))
    session.mount("http://", DeadlineAdapter(pool_connections=1, pool_maxsize=1))
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return session


def _root_cause(error: BaseException) -> BaseException:
    """The innermost error that the HTTP library wrapped."""
    for inner in (getattr(error, "reason", None), *error.args, error.__cause__):
        if isinstance(inner, BaseException) and inner is not error:
            return _root_cause(inner)
    return error
