"""Signs what PayTabs sends, so that a receiver can tell its messages from forged ones."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import urlencode


def sign_body(key: str, body: bytes) -> str:
    """Signature of a callback: lower-case hex HMAC-SHA256 over the raw body bytes.

    Source: PayTabs, section 7.2 of docs/paytabs.md.
    """
    return hmac.new(key.encode(), body, hashlib.sha256).hexdigest()


def sign_form(key: str, fields: Mapping[str, str]) -> str:
    """Signature of a return form: over the sorted, URL-encoded fields that have a value.

    A field named ``signature`` is left out, so a received form can be passed as it came.
    Source: PayTabs, section 7.3 of docs/paytabs.md.
    """
    signed = sorted((name, value) for name, value in fields.items() if _is_signed(name, value))
    return sign_body(key, urlencode(signed).encode())


def _is_signed(name: str, value: str) -> bool:
    return name != "signature" and value != ""
