"""Sends every log line, ours and the libraries', to stderr in one form, without secrets."""

import json
import logging
import re
import sys
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import quote

import structlog
from psycopg.conninfo import conninfo_to_dict

from interface.settings import Settings

log = structlog.get_logger(__name__)

HIDDEN = "(hidden)"
SECRET_LENGTH_MIN = 8
"""Shorter texts are not looked for: they would be found everywhere."""

PERSONAL = (
    (re.compile(r"\b(sk_|whsec_)[\w+/=-]{8,}"), r"\1" + HIDDEN),
    (re.compile(r"(?i)\b(bearer)\s+\S+"), r"\1 " + HIDDEN),
    (re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)+"), HIDDEN),
    (re.compile(r"\b\d(?:[ -]?\d){12,18}\b"), HIDDEN),
    (re.compile(r"(?m)^(DETAIL|CONTEXT|LINE \d+|Failing row)\b.*$"), r"\1 " + HIDDEN),
)
"""What looks like an API key, a signing secret, an e-mail address or the number of a card, and
where PostgreSQL quotes a row."""

SUSPICIOUS = re.compile(
    r"sk_|whsec_|@|(?i:bearer)|DETAIL|CONTEXT|LINE \d|Failing row|\d(?:[ -]?\d){12}"
)
"""What some pattern of `PERSONAL` may find something in: a quick look, as most texts are harmless
and every request has a line."""

Processor = Callable[[Any, str, MutableMapping[str, Any]], Any]


class HidingFormatter(structlog.stdlib.ProcessorFormatter):
    """Formats a line and blots out the secrets that found their way into it, also as they look
    inside JSON and inside a URL."""

    def __init__(self, secrets: Iterable[str], **arguments: Any) -> None:
        super().__init__(**arguments)
        self._secrets = tuple(
            form for secret in secrets for form in (secret, json.dumps(secret)[1:-1], quote(secret))
        )

    def format(self, record: logging.LogRecord) -> str:
        """One line (JSON) or a few (console, with a traceback)."""
        line = super().format(record)
        for secret in self._secrets:
            line = line.replace(secret, HIDDEN)
        return line


def configure_logging(settings: Settings, role: str) -> None:
    """From here on everything is logged as LOG_FORMAT and LOG_LEVEL say; `role` is on each line."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _adding("role", role),
        structlog.processors.UnicodeDecoder(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        HidingFormatter(
            secrets_of(settings),
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(settings.log_format),
            ],
        )
    )
    logging.captureWarnings(True)
    logging.root.handlers = [handler]
    logging.root.setLevel(settings.log_level)
    if settings.development_clock:
        log.warning("clock_hurried", speed=settings.clock.speed, shows=str(settings.clock.now()))


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """Every secret in the settings, longest first, for what must not be shown."""
    password = str(conninfo_to_dict(settings.database_url or "").get("password") or "")
    found = {
        *(key.secret.get_secret_value() for key in settings.api_keys),
        *settings.confirmation_secrets,
        *(key.secret for key in settings.paytabs_server_keys),
        password,
    }
    return tuple(sorted((s for s in found if len(s) >= SECRET_LENGTH_MIN), key=len, reverse=True))


def _rendering(log_format: str) -> list[Processor]:
    """Tracebacks are plain in both forms: local variables may hold a customer's data."""
    if log_format == "console":
        return [
            structlog.processors.format_exc_info,
            hide_personal_data,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                exception_formatter=structlog.dev.plain_traceback,
            ),
        ]
    return [
        structlog.processors.format_exc_info,
        hide_personal_data,
        structlog.processors.JSONRenderer(default=str),
    ]


def hide_personal_data(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Blots out what looks like somebody's secret or personal data, wherever it stands."""
    return {name: _hidden(value) for name, value in event.items()}


def _hidden(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _hidden(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(item) for item in value]
    if isinstance(value, str | Exception):
        text = str(value)
        if SUSPICIOUS.search(text):
            for pattern, instead in PERSONAL:
                text = pattern.sub(instead, text)
        return text
    return value


def _adding(name: str, value: str) -> Processor:
    def add(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Any:
        event.setdefault(name, value)
        return event

    return add
