"""The payment gateway PayTabs: its client, its signatures and its callbacks (docs/paytabs.md)."""

from interface.paytabs.client import PayTabsClient
from interface.paytabs.config import PayTabsConfig
from interface.paytabs.notifications import InvalidNotification, parse_notification
from interface.paytabs.regions import BASE_URLS, base_url_for
from interface.paytabs.signatures import sign_body, sign_form, verify_body, verify_form

__all__ = [
    "BASE_URLS",
    "InvalidNotification",
    "PayTabsClient",
    "PayTabsConfig",
    "base_url_for",
    "parse_notification",
    "sign_body",
    "sign_form",
    "verify_body",
    "verify_form",
]
