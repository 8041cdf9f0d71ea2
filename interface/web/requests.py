"""What is read from every request: who asks, with which correlation, key and body."""

import re
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from datetime import date
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from hmac import digest as hmac_digest
from typing import Any, TypeVar, cast, get_type_hints
from uuid import UUID

import structlog
from flask import Request, current_app, g, request, url_for
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import RequestEntityTooLarge

from domain.event import EventContext, Metadata, acting
from domain.keyed_request import KeyedCommand, serving
from interface.json_text import read_json, write_json
from interface.paytabs.cards import mask_card_numbers
from interface.settings import Role
from interface.web.context import web
from interface.web.key_ring import KnownKey, RefusedKey
from interface.web.models import Model, OptionalBody
from interface.web.patterns import IDEMPOTENCY_KEY
from interface.web.problems import Problem, escaped, invalid

F = TypeVar("F", bound=Callable[..., Any])

CORRELATION_ID = re.compile(r"[\x21-\x7e]{1,128}")
TRACE_PARENT = re.compile(
    r"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?"
)
"""W3C Trace Context, sections 3.2.2 and 4.3: version ff and ids of zeros only are not valid, and
versions after 00 may say more behind the flags."""
EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
METADATA_LENGTH_MAX = 256
OPEN_TO_STRANGERS = frozenset({"notifications", "way_back"})
"""Blueprints that are called without an API key and record events."""
JSON_DEPTH_MAX = 16
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""Characters that PostgreSQL's text cannot hold."""
UNKNOWN = "Extra inputs are not permitted"
REPEATED = "Send it once"


class JsonRequest(Request):
    """A request whose JSON is read exactly, and whose faults are told."""

    def whole_body(self) -> bytes:
        """The body. One that comes in chunks, without its length, would otherwise be cut off
        silently at the limit, and one whose connection broke would be taken for whole.

        Raises:
            RequestEntityTooLarge: it is longer than `MAX_CONTENT_LENGTH`.
            Problem: its chunks cannot be made out, or it breaks off.
        """
        try:
            body = self.get_data()
            is_full = self.content_length is None and len(body) == self.max_content_length
            if is_full and self.environ["wsgi.input"].read(1):
                raise RequestEntityTooLarge
            if len(body) < (self.content_length or 0):
                raise OSError("it is shorter than its Content-Length")
        except (OSError, ParseException) as error:
            raise Problem("bad_request", f"the body cannot be read to its end: {error}") from None
        return body

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        """The body, with numbers as int and Decimal; an object without members where the view
        needs no body and none was sent.

        Raises:
            Problem: wrong content type, no JSON object, nested deeper than `JSON_DEPTH_MAX`, or
                text that cannot be stored.
        """
        if not self.whole_body() and _is_body_optional():
            return {}
        self._require_plain_json()
        try:
            value = read_json(self.whole_body())
        except RecursionError:
            raise Problem("invalid_json", "the JSON is nested too deep") from None
        except ValueError as error:
            raise Problem("invalid_json", f"the body is no JSON: {error}") from None
        if not isinstance(value, dict):
            raise invalid("", "expected a JSON object")
        _check(value, "", JSON_DEPTH_MAX)
        return value

    def _require_plain_json(self) -> None:
        if not self.is_json:
            raise Problem(
                "unsupported_media_type", "send JSON with `Content-Type: application/json`"
            )
        if self.headers.get("Content-Encoding", "").strip().lower() not in {"", "identity"}:
            raise Problem("unsupported_media_type", "send the body without a Content-Encoding")


def _is_body_optional() -> bool:
    model = _body_model()
    return model is not None and issubclass(model, OptionalBody)


def _body_model() -> type[Model] | None:
    return _hints().get("body")


def _hints() -> dict[str, Any]:
    """What the view takes, by name."""
    view = current_app.view_functions.get(request.endpoint or "")
    return get_type_hints(view) if view else {}


