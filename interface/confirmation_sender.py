"""Tells merchants over HTTP what became of their payments, signed (contract 7)."""

import ipaddress
import socket
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import requests
from standardwebhooks.webhooks import Webhook as StandardWebhook

from application.confirmations import Delivery

CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 15
"""2xx within 15 s is success (contract 7)."""


class AddressRefused(Exception):
    """The callback's address is not one that we send anything to."""


class ConfirmationSender:
    """Sends signed messages. With several secrets each one signs, so that they can be rotated.

    Unless `allow_private`, addresses inside our own networks are refused.
    """

    def __init__(self, secrets: Sequence[str], *, allow_private: bool) -> None:
        self._signers = [StandardWebhook(secret) for secret in secrets]
        self._allow_private = allow_private

    def send(self, url: str, message_id: str, body: bytes, sent_at: datetime) -> Delivery:
        """See `application.confirmations.MerchantNotifier.send`."""
        try:
            self._check_address(url)
            return self._post(url, self._headers(message_id, body, sent_at), body, sent_at)
        except AddressRefused as refusal:
            return Delivery(None, str(refusal))
        except requests.RequestException as error:
            return Delivery(None, f"{type(error).__name__}: {error}"[:500])

    def _post(self, url: str, headers: dict[str, str], body: bytes, sent_at: datetime) -> Delivery:
        response = requests.post(
            url,
            data=body,
            headers=headers,
            timeout=(CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS),
            allow_redirects=False,
            stream=True,
        )
        with response:
            retry_after = _retry_after(response.headers.get("Retry-After"), sent_at)
            return Delivery(response.status_code, retry_after=retry_after)

    def _headers(self, message_id: str, body: bytes, sent_at: datetime) -> dict[str, str]:
        signatures = [signer.sign(message_id, sent_at, body.decode()) for signer in self._signers]
        return {
            "Content-Type": "application/json",
            "User-Agent": "PaySaga-Confirmations/1.0",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(sent_at.timestamp())),
            "webhook-signature": " ".join(signatures),
        }

    def _check_address(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise AddressRefused("only http and https addresses are called")
        if self._allow_private:
            return
        try:
            found = socket.getaddrinfo(parts.hostname, None, type=socket.SOCK_STREAM)
        except OSError as error:
            raise AddressRefused(f"the name {parts.hostname} is not known: {error}") from None
        for *_, address in found:
            if not ipaddress.ip_address(str(address[0]).split("%")[0]).is_global:
                raise AddressRefused(f"{parts.hostname} is a private address")


def _retry_after(value: str | None, now: datetime) -> timedelta | None:
    """Reads `Retry-After` (RFC 9110, 10.2.3): seconds or a date; None when it is neither."""
    if value is None:
        return None
    if value.isdigit():
        return timedelta(seconds=int(value[:9]))
    try:
        return max(parsedate_to_datetime(value).astimezone(UTC) - now, timedelta(0))
    except ValueError:
        return None
