"""PaySaga's API for Python programs: typed, exact, and safe to repeat.

Every request that changes something carries an Idempotency-Key, made up when none is given, so
that it can be sent again after a broken connection and still happens once (contract 3).
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit
from uuid import UUID, uuid4

import requests
import urllib3.exceptions
from requests.auth import AuthBase

from interface.json_text import read_json, write_json
from interface.web.answers import (
    Answer,
    EventAnswer,
    EventList,
    PaymentAnswer,
    PaymentList,
    RefundAnswer,
    SagaAnswer,
)
from interface.web.journal_answers import EntryAnswer
from interface.web.patterns import IDEMPOTENCY_KEY

T = TypeVar("T", bound=Answer)
PaymentId = UUID | str

CONNECT_TIMEOUT_SECONDS = 5.0
ANSWER_TIMEOUT_SECONDS = 75.0
"""Longer than the longest CREATE_WAIT_MS."""
REOPENINGS_MAX = 10
"""How often a stream that was once open is tried to be opened again, over some 40 s."""
SILENCE_SECONDS_MAX = 30.0
"""A stream says at least every 10 s that it lives."""
ANSWER_BYTES_MAX = 16_777_216
ATTEMPTS_MAX = 3
DELAY_SECONDS = 0.2
DELAY_SECONDS_MAX = 10.0
"""A service that asks for a longer wait is not asked again: the error says for how long."""
REPEATED_STATUSES = frozenset({429, 500, 502, 503, 504})
PAGE_SIZE_MAX = 100
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
SECRET = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)
"""What a broken connection raises; urllib3's own come while an answer is read as it is."""


@dataclass
class ApiError(Exception):
    """The service refused or failed. `code` is stable (`http_error` where no problem document
    came, such as a proxy's page, even with status 200), `errors` says what is wrong with which
    field, `correlation_id` finds the request in logs and events, and `retry_after_seconds` says
    when to ask again."""

    status: int
    code: str
    title: str
    detail: str
    correlation_id: str | None
    errors: tuple[tuple[str, str], ...] = ()
    retry_after_seconds: int | None = None

    def __str__(self) -> str:
        place = f", correlation id {self.correlation_id}" if self.correlation_id else ""
        return f"{self.title}: {self.detail} ({self.code}{place})"


class ServiceUnreachable(Exception):
    """Nobody answered, or not in time. A request with an Idempotency-Key may be sent again."""