def _check(value: Any, pointer: str, depth_left: int) -> None:
    if isinstance(value, str) and UNSTORABLE.search(value):
        raise invalid(pointer, "text must not contain NUL or lone surrogates")
    if not isinstance(value, dict | list):
        return
    if depth_left == 0:
        raise Problem("invalid_json", f"the JSON is nested deeper than {JSON_DEPTH_MAX} levels")
    members = value.items() if isinstance(value, dict) else enumerate(value)
    for name, item in members:
        place = f"{pointer}/{escaped(storable(str(name)))}"
        _check(name, place, depth_left)
        _check(item, place, depth_left - 1)


def storable(text: str) -> str:
    """The text with a replacement character for each that cannot be stored."""
    return UNSTORABLE.sub("\ufffd", text)


def whole_body() -> bytes:
    """See `JsonRequest.whole_body`."""
    return cast(JsonRequest, request).whole_body()


def needs(role: Role) -> Callable[[F], F]:
    """Marks a view as one that may be called only with an API key of at least this role."""

    def decorate(view: F) -> F:
        view.needed_role = role  # type: ignore[attr-defined]
        return view

    return decorate


def begin() -> None:
    """Before each request, even before its body is read: correlation id, API key, context.

    Raises:
        Problem: the view needs an API key that was not given.
    """
    given = _told("X-Correlation-Id")
    is_good = CORRELATION_ID.fullmatch(given)
    g.correlation_id = given if is_good else str(web().applications.ids.uuid())
    g.trace_id, g.span_id = g.get("trace") or trace_of_caller() or (None, None)
    structlog.contextvars.bind_contextvars(
        correlation_id=g.correlation_id, **({"trace_id": g.trace_id} if g.trace_id else {})
    )
    g.api_key = None
    role = getattr(current_app.view_functions.get(request.endpoint or ""), "needed_role", None)
    if role:
        with acting(_event_context()):
            g.api_key = authenticate(role)
        _limit_rate(g.api_key)
        _check_query()
    g.command = _keyed_command() if g.api_key else None
    g.context = ExitStack()
    g.context.enter_context(acting(_event_context()))
    g.context.enter_context(serving(g.command))


def trace_of_caller() -> tuple[str, str] | None:
    """The ids of trace and span in `traceparent`; None without a valid one."""
    trace = TRACE_PARENT.fullmatch(_told("traceparent"))
    return (trace[1], trace[2]) if trace else None


def _told(header: str) -> str:
    """What a caller says that it belongs to; "" where strangers may call, who could otherwise put
    their requests among somebody else's."""
    return "" if request.blueprint in OPEN_TO_STRANGERS else request.headers.get(header, "")


def _check_query() -> None:
    """What the view's own model of the query string does not see: that there is none, and that a
    parameter came twice, of which only the first would count.

    Raises:
        Problem: something was sent where nothing is taken, or was sent twice.
    """
    if request.args and "query" not in _hints():
        raise _wrong_query("this call takes no query string", request.args, UNKNOWN)
    repeated = [name for name, values in request.args.lists() if len(values) > 1]
    if repeated:
        raise _wrong_query("a parameter was sent more than once", repeated, REPEATED)


def _wrong_query(said: str, names: Iterable[str], detail: str) -> Problem:
    errors = [{"pointer": f"/{escaped(storable(name))}", "detail": detail} for name in names]
    return Problem("validation_error", said, errors=errors)


def _limit_rate(key: KnownKey) -> None:
    wait_seconds = web().rate_limits.wait_seconds(key.name, web().applications.clock.now())
    if wait_seconds is not None:
        raise Problem(
            "rate_limited",
            f"the key '{key.name}' may send again in {wait_seconds} s",
            retry_after_seconds=wait_seconds,
        )


def end(_error: BaseException | None) -> None:
    """After each request."""
    structlog.contextvars.unbind_contextvars("correlation_id", "trace_id")
    if "context" in g:
        g.context.close()


