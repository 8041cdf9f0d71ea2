"""Signs and checks what PayTabs sends us, so that nobody else can tell us that money moved."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

SIGNATURE_LENGTH = 64
_LOWER_HEX = frozenset("0123456789abcdef")
_SIGNATURE_FIELD = "signature"


def sign_body(key: str, body: bytes) -> str:
    """The signature of a callback body: HMAC-SHA256 in lower-case hex (PayTabs, section 7.2)."""
    return hmac.new(key.encode(), body, hashlib.sha256).hexdigest()


def sign_form(key: str, fields: Mapping[str, str]) -> str:
    """The signature of a return form (PayTabs, section 7.3).

    Empty fields and `signature` itself are left out; "0" is a value and stays.
    """
    return sign_body(key, _form_text(fields).encode())


def verify_body(keys: Sequence[str], body: bytes, signature: str | None) -> bool:
    """True when one of the active server keys signed exactly these bytes (PayTabs, section 7.2).

    Only 64 lower-case hex digits are a signature: anything else is False, never an error.
    """
    return _signed_with_any(keys, body, signature)


def verify_form(
    keys: Sequence[str], fields: Mapping[str, str], own_params: frozenset[str] = frozenset()
) -> bool:
    """True when one of the active server keys signed this return form (PayTabs, section 7.3).

    `own_params` names the parameters that our own return address carried: PayTabs did not sign
    them. A form that cannot be signed (text that is not Unicode) is False, never an error.
    """
    signed = {name: value for name, value in fields.items() if name not in own_params}
    try:
        message = _form_text(signed).encode()
    except UnicodeEncodeError:
        return False
    return _signed_with_any(keys, message, fields.get(_SIGNATURE_FIELD))


def _form_text(fields: Mapping[str, str]) -> str:
    kept = ((name, value) for name, value in fields.items() if name != _SIGNATURE_FIELD and value)
    return urlencode(sorted(kept))


def _signed_with_any(keys: Sequence[str], message: bytes, signature: object) -> bool:
    if not is_signature(signature):
        return False
    matches = [hmac.compare_digest(sign_body(key, message), str(signature)) for key in keys if key]
    return any(matches)


def is_signature(value: object) -> bool:
    """True for what may be a signature: 64 lower-case hex digits (PayTabs, section 7.2)."""
    return (
        isinstance(value, str) and len(value) == SIGNATURE_LENGTH and _LOWER_HEX.issuperset(value)
    )