class _Bearer(AuthBase):
    """The API key. As an `auth` object, or else requests would prefer what is in ~/.netrc."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._secret}"
        return request


class Client:
    """The HTTP API with one API key. Use it as a context manager, in one thread.

    Args:
        url: the base address, such as https://pay.example.com.
        secret: the secret of an API key.
        attempts_max: how often a request is sent at the most.
        sleep: waits so many seconds between two attempts.

    Raises:
        ValueError: the secret is empty, or cannot be sent; it is not shown.
    """

    def __init__(
        self,
        url: str,
        secret: str,
        *,
        attempts_max: int = ATTEMPTS_MAX,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not SECRET.fullmatch(secret):
            raise ValueError("an API key is one line of printable ASCII characters")
        self.url = url.rstrip("/")
        self._attempts_max = attempts_max
        self._sleep = sleep
        self._session = requests.Session()
        self._session.auth = _Bearer(secret)
        self._session.trust_env = urlsplit(url).hostname not in LOOPBACK

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_error: object) -> None:
        self._session.close()

    def create_payment(
        self,
        amount: Decimal | str,
        currency: str,
        description: str,
        *,
        idempotency_key: str | None = None,
        wait: bool = True,
        **fields: Any,
    ) -> PaymentAnswer:
        """Creates a payment; `fields` are further members of the body under their names in the
        API (`callbackUrl`, …). Without `wait` it does not wait for the hosted page.

        Raises:
            ApiError, ServiceUnreachable: see there; so for every method.
            ValueError: see `checked_idempotency_key`; so for every method that takes one.
        """
        body = {"amount": amount, "currency": currency, "description": description, **fields}
        prefer = None if wait else "respond-async"
        answer = self.post("/v1/payments", body, idempotency_key=idempotency_key, prefer=prefer)
        return _read(PaymentAnswer, answer)

    def payment(
        self, payment_id: PaymentId, *, version: int | None = None, as_of: str | None = None
    ) -> PaymentAnswer:
        """A payment, as it is or as it was at a version or a time (RFC 3339)."""
        query = given({"version": version, "asOf": as_of})
        return _read(PaymentAnswer, self.get(path_of(payment_id), query))

    def payments(self, **filters: Any) -> Iterator[PaymentAnswer]:
        """Every payment that the filters leave (`status`, `contractId`, `q`, …), newest first,
        read page by page as they are asked for."""
        query = {"limit": PAGE_SIZE_MAX, **filters}
        while True:
            page = _read(PaymentList, self.get("/v1/payments", query))
            yield from page.data
            if page.next_cursor is None:
                return
            query["cursor"] = page.next_cursor

    def cancel_payment(
        self,
        payment_id: PaymentId,
        reason: str | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> PaymentAnswer:
        """Cancels a payment."""
        path, body = path_of(payment_id, "cancel"), given({"reason": reason})
        return _read(PaymentAnswer, self.post(path, body, idempotency_key=idempotency_key))

    def capture_payment(
        self,
        payment_id: PaymentId,
        amount: Decimal | str | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> PaymentAnswer:
        """Captures authorized money, all of it unless an amount is given."""
        path, body = path_of(payment_id, "capture"), given({"amount": amount})
        return _read(PaymentAnswer, self.post(path, body, idempotency_key=idempotency_key))

    def refund_payment(
        self,
        payment_id: PaymentId,
        amount: Decimal | str | None = None,
        reason: str | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> RefundAnswer:
        """Gives money back, all that is left unless an amount is given."""
        path = path_of(payment_id, "refunds")
        body = given({"amount": amount, "reason": reason})
        return _read(RefundAnswer, self.post(path, body, idempotency_key=idempotency_key))

    def saga(self, payment_id: PaymentId) -> SagaAnswer:
        """The saga of a payment."""
        return _read(SagaAnswer, self.get(path_of(payment_id, "saga")))

    def events(self, payment_id: PaymentId) -> list[EventAnswer]:
        """What happened to a payment, oldest first."""
        found: list[EventAnswer] = []
        query: dict[str, Any] = {"limit": PAGE_SIZE_MAX}
        while True:
            page = _read(EventList, self.get(path_of(payment_id, "events"), query))
            found += page.data
            if page.next_cursor is None:
                return found
            query["cursor"] = page.next_cursor

    def listen(self, *, after: int | None = None, **filters: Any) -> Iterator[EntryAnswer]:
        """Events of all logs as they come, without end: see `stream`. `filters` are those of the
        API (`type`, `aggregateId`, `correlationId`)."""
        for event in self.stream(filters, after=after):
            yield _read(EntryAnswer, event)

    def stream(
        self, query: Mapping[str, Any] | None = None, *, after: int | None = None
    ) -> Iterator[bytes]:
        """The JSON of each event behind a position, or from now on. A stream that ends or breaks
        off is opened again where it was, with patience, so that none is missed."""
        reached, failures, attempts_max = after, 0, self._attempts_max
        while True:
            pause_seconds = DELAY_SECONDS
            try:
                for position, event in self._stream_once(dict(query or {}), reached):
                    reached, failures, attempts_max = position, 0, REOPENINGS_MAX
                    if event:
                        yield event
            except (ApiError, ServiceUnreachable) as error:
                failures += 1
                delay_seconds = _delay_before_repeating(error, failures)
                if delay_seconds is None or failures >= attempts_max:
                    raise
                pause_seconds = min(delay_seconds, DELAY_SECONDS_MAX)
            self._sleep(pause_seconds)

    def _stream_once(self, query: dict[str, Any], after: int | None) -> Iterator[tuple[int, bytes]]:
        """Positions, each with its event; the first one, where the stream begins, with none."""
        try:
            with self._session.get(
                f"{self.url}/v1/events/stream",
                params=query | given({"after": after}),
                timeout=(CONNECT_TIMEOUT_SECONDS, SILENCE_SECONDS_MAX),
                allow_redirects=False,
                stream=True,
            ) as response:
                if response.status_code != 200 or not _is_stream(response):
                    body = response.raw.read(ANSWER_BYTES_MAX, decode_content=True)
                    raise _error_of(response, bytes(body))
                yield from _messages(response.iter_lines(chunk_size=None))
        except BROKEN as error:
            raise ServiceUnreachable(_why(self.url, error)) from None

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> bytes:
        """The JSON at a path, as it came."""
        return self._send("GET", path, params=dict(query or {}))

    def post(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        prefer: str | None = None,
    ) -> bytes:
        """Sends JSON, and again with the same Idempotency-Key while the outcome is open; returns
        the JSON of the answer as it came."""
        key = str(uuid4()) if idempotency_key is None else checked_idempotency_key(idempotency_key)
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": key,
            **given({"Prefer": prefer}),
        }
        return self._send("POST", path, data=write_json(dict(body)), headers=headers)

    def _send(self, method: str, path: str, **arguments: Any) -> bytes:
        for attempt in range(1, self._attempts_max + 1):
            try:
                return self._send_once(method, path, arguments)
            except (ApiError, ServiceUnreachable) as error:
                delay_seconds = _delay_before_repeating(error, attempt)
                if delay_seconds is None or attempt == self._attempts_max:
                    raise
            self._sleep(delay_seconds)
        raise AssertionError("the last attempt returns or raises")

    def _send_once(self, method: str, path: str, arguments: dict[str, Any]) -> bytes:
        try:
            with self._session.request(
                method,
                f"{self.url}{path}",
                timeout=(CONNECT_TIMEOUT_SECONDS, ANSWER_TIMEOUT_SECONDS),
                allow_redirects=False,
                stream=True,
                **arguments,
            ) as response:
                body = bytes(response.raw.read(ANSWER_BYTES_MAX, decode_content=True))
        except BROKEN as error:
            raise ServiceUnreachable(_why(self.url, error)) from None
        if not 200 <= response.status_code < 300 or not _is_json(body):
            raise _error_of(response, body)
        return body


def _is_stream(response: requests.Response) -> bool:
    """Else somebody else answers, such as a proxy with a page (WHATWG HTML, section 9.2)."""
    return response.headers.get("Content-Type", "").startswith("text/event-stream")


def _messages(lines: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """The messages of a stream that have an id (WHATWG HTML, section 9.2)."""
    fields: dict[bytes, bytes] = {}
    for line in lines:
        name, _, value = line.partition(b": ")
        if name:
            fields[name] = value
        elif b"id" in fields:
            yield int(fields[b"id"]), fields.get(b"data", b"")
            fields = {}


def path_of(payment_id: PaymentId, *parts: str) -> str:
    """The path of a payment, or of something that belongs to it."""
    return "/".join(("/v1/payments", quote(str(payment_id), safe=""), *parts))


def checked_idempotency_key(key: str) -> str:
    """The key, without blanks around it, which mean nothing in a header (RFC 9110, section 5.5).

    Raises:
        ValueError: the API would refuse it, or it cannot be sent.
    """
    key = key.strip(" ")
    if not IDEMPOTENCY_KEY.fullmatch(key):
        raise ValueError("an Idempotency-Key is 1 to 255 printable ASCII characters")
    return key


def given(members: Mapping[str, Any]) -> dict[str, Any]:
    """Those members that have a value."""
    return {name: value for name, value in members.items() if value not in (None, {})}


def _read(model: type[T], body: bytes) -> T:
    """The answer; members that a newer service has added are passed over."""
    return model.model_validate(read_json(body), extra="ignore")


def _delay_before_repeating(error: Exception, attempt: int) -> float | None:
    """How long to wait; None when it is of no use to ask again soon."""
    delay_seconds = DELAY_SECONDS * 2.0 ** (attempt - 1)
    if not isinstance(error, ApiError):
        return delay_seconds
    if error.status not in REPEATED_STATUSES:
        return None
    asked = error.retry_after_seconds or 0
    return max(asked, delay_seconds) if asked <= DELAY_SECONDS_MAX else None


def _why(url: str, error: Exception) -> str:
    if isinstance(error, requests.ReadTimeout | urllib3.exceptions.ReadTimeoutError):
        return f"{url} did not answer within {ANSWER_TIMEOUT_SECONDS:.0f} s: try again"
    return f"{url} cannot be reached ({type(error).__name__})"


def _error_of(response: requests.Response, body: bytes) -> ApiError:
    problem = _document(body)
    if "title" not in problem:
        detail = "the answer is no JSON of PaySaga; is this its address?"
        return ApiError(
            response.status_code, "http_error", f"HTTP {response.status_code}", detail, None
        )
    errors = problem.get("errors")
    retry_after = response.headers.get("Retry-After", "")
    return ApiError(
        response.status_code,
        str(problem.get("code", response.status_code)),
        str(problem["title"]),
        str(problem.get("detail", "")),
        problem.get("correlationId"),
        tuple(
            (str(entry.get("pointer") or "/"), str(entry.get("detail", "")))
            for entry in (errors if isinstance(errors, list) else [])
            if isinstance(entry, dict)
        ),
        int(retry_after) if retry_after.isdecimal() else None,
    )


def _document(body: bytes) -> dict[str, Any]:
    document = read_json(body) if _is_json(body) else None
    return document if isinstance(document, dict) else {}


def _is_json(body: bytes) -> bool:
    try:
        read_json(body)
    except (ValueError, RecursionError):
        return False
    return True
