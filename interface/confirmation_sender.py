"""Tells merchants over HTTP what became of their payments, signed (contract 7)."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import requests
import structlog
from standardwebhooks.webhooks import Webhook as StandardWebhook
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from application.confirmations import RESPONSE_BODY_LENGTH_MAX, Delivery
from domain.event import trace_parent
from interface.callback_address import AddressRefused, CallbackAddress, IpAddress
from interface.paytabs.cards import mask_card_numbers
from interface.paytabs.deadline import DeadlineAdapter, deadline_at

log = structlog.get_logger(__name__)

CONNECT_TIMEOUT_SECONDS = 5.0
TOTAL_TIMEOUT_SECONDS = 15.0
"""2xx within 15 s is success (contract 7)."""
ERROR_LENGTH_MAX = 500


class ConfirmationSender:
    """Sends signed messages. With several secrets each one signs, so that they can be rotated.

    Unless `allow_private`, only public addresses are called, and only on the ports of web servers
    (see `callback_address`). The address that was checked is the one connected to. Proxies of the
    environment are not used, because behind one nobody knows where a message goes. `ca_bundle` is
    a file with the certificates that are trusted; None: the usual ones.
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
            address = CallbackAddress.of(url)
            headers = self._headers(message_id, body, sent_at) | {"Host": address.parts.netloc}
            with deadline_at(deadline):
                response = self._post_to_any(address, headers, body, deadline)
            with response:
                return Delivery(
                    response.status_code,
                    retry_after=_retry_after(response.headers.get("Retry-After"), sent_at),
                    response_body=_beginning_of(response),
                )
        except (AddressRefused, TimeoutError) as refusal:
            return Delivery(None, str(refusal)[:ERROR_LENGTH_MAX])
        except (requests.RequestException, OSError, ValueError) as error:
            return Delivery(None, f"{type(error).__name__}: {error}"[:ERROR_LENGTH_MAX])

    def _post_to_any(
        self, address: CallbackAddress, headers: dict[str, str], body: bytes, deadline: float
    ) -> requests.Response:
        """Tries the addresses one by one; only where no connection came about is the next one
        tried, so that a message is never sent twice."""
        trouble: Exception = TimeoutError(f"no answer within {self._total_timeout_seconds:g} s")
        seconds_left = deadline - time.monotonic()
        for number in address.resolve(seconds_left, allow_private=self._allow_private):
            seconds_left = deadline - time.monotonic()
            if seconds_left <= 0:
                break
            try:
                return self._post(address, number, headers, body, seconds_left)
            except (requests.ConnectTimeout, requests.ConnectionError) as error:
                if not _is_unconnected(error):
                    raise
                trouble = error
        raise trouble

    def _post(
        self,
        address: CallbackAddress,
        number: IpAddress,
        headers: dict[str, str],
        body: bytes,
        seconds_left: float,
    ) -> requests.Response:
        with _Session() as session:
            session.mount(f"{address.parts.scheme}://", _PinnedAdapter(address))
            return session.post(
                address.pinned_to(number),
                data=body,
                headers=headers,
                timeout=(min(self._connect_timeout_seconds, seconds_left), seconds_left),
                allow_redirects=False,
                stream=True,
                verify=self._verify,
            )

    def _headers(self, message_id: str, body: bytes, sent_at: datetime) -> dict[str, str]:
        trace = trace_parent()
        signatures = [signer.sign(message_id, sent_at, body.decode()) for signer in self._signers]
        return {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "PaySaga-Confirmations/1.0",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(sent_at.timestamp())),
            "webhook-signature": " ".join(signatures),
            **({"traceparent": trace} if trace else {}),
        }


class _Session(requests.Session):
    """Reads nothing from the environment, and nothing of an answer's body on its own."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: a redirect is an answer like any other."""


class _PinnedAdapter(DeadlineAdapter):
    """Connects to an address, but asks for the certificate of the name."""

    def __init__(self, address: CallbackAddress) -> None:
        is_secure, name = address.parts.scheme == "https", address.name
        self._tls = {"server_hostname": name, "assert_hostname": name} if is_secure else {}
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """See `requests.adapters.HTTPAdapter`."""
        super().init_poolmanager(*args, **kwargs, **self._tls)


def _beginning_of(response: requests.Response) -> str | None:
    """As much of the body as is kept, card numbers masked; no more is read. The status says what
    came of the attempt: a body that does not come, or breaks off, changes nothing about that."""
    read = b""
    try:
        while len(read) < RESPONSE_BODY_LENGTH_MAX:
            piece = response.raw.read1(RESPONSE_BODY_LENGTH_MAX - len(read))
            if not piece:
                break
            read += piece
    except (HTTPError, OSError, ValueError) as error:
        log.debug("answer_broke_off", error=str(error))
    return mask_card_numbers(read.decode("utf-8", "replace")) or None


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
