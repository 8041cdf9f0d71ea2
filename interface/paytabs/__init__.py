"""The payment gateway PayTabs: its client, its signatures and its callbacks (docs/paytabs.md)."""

from interface.paytabs.client import PayTabsClient
from interface.paytabs.config import PayTabsConfig
from interface.paytabs.notifications import InvalidNotification, parse_notification
from interface.paytabs.regions import BASE_URLS, base_url_for
from interface.paytabs.server_keys import ServerKey, read_server_keys, signers_of
from interface.paytabs.signatures import (
    is_signature,
    sign_body,
    sign_form,
    verify_body,
    verify_form,
)

__all__ = [
    "BASE_URLS",
    "InvalidNotification",
    "PayTabsClient",
    "PayTabsConfig",
    "ServerKey",
    "base_url_for",
    "is_signature",
    "parse_notification",
    "read_server_keys",
    "sign_body",
    "sign_form",
    "signers_of",
    "verify_body",
    "verify_form",
]
