"""Checks the simulator's signatures against the examples PayTabs and its facts sheet print."""

from __future__ import annotations

from interface.simulator.signing import sign_body, sign_form

KEY = "SABCDEFGH1-JKLMNPQRS2-TUVWXYZ345"
BODY = (
    '{"tran_ref":"TST2620100000042","merchant_id":7001,"profile_id":90001,'
    '"cart_id":"ORD-1001-a1","cart_description":"Order 1001","cart_currency":"SAR",'
    '"cart_amount":"149.50","tran_currency":"SAR","tran_total":"149.50","tran_type":"Sale",'
    '"tran_class":"ECom","payment_result":{"response_status":"A","response_code":"G48213",'
    '"response_message":"Authorised","acquirer_ref":"TRAN0201.6A5F1C20.0000A1B2",'
    '"cvv_result":" ","avs_result":" ","transaction_time":"2026-07-20T09:15:12Z"},'
    '"payment_info":{"payment_method":"Visa","card_type":"Credit","card_scheme":"Visa",'
    '"payment_description":"4111 11## #### 1111","expiryMonth":12,"expiryYear":2030},'
    '"ipn_trace":"IPNS0201.6A5F1C20.00000C3D","paymentChannel":"Payment Page"}'
)


def test_a_callback_is_signed_over_its_raw_bytes() -> None:
    expected = "247836f7a33cbfe8eb062f09883a669e94eb132509a627cc942dc29cc5633cfd"
    assert sign_body(KEY, BODY.encode()) == expected


def test_the_form_signature_is_the_one_paytabs_publishes() -> None:
    form = {
        "acquirerMessage": "",
        "acquirerRRN": "",
        "cartId": "cart_11111",
        "customerEmail": "email@domain.com",
        "respCode": "G84718",
        "respMessage": "Authorised",
        "respStatus": "A",
        "signature": "whatever was there",
        "token": "",
        "tranRef": "TST2215201242166",
    }
    expected = "7a181a32c768621eb6966107752ee70205a01f1c4403a3d13c0ff604f591f988"
    assert sign_form("SGJNZ96JLG-JDMKHGRWT9-RWRK2KJNRJ", form) == expected


def test_the_form_signature_covers_the_encoded_values() -> None:
    form = {
        "tranRef": "TST2620100000043",
        "cartId": "ORD-1001-a1",
        "customerEmail": "buyer+test@example.com",
        "respCode": "305",
        "respMessage": "Card security code (CVV) mismatch",
        "respStatus": "D",
    }
    expected = "1fd82636031598f32841916523bbd5a01e18feee303570427926b4a9c108431a"
    assert sign_form(KEY, form) == expected


def test_a_zero_is_a_value_and_is_signed() -> None:
    assert sign_form(KEY, {"respCode": "0"}) != sign_form(KEY, {"respCode": ""})
