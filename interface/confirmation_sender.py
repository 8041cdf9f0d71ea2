"""Tells merchants over HTTP what became of their payments, signed (contract 7)."""

import ipaddress
import socket
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import SplitResult, urlsplit

import requests
from standardwebhooks.webhooks import Webhook as StandardWebhook
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from application.confirmations import Delivery
from interface.paytabs.deadline import DeadlineAdapter, deadline_at

CONNECT_TIMEOUT_SECONDS = 5.0
TOTAL_TIMEOUT_SECONDS = 15.0
"""2xx within 15 s is success (contract 7)."""
ADDRESSES_MAX = 4
"""How many addresses of one name are tried before an attempt counts as failed."""
ERROR_LENGTH_MAX = 500
DEFAULT_PORTS = {"http": 80, "https": 443}
NAT64 = ipaddress.ip_network("64:ff9b::/96")

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressRefused(Exception):
    """The callback's address is not one that we send anything to."""


class ConfirmationSender:
    """Sends signed messages. With several secrets each one signs, so that they can be rotated.

    Unless `allow_private`, addresses inside our own networks are refused. The address that was
    checked is the one connected to: the name is looked up once. Proxies of the environment are
    not used, because behind one nobody knows where a message goes. `ca_bundle` is a file with
    the certificates that are trusted; None: the usual ones.
    """

    def __init__(
        self,
        secrets: Sequence[str],
        *,
        allow_private: bool,
        connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
        total_timeout_seconds: float = TOTAL_TIMEOUT_SECONDS,
        ca_bundle: str | None = None,
    ) -> None:
        self._signers = [StandardWebhook(secret) for secret in secrets]
        self._allow_private = allow_private
        self._connect_timeout_seconds = connect_timeout_seconds
        self._total_timeout_seconds = total_timeout_seconds
        self._verify = ca_bundle or True

    def send(self, url: str, message_id: str, body: bytes, sent_at: datetime) -> Delivery:
        """See `application.confirmations.MerchantNotifier.send`."""
        deadline = time.monotonic() + self._total_timeout_seconds
        try:
            parts = _checked_parts(url)
            headers = self._headers(message_id, body, sent_at) | {"Host": parts.netloc}
            with deadline_at(deadline):
                response = self._post_to_any(parts, headers, body, deadline)
            with response:
                retry_after = _retry_after(response.headers.get("Retry-After"), sent_at)
                return Delivery(response.status_code, retry_after=retry_after)
        except (AddressRefused, TimeoutError) as refusal:
            return Delivery(None, str(refusal)[:ERROR_LENGTH_MAX])
        except (requests.RequestException, OSError, ValueError) as error:
            return Delivery(None, f"{type(error).__name__}: {error}"[:ERROR_LENGTH_MAX])

    def _post_to_any(
        self, parts: SplitResult, headers: dict[str, str], body: bytes, deadline: float
    ) -> requests.Response:
        """Tries the addresses one by one; only where no connection came about is the next one
        tried, so that a message is never sent twice."""
        trouble: Exception = AddressRefused(f"the name {parts.hostname} has no address")
        for address in self._addresses(parts):
            seconds_left = deadline - time.monotonic()
            if seconds_left <= 0:
                raise TimeoutError(f"no answer within {self._total_timeout_seconds:g} s")
            try:
                return self._post(parts, address, headers, body, seconds_left)
            except (requests.ConnectTimeout, requests.ConnectionError) as error:
                if not _is_unconnected(error):
                    raise
                trouble = error
        raise trouble

    def _post(
        self,
        parts: SplitResult,
        address: IpAddress,
        headers: dict[str, str],
        body: bytes,
        seconds_left: float,
    ) -> requests.Response:
        with _Session() as session:
            session.mount(f"{parts.scheme}://", _PinnedAdapter(parts))
            return session.post(
                _pinned_url(parts, address),
                data=body,
                headers=headers,
                timeout=(min(self._connect_timeout_seconds, seconds_left), seconds_left),
                allow_redirects=False,
                stream=True,
                verify=self._verify,
            )

    def _headers(self, message_id: str, body: bytes, sent_at: datetime) -> dict[str, str]:
        signatures = [signer.sign(message_id, sent_at, body.decode()) for signer in self._signers]
        return {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "PaySaga-Confirmations/1.0",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(sent_at.timestamp())),
            "webhook-signature": " ".join(signatures),
        }

    def _addresses(self, parts: SplitResult) -> list[IpAddress]:
        """The addresses of the name; refused when only one of them is private."""
        found = list(dict.fromkeys(_look_up(str(parts.hostname))))
        if not self._allow_private and any(not _is_public(address) for address in found):
            raise AddressRefused(f"{parts.hostname} is a private address")
        return found[:ADDRESSES_MAX]


class _Session(requests.Session):
    """Reads nothing from the environment and nothing of an answer's body, redirects included."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: a redirect is an answer like any other."""


class _PinnedAdapter(DeadlineAdapter):
    """Connects to an address, but asks for the certificate of the name."""

    def __init__(self, parts: SplitResult) -> None:
        is_secure = parts.scheme == "https"
        name = parts.hostname
        self._tls = {"server_hostname": name, "assert_hostname": name} if is_secure else {}
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """See `requests.adapters.HTTPAdapter`."""
        super().init_poolmanager(*args, **kwargs, **self._tls)


def _checked_parts(url: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise AddressRefused("only http and https addresses are called")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused("an address with credentials is not called")
    return parts


def _pinned_url(parts: SplitResult, address: IpAddress) -> str:
    host = f"[{address}]" if address.version == 6 else str(address)
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    return parts._replace(netloc=f"{host}:{port}", fragment="").geturl()


def _look_up(name: str) -> Iterator[IpAddress]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise AddressRefused(f"the name {name} is not known: {error}") from None
    for *_, address in found:
        yield ipaddress.ip_address(str(address[0]).split("%")[0])


def _is_public(address: IpAddress) -> bool:
    inner = _embedded(address)
    if inner is not None:
        return _is_public(inner)
    return address.is_global and not address.is_multicast


def _embedded(address: IpAddress) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a packet to this IPv6 address ends at."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _is_unconnected(error: requests.RequestException) -> bool:
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    return isinstance(error, requests.ConnectTimeout) or isinstance(
        reason, NewConnectionError | ConnectTimeoutError
    )


def _retry_after(value: str | None, now: datetime) -> timedelta | None:
    """Reads `Retry-After` (RFC 9110, 10.2.3): seconds or a date; None when it is neither."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return timedelta(seconds=int(value[:9]))
    try:
        return max(parsedate_to_datetime(value).astimezone(UTC) - now, timedelta(0))
    except (ValueError, OverflowError, TypeError):
        return None
