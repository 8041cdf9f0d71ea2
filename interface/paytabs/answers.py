"""Turns every answer that PayTabs may give into one of the three outcomes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from application.payment_gateway import (
    HostedPage,
    Outcome,
    Refusal,
    Refused,
    Succeeded,
    Unknown,
)
from domain.gateway_report import GatewayReport, TransactionKind
from domain.money import Money
from interface.paytabs.gateway_json import Limits, UnreadableJson, read_json
from interface.paytabs.reports import (
    MESSAGE_LENGTH_MAX,
    UnreadableReport,
    amount_of,
    read_report,
    reference_of,
    shown,
    text_of,
)
from interface.paytabs.transport import Answer

_LIMITS = Limits(depth=8, fields=10_000)
_URL_LENGTH_MAX = 2048
_RETRY_AFTER_SECONDS_MAX = 86_400
_NOT_FOUND = 113
_RATE_LIMITED = 5
_REFUSALS = {
    1: Refusal.AUTHENTICATION,
    2: Refusal.INVALID_REQUEST,
    4: Refusal.DUPLICATE,
    _RATE_LIMITED: Refusal.RATE_LIMITED,
    _NOT_FOUND: Refusal.INVALID_REQUEST,
    206: Refusal.INVALID_REQUEST,
}
"""Error codes that say for certain that nothing was done (PayTabs, section 3.3)."""

_DESCRIBING = frozenset({"tran_type", "payment_result"})
"""A transaction has at least one of these; the answers of other calls, such as the one about an
invoice, have neither, and must not be taken for an unused page."""

_REFUSING_STATUSES = {
    401: Refusal.AUTHENTICATION,
    409: Refusal.DUPLICATE,
    429: Refusal.RATE_LIMITED,
}


@dataclass(frozen=True)
class Expected:
    """What an answer must repeat of the request to be believed; None is not checked."""

    cart_id: str | None = None
    amount: Money | None = None
    transaction_ref: str | None = None
    previous_ref: str | None = None
    kinds: frozenset[TransactionKind] | None = None


def page_outcome(answer: Answer, expected: Expected, encrypted: bool) -> Outcome:
    """The outcome of asking for a hosted page (PayTabs, sections 3.1 and 3.3).

    A result instead of a page is a refusal when it moved no money, else `Unknown`: it must be
    asked after. `encrypted` demands that the page's address is https.
    """
    content = _content(answer)
    if not isinstance(content, Mapping):
        return content if isinstance(content, Refused | Unknown) else Unknown(_NO_OBJECT)
    try:
        _require_match(content, expected)
        if text_of(content, "redirect_url") is None:
            return _pageless(read_report(content))
        return Succeeded(page=_page(content, encrypted))
    except UnreadableReport as error:
        return Unknown(str(error))


def follow_up_outcome(answer: Answer, expected: Expected) -> Outcome:
    """The outcome of a refund, a capture or a void (PayTabs, sections 3.2, 3.3 and 6)."""
    content = _content(answer)
    if not isinstance(content, Mapping):
        return content if isinstance(content, Refused | Unknown) else Unknown(_NO_OBJECT)
    if content.get("payment_result") is None:
        return Unknown("the gateway's answer holds no result")
    return _reported([content], expected)


def query_outcome(answer: Answer, expected: Expected) -> Outcome:
    """The outcome of a query, newest transaction first (PayTabs, section 5).

    "Transaction not found" is an answer without reports.
    """
    content = _content(answer)
    if isinstance(content, Refused):
        return Succeeded() if content.code == str(_NOT_FOUND) else content
    if isinstance(content, Unknown):
        return content
    return _reported(content if isinstance(content, list) else [content], expected)


_NO_OBJECT = "the gateway's answer is not a JSON object"


def _content(answer: Answer) -> Mapping[str, object] | list[object] | Refused | Unknown:
    """What a successful answer holds, or the refusal or the trouble that the answer is."""
    if answer.status >= 500 or 300 <= answer.status < 400:
        reason = f"the gateway answered HTTP {answer.status}"
        return Unknown(reason, retry_after_ms=_retry_after_ms(answer))
    try:
        content = read_json(answer.body, _LIMITS)
    except UnreadableJson as error:
        return _without_json(answer, f"HTTP {answer.status}, body {error}")
    code = _error_code(content)
    if code is not None and isinstance(content, Mapping):
        return _refusal(answer, code, content)
    if not 200 <= answer.status < 300:
        return _without_json(answer, f"HTTP {answer.status} without an error object")
    if not isinstance(content, Mapping | list):
        return Unknown("the gateway's answer is neither a JSON object nor an array")
    return content


def _without_json(answer: Answer, problem: str) -> Refused | Unknown:
    if answer.status == 429:
        return Refused(Refusal.RATE_LIMITED, "429", "Too Many Requests", _retry_after_ms(answer))
    return Unknown(f"the gateway's answer cannot be used: {problem}")


def _error_code(content: object) -> int | None:
    """The code of an error object: above 0, for 0 is a success (PayTabs, section 3)."""
    code = content.get("code") if isinstance(content, Mapping) else None
    if isinstance(code, str) and code.isascii() and code.isdecimal():
        code = int(code)
    return code if isinstance(code, int) and not isinstance(code, bool) and code > 0 else None


def _refusal(answer: Answer, code: int, content: Mapping[str, object]) -> Refused | Unknown:
    reason = _REFUSING_STATUSES.get(answer.status) or _REFUSALS.get(code)
    if reason is None and 400 <= answer.status < 500 and answer.status != 408:
        reason = Refusal.INVALID_REQUEST
    if reason is None:
        return Unknown(f"the gateway answered HTTP {answer.status} with error code {code}")
    message = content.get("message")
    text = shown(message, MESSAGE_LENGTH_MAX) if isinstance(message, str) else None
    wait = _retry_after_ms(answer) if reason is Refusal.RATE_LIMITED else None
    return Refused(reason, str(code), text or "", wait)


def _retry_after_ms(answer: Answer) -> int | None:
    """`Retry-After` in milliseconds: seconds, or a date counted from the answer's own `Date`
    (RFC 9110, section 10.2.3); at most a day. None when it is absent or unreadable."""
    value = answer.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdecimal():
        seconds = float(value[:12])
    else:
        try:
            asked = _http_date(value)
            seconds = (asked - _http_date(answer.headers.get("Date", ""))).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
    return int(min(max(seconds, 0), _RETRY_AFTER_SECONDS_MAX) * 1000)


def _http_date(text: str) -> datetime:
    moment = parsedate_to_datetime(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _page(content: Mapping[str, object], encrypted: bool) -> HostedPage:
    url = text_of(content, "redirect_url") or ""
    if not _is_web_address(url, encrypted):
        raise UnreadableReport("redirect_url is not an address that a customer can be sent to")
    return HostedPage(reference_of(content), url)


def _is_web_address(url: str, encrypted: bool) -> bool:
    if len(url) > _URL_LENGTH_MAX or not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return bool(parts.hostname) and parts.scheme in ({"https"} if encrypted else {"http", "https"})


def _pageless(report: GatewayReport) -> Refused | Unknown:
    if report.status.is_refusal:
        return Refused(Refusal.INVALID_REQUEST, report.code or "", report.message or "")
    return Unknown("the gateway answered without a page to pay on")


def _reported(transactions: list[object], expected: Expected) -> Succeeded | Unknown:
    """The reports of transactions: all of them, or `Unknown` when one cannot be relied on."""
    try:
        reports = [_believed(transaction, expected) for transaction in transactions]
    except UnreadableReport as error:
        return Unknown(str(error))
    return Succeeded(reports=tuple(sorted(reports, key=_age)))


def _age(report: GatewayReport) -> float:
    """Sorts newest first; a transaction without a time comes last."""
    return -report.occurred_at.timestamp() if report.occurred_at else float("inf")


def _believed(transaction: object, expected: Expected) -> GatewayReport:
    report = read_report(transaction)
    if isinstance(transaction, Mapping):
        _require_match(transaction, expected)
        if not _DESCRIBING.intersection(transaction):
            raise UnreadableReport("neither tran_type nor payment_result was given")
    if expected.kinds is not None and report.kind not in expected.kinds:
        raise UnreadableReport(f"a {report.kind} does not match what was asked")
    return report


def _require_match(transaction: Mapping[str, object], expected: Expected) -> None:
    """Raises `UnreadableReport` when the gateway speaks of another cart, transaction or amount."""
    asked_currency = expected.amount and expected.amount.currency.code
    currency = (text_of(transaction, "cart_currency") or asked_currency or "").upper()
    said: dict[str, tuple[object, object]] = {
        "cart_id": (_text_even_empty(transaction, "cart_id"), expected.cart_id),
        "tran_ref": (text_of(transaction, "tran_ref"), expected.transaction_ref),
        "previous_tran_ref": (text_of(transaction, "previous_tran_ref"), expected.previous_ref),
        "cart_currency": (currency, asked_currency),
        "cart_amount": (amount_of(transaction, "cart_amount", currency), expected.amount),
    }
    for name, (heard, asked) in said.items():
        if asked is not None and heard is not None and heard != asked:
            raise UnreadableReport(f"{name} does not match what was asked")


def _text_even_empty(transaction: Mapping[str, object], name: str) -> str | None:
    return "" if transaction.get(name) == "" else text_of(transaction, name)
