"""Gathers everything that may differ between two simulators, checked once at the start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from interface.simulator.money import DECIMALS


@dataclass(frozen=True, slots=True)
class SimulatorConfig:
    """Settings of a simulator; a value out of range raises ValueError naming the field.

    ``public_url`` is the base of ``redirect_url`` (None: the address listened on).
    ``rate_limit_per_minute`` counts queries and follow-ups (0: off; PayTabs allows 20).
    ``data_path`` names a SQLite file that a restart reads again (None: memory only).
    ``allow_plain_http_callbacks`` delivers to http, ports and local hosts, which PayTabs does not.
    ``callback_attempts`` counts all tries, the first included; the wait between them doubles,
    beginning with ``callback_retry_base_seconds``.
    """

    profile_id: int
    server_key: str
    client_key: str = "CSIMUL-ATOR00-CLIENT-KEY000"
    merchant_id: int = 7001
    public_url: str | None = None
    controls_enabled: bool = True
    duplicate_window_seconds: float = 120
    rate_limit_per_minute: int = 0
    page_ttl_minutes: int = 20
    currencies: frozenset[str] = frozenset(DECIMALS)
    callback_timeout_seconds: float = 10
    callback_attempts: int = 5
    callback_retry_base_seconds: float = 2
    callback_workers: int = 8
    callback_queue_max: int = 10_000
    transactions_max: int = 1_000_000
    data_path: Path | None = None
    allow_plain_http_callbacks: bool = True

    def __post_init__(self) -> None:
        problems = [*self._numbers_too_small(), *self._texts_unusable()]
        if problems:
            raise ValueError("; ".join(problems))

    def _numbers_too_small(self) -> Iterator[str]:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value < least:
                yield f"{name} is {value}, expected at least {least}"

    def _texts_unusable(self) -> Iterator[str]:
        if not self.server_key:
            yield "server_key is empty, expected the key sent in the Authorization header"
        if self.public_url is not None and urlsplit(self.public_url).scheme not in _SCHEMES:
            yield f"public_url is {self.public_url!r}, expected an http or https address"
        unknown = sorted(set(self.currencies) - set(DECIMALS))
        if unknown or not self.currencies:
            yield f"currencies has {unknown}, expected ISO 4217 codes with a minor unit"


_SCHEMES = ("http", "https")
_LEAST = {
    "profile_id": 1,
    "duplicate_window_seconds": 0,
    "rate_limit_per_minute": 0,
    "page_ttl_minutes": 1,
    "callback_timeout_seconds": 0.001,
    "callback_attempts": 1,
    "callback_retry_base_seconds": 0,
    "callback_workers": 1,
    "callback_queue_max": 1,
    "transactions_max": 1,
}
