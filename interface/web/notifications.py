"""Takes PayTabs' notifications: verified, stored and answered at once (contract 5)."""

from dataclasses import replace

from flask import Response, request
from flask_openapi3 import APIBlueprint, Tag

from application.payment_gateway import GatewayNotification, Unreadable
from domain.event import EventContext, acting, current_context
from domain.gateway_report import PROVIDER_PAYTABS
from domain.payment import Payment
from interface.paytabs import (
    InvalidNotification,
    ServerKey,
    is_signature,
    parse_notification,
    signers_of,
)
from interface.paytabs.cards import mask_card_numbers
from interface.web.context import web
from interface.web.documents import json_response
from interface.web.incidents import note_wrong_signature
from interface.web.operation_ids import by_view
from interface.web.problems import Problem
from interface.web.requests import whole_body
from interface.web.webhook_answers import NotificationTaken

notifications = APIBlueprint(
    "notifications",
    __name__,
    abp_tags=[Tag(name="webhooks", description="Notifications from the gateway")],
    abp_security=[{"signature": []}],
    operation_id_callback=by_view,
)

KEPT_HEADERS = ("Content-Type", "User-Agent", "Content-Length")
"""The headers of a notification that are stored: none of them is a secret."""

HEADER_LENGTH_MAX = 256

BODY = {
    "description": "What the gateway says of a transaction, as it writes it; any JSON object is "
    "taken.",
    "required": True,
    "content": {
        "application/json": {
            "schema": {"type": "object"},
            "example": {
                "tran_ref": "TST2632787633131",
                "tran_type": "Sale",
                "cart_id": "1bb8f709-3904-4152-93a7-cadb763cec10-a1",
                "cart_currency": "SAR",
                "cart_amount": "149.50",
                "payment_result": {"response_status": "A", "response_code": "G12345"},
            },
        }
    },
}


@notifications.post(
    f"/v1/webhooks/{PROVIDER_PAYTABS}",
    responses={200: NotificationTaken},
    openapi_extensions={"requestBody": BODY},
)
def receive_notification() -> Response:
    """Take a notification from PayTabs

    Needs no API key but the header `Signature`: HMAC-SHA256 of the raw body under the profile's
    server key, in hex. Stored and answered at once; the saga works afterwards. One that cannot
    be read is stored too, as failed: the gateway would not send it better.
    """
    body = whole_body()
    signature = request.headers.get("Signature", "")
    signers = _signers(body, signature)
    try:
        notification = parse_notification(body, signature, web().applications.clock.now())
    except InvalidNotification as error:
        raise Problem("invalid_payload", str(error)) from None
    notification = _believed(notification, signers)
    payment = web().finder.find(notification.report)
    with acting(_in_the_payments_context(payment)):
        webhook_id = web().applications.webhooks.receive(
            notification,
            body=body,
            headers=_kept_headers(),
            ip_address=request.remote_addr,
            payment=payment,
        )
    return json_response({"webhookId": str(webhook_id)})


def _signers(body: bytes, signature: str) -> list[ServerKey]:
    signers = signers_of(web().settings.paytabs_server_keys, body, signature)
    if signers:
        return signers
    if not signature:
        raise _refused("signature_missing")
    raise _refused("signature_wrong" if is_signature(signature) else "signature_malformed")


def _believed(notification: GatewayNotification, signers: list[ServerKey]) -> GatewayNotification:
    """What may be made of a notification, by the profile that it names and that its key is for.

    Payments here are opened with our own profile. What another profile says, though its key is
    one of ours, settles nothing: it is kept as unreadable, so that the saga asks the gateway.
    """
    named = notification.payload.get("profile_id")
    if not any(key.may_sign_for(named) for key in signers):
        raise _refused("profile_mismatch")
    own = web().settings.paytabs_profile_id
    if named in (None, own, str(own)) and any(key.may_sign_for(own) for key in signers):
        return notification
    note_wrong_signature("webhook_signature", "foreign_profile")
    said = notification.report
    reason = f"it speaks for another profile than {own}, with which payments are opened"
    doubted = Unreadable(reason, said.cart_id, said.transaction_ref, said.previous_ref)
    return replace(notification, report=doubted)


def _refused(reason: str) -> Problem:
    note_wrong_signature("webhook_signature", reason)
    return Problem("invalid_signature", "sign the raw body with the profile's server key")


def _kept_headers() -> dict[str, str]:
    return {
        name: mask_card_numbers(request.headers[name][:HEADER_LENGTH_MAX])
        for name in KEPT_HEADERS
        if name in request.headers
    }


def _in_the_payments_context(payment: Payment | None) -> EventContext:
    """What a notification causes belongs together with what the payment's request caused."""
    context = current_context()
    if payment is None:
        return context
    return context.correlated(payment.correlation_id, payment.trace_id, payment.span_id)