def authenticate(role: Role) -> KnownKey:
    """The API key of the request, compared in constant time. Whoever tries one that may not be
    used is recorded, within limits.

    Raises:
        Problem: it is missing, wrong, or its role is too small.
    """
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret:
        raise Problem("unauthorized", "send `Authorization: Bearer <secret>`")
    key = web().key_ring.find(secret.strip(), web().applications.clock.now())
    if isinstance(key, RefusedKey):
        _note_refused_key(key.reason, key.name)
        said = "is not known" if key.reason == "unknown" else f"is {key.reason}"
        raise Problem("unauthorized", f"this API key {said}")
    g.key_name, g.caller = key.name, _header("X-User-Id") or key.name
    if not key.role.allows(role):
        _note_refused_key("role_too_small", key.name)
        raise Problem("forbidden", f"the key '{key.name}' has the role {key.role}, not {role}")
    return key


def _note_refused_key(reason: str, name: str | None) -> None:
    suppressed = web().key_incident_limit.admit(request.remote_addr)
    if suppressed is None:
        return
    detail: dict[str, Any] = {"reason": reason, "name": name, "path": storable(request.path)}
    web().applications.operations.record_incident(
        "api_key_refused",
        "medium",
        request.remote_addr,
        detail | ({"suppressed": suppressed} if suppressed else {}),
    )


def _event_context() -> EventContext:
    """Without an API key nobody is believed about who they are."""
    key: KnownKey | None = g.api_key
    metadata = Metadata(
        correlation_id=g.correlation_id,
        source="api" if key else "gateway",
        user_id=(_header("X-User-Id") or key.name) if key else None,
        session_id=_header("X-Session-Id") if key else None,
        ip_address=request.remote_addr,
        user_agent=mask_card_numbers(_header("User-Agent") or "") or None,
        trace_id=g.trace_id,
        span_id=g.span_id,
    )
    return EventContext(metadata, web().applications.clock.now())


def _header(name: str) -> str | None:
    value = request.headers.get(name)
    return storable(value)[:METADATA_LENGTH_MAX] if value else None


def prefers_async() -> bool:
    """True when the client asked not to wait: `Prefer: respond-async` (RFC 7240, 4.1)."""
    wishes = ",".join(request.headers.getlist("Prefer")).split(",")
    return any(wish.split(";")[0].strip().lower() == "respond-async" for wish in wishes)


def _keyed_command() -> KeyedCommand | None:
    """The command that the request stands for; None when it carries no `Idempotency-Key`.

    Raises:
        Problem: the key is longer than 255 characters or not printable.
    """
    given = request.headers.get("Idempotency-Key")
    if given is None or request.method != "POST":
        return None
    key = given.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if not IDEMPOTENCY_KEY.fullmatch(key):
        raise Problem("invalid_idempotency_key", "send 1 to 255 printable ASCII characters")
    derived = _keyed_digest(f"{g.api_key.name}\n{_canonical_path()}\n{key}".encode())
    return KeyedCommand(UUID(bytes=derived[:16], version=5), body_fingerprint)


def _canonical_path() -> str:
    """The path as we would write it: ids may come in capitals, and are the same ids. What a proxy
    puts in front of it is no part of it."""
    path = url_for(request.endpoint or "", **request.view_args or {})
    return path.removeprefix(request.script_root)


def body_fingerprint() -> str:
    """A digest of what the body says: neither spaces, the order of members, nor the form of a
    number make another request. No body is the same as one without members."""
    body = request.get_json() if whole_body() else {}
    model = _body_model()
    said = (
        model.model_validate(body).model_dump(by_alias=True, exclude_unset=True) if model else body
    )
    return _keyed_digest(_canonical(said)).hex()


def _keyed_digest(content: bytes) -> bytes:
    return hmac_digest(web().secret, content, "sha256")


def _canonical(value: Any) -> bytes:
    if isinstance(value, dict):
        members = (write_json(name) + b":" + _canonical(value[name]) for name in sorted(value))
        return b"{" + b",".join(members) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(_canonical, value)) + b"]"
    if isinstance(value, Decimal):
        return str(EXACT.normalize(value)).encode()
    if isinstance(value, date):
        return write_json(value.isoformat())
    return write_json(value)
