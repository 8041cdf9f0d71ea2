"""Parts a callback into what is stored in the clear, what is sealed, and what is never stored."""

from collections.abc import Mapping

from domain.gateway_report import payment_id_of
from interface.paytabs.cards import mask_card_numbers
from interface.paytabs.reports import UnreadableReport, optional_reference_of

_CLEAR = frozenset(
    {
        *("tran_ref", "previous_tran_ref", "merchant_id", "profile_id", "invoice_id"),
        *("cart_id", "cart_description", "cart_currency", "cart_amount"),
        *("tran_currency", "tran_total", "tran_type", "tran_class"),
        *("ipn_trace", "paymentChannel"),
    }
)
_CLEAR_WITHIN = {
    "payment_result": frozenset(
        {
            *("response_status", "response_code", "response_message", "transaction_time"),
            *("acquirer_ref", "acquirer_rrn", "acquirer_message", "cvv_result", "avs_result"),
        }
    ),
    "payment_info": frozenset(
        {
            *("payment_method", "card_type", "card_scheme", "payment_description"),
            *("expiryMonth", "expiryYear", "issuerCountry", "issuerName"),
        }
    ),
    "threeDSDetails": frozenset(
        {
            *("responseLevel", "responseStatus", "enrolled", "paResStatus"),
            *("eci", "threeDSVersion"),
        }
    ),
}
_SECRET = frozenset(
    {
        *("token", "cavv", "ucaf"),
        *("cvv", "cvv2", "cvc", "card_number", "cardnumber", "pan"),
    }
)
_REFERENCES = ("tran_ref", "previous_tran_ref")

Fields = dict[str, object]


def parted(fields: Mapping[str, object]) -> tuple[Fields, Fields]:
    """What of a callback is stored in the clear, and the rest, to be sealed.

    In the clear are only fields of PayTabs, section 7.1, that are known to be neither personal
    nor secret. Card tokens, 3-D Secure proofs and card secrets are in neither part, at whatever
    depth they stand, and full card numbers are masked in both.
    """
    clear: Fields = {}
    rest: Fields = {}
    for name, value in (_safe_object(fields) | _references(fields)).items():
        if name in _CLEAR_WITHIN and isinstance(value, dict):
            allowed = _CLEAR_WITHIN[name]
            clear[name] = {key: value[key] for key in value if _is_clear(key, value[key], allowed)}
            hidden = {key: value[key] for key in value if not _is_clear(key, value[key], allowed)}
            rest |= {name: hidden} if hidden else {}
        else:
            (clear if _is_clear(name, value, _CLEAR) else rest)[name] = value
    return clear, rest


def _is_clear(name: str, value: object, allowed: frozenset[str]) -> bool:
    return name in allowed and not isinstance(value, dict | list)


def _references(fields: Mapping[str, object]) -> Fields:
    """The references as they came: they name transactions, even one made of digits only."""
    kept = {name: fields[name] for name in _REFERENCES if reference_or_none(fields, name)}
    cart_id = fields.get("cart_id")
    if isinstance(cart_id, str) and payment_id_of(cart_id) is not None:
        kept["cart_id"] = cart_id
    return kept


def reference_or_none(fields: Mapping[str, object], name: str) -> str | None:
    """A field that is a transaction reference; None when it is anything else."""
    try:
        return optional_reference_of(fields, name)
    except UnreadableReport:
        return None


def _safe_object(fields: Mapping[str, object]) -> Fields:
    return {
        mask_card_numbers(name): _safe(value)
        for name, value in fields.items()
        if name.casefold() not in _SECRET
    }


def _safe(value: object) -> object:
    if isinstance(value, Mapping):
        return _safe_object(value)
    if isinstance(value, list):
        return [_safe(item) for item in value]
    if isinstance(value, str):
        return mask_card_numbers(value)
    if isinstance(value, int) and not isinstance(value, bool):
        masked = mask_card_numbers(str(value))
        return value if masked == str(value) else masked
    return value
