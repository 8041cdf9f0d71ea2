"""Holds what the PayTabs client needs to know, checked before the first call."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

TOTAL_TIMEOUT_SECONDS = 30
"""No call to PayTabs takes longer, unless told so."""


@dataclass(frozen=True)
class PayTabsConfig:
    """How one PayTabs profile is reached (PayTabs, section 1 of docs/paytabs.md).

    `total_timeout_seconds` covers a whole call: connecting, sending, and every byte of the
    answer. Only the look-up of the host's name is left to the system's resolver.

    Raises:
        ValueError: a value cannot work; the message names it and never shows the key.
    """

    profile_id: int
    server_key: str = field(repr=False)
    base_url: str
    connect_timeout_seconds: float = 10.0
    total_timeout_seconds: float = TOTAL_TIMEOUT_SECONDS
    answer_bytes_max: int = 1_048_576
    user_agent: str = "PaySaga"

    def __post_init__(self) -> None:
        checks = {
            "profile_id must be a positive whole number": self.profile_id > 0,
            "server_key must be printable ASCII without spaces": _is_token(self.server_key),
            "base_url must be http(s)://host[:port]": _is_base(self.base_url),
            "connect_timeout_seconds must be above 0": self.connect_timeout_seconds > 0,
            "total_timeout_seconds must be above 0": self.total_timeout_seconds > 0,
            "answer_bytes_max must be above 0": self.answer_bytes_max > 0,
            "user_agent must be printable ASCII": _is_printable(self.user_agent),
        }
        problems = [problem for problem, fine in checks.items() if not fine]
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def is_encrypted(self) -> bool:
        """True for https; a plain http base is for the simulator."""
        return self.base_url.casefold().startswith("https://")


def _is_printable(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable()


def _is_token(text: str) -> bool:
    return _is_printable(text) and " " not in text


def _is_base(url: str) -> bool:
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    bare = not (parts.query or parts.fragment or parts.username)
    return parts.scheme in ("http", "https") and has_host and bare
