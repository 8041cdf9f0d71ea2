"""Signatures of PayTabs: published and computed vectors, and what is no signature at all."""

from urllib.parse import parse_qsl

import pytest

from interface.paytabs import sign_body, sign_form, verify_body, verify_form

KEY = "SABCDEFGH1-JKLMNPQRS2-TUVWXYZ345"
OTHER_KEY = "SZYXWVUTS9-RQPNMLKJH8-GFEDCBA765"
BODY = (
    b'{"tran_ref":"TST2620100000042","merchant_id":7001,"profile_id":90001,'
    b'"cart_id":"ORD-1001-a1","cart_description":"Order 1001","cart_currency":"SAR",'
    b'"cart_amount":"149.50","tran_currency":"SAR","tran_total":"149.50","tran_type":"Sale",'
    b'"tran_class":"ECom","payment_result":{"response_status":"A","response_code":"G48213",'
    b'"response_message":"Authorised","acquirer_ref":"TRAN0201.6A5F1C20.0000A1B2",'
    b'"cvv_result":" ","avs_result":" ","transaction_time":"2026-07-20T09:15:12Z"},'
    b'"payment_info":{"payment_method":"Visa","card_type":"Credit","card_scheme":"Visa",'
    b'"payment_description":"4111 11## #### 1111","expiryMonth":12,"expiryYear":2030},'
    b'"ipn_trace":"IPNS0201.6A5F1C20.00000C3D","paymentChannel":"Payment Page"}'
)
BODY_SIGNATURE = "247836f7a33cbfe8eb062f09883a669e94eb132509a627cc942dc29cc5633cfd"
FORM = dict(
    parse_qsl(
        "acquirerMessage=&acquirerRRN=&cartId=ORD-1001-a1&customerEmail=buyer%2Btest%40example.com"
        "&respCode=305&respMessage=Card+security+code+%28CVV%29+mismatch&respStatus=D"
        "&signature=1fd82636031598f32841916523bbd5a01e18feee303570427926b4a9c108431a"
        "&token=&tranRef=TST2620100000043",
        keep_blank_values=True,
    )
)


def test_the_body_vector_verifies() -> None:
    assert sign_body(KEY, BODY) == BODY_SIGNATURE
    assert verify_body([KEY], BODY, BODY_SIGNATURE)


def test_the_form_vector_verifies() -> None:
    assert sign_form(KEY, FORM) == FORM["signature"]
    assert verify_form([KEY], FORM, frozenset())


def test_the_form_that_paytabs_published_verifies() -> None:
    form = {
        "cartId": "cart_11111",
        "customerEmail": "email@domain.com",
        "respCode": "G84718",
        "respMessage": "Authorised",
        "respStatus": "A",
        "token": "",
        "tranRef": "TST2215201242166",
        "signature": "7a181a32c768621eb6966107752ee70205a01f1c4403a3d13c0ff604f591f988",
    }
    assert verify_form(["SGJNZ96JLG-JDMKHGRWT9-RWRK2KJNRJ"], form, frozenset())


def test_any_active_key_verifies_while_keys_are_rotated() -> None:
    assert verify_body([OTHER_KEY, KEY], BODY, BODY_SIGNATURE)
    assert verify_form([OTHER_KEY, KEY], FORM, frozenset())


def test_another_key_does_not_verify() -> None:
    assert not verify_body([OTHER_KEY], BODY, BODY_SIGNATURE)
    assert not verify_form([OTHER_KEY], FORM, frozenset())


def test_without_a_key_nothing_verifies_not_even_a_signature_made_with_an_empty_key() -> None:
    assert not verify_body([], BODY, BODY_SIGNATURE)
    assert not verify_body([""], BODY, sign_body("", BODY))
    assert not verify_form([""], FORM | {"signature": sign_form("", FORM)}, frozenset())


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        BODY_SIGNATURE.upper(),
        BODY_SIGNATURE[:-1],
        BODY_SIGNATURE + "0",
        f"{BODY_SIGNATURE},{BODY_SIGNATURE}",
        f" {BODY_SIGNATURE}",
        f"0x{BODY_SIGNATURE[2:]}",
        "g" * 64,
        "é" * 64,
        "٤" * 64,
        "\ud800" * 64,
    ],
)
def test_what_is_no_signature_is_refused_without_an_error(signature: str | None) -> None:
    assert not verify_body([KEY], BODY, signature)
    assert not verify_form([KEY], FORM | {"signature": signature or ""}, frozenset())


def test_one_changed_byte_breaks_the_signature_of_a_body() -> None:
    assert not verify_body([KEY], BODY.replace(b"149.50", b"149.51"), BODY_SIGNATURE)
    assert not verify_body([KEY], BODY + b"\n", BODY_SIGNATURE)


@pytest.mark.parametrize("field", ["cartId", "respStatus", "tranRef", "respMessage"])
def test_one_changed_field_breaks_the_signature_of_a_form(field: str) -> None:
    assert not verify_form([KEY], FORM | {field: "other"}, frozenset())


def test_parameters_of_our_own_return_address_are_not_signed() -> None:
    form = FORM | {"locale": "ar"}
    assert verify_form([KEY], form, frozenset({"locale"}))
    assert not verify_form([KEY], form, frozenset())


def test_empty_fields_are_not_signed_but_a_zero_is() -> None:
    assert verify_form([KEY], FORM | {"added": ""}, frozenset())
    with_zero = {**FORM, "acquirerRRN": "0"}
    assert not verify_form([KEY], with_zero, frozenset())
    assert verify_form([KEY], with_zero | {"signature": sign_form(KEY, with_zero)}, frozenset())


def test_a_form_without_a_signature_is_refused() -> None:
    unsigned = {name: value for name, value in FORM.items() if name != "signature"}
    assert not verify_form([KEY], unsigned, frozenset())


def test_a_form_with_text_that_is_not_unicode_is_refused_without_an_error() -> None:
    assert not verify_form([KEY], FORM | {"cartId": "\udcff"}, frozenset())
