"""Notifications from PayTabs, and the customer's way back (contract 5)."""

from dataclasses import replace
from urllib.parse import urlencode, urlsplit, urlunsplit
from uuid import UUID

from eventsourcing.application import AggregateNotFoundError
from flask import Blueprint, Response, redirect, render_template, request
from werkzeug.wrappers import Response as BaseResponse

from application.payment_gateway import Unreadable
from domain.event import EventContext, acting, current_context
from domain.gateway_report import PROVIDER_PAYTABS, GatewayReport, payment_id_of
from domain.payment import Payment
from interface.paytabs import (
    InvalidNotification,
    parse_notification,
    verify_body,
    verify_form,
)
from interface.web.context import web
from interface.web.documents import json_response
from interface.web.problems import Problem
from interface.web.requests import whole_body

webhooks = Blueprint("webhooks", __name__, template_folder="templates")

KEPT_HEADERS = ("Content-Type", "User-Agent", "Content-Length")
"""The headers of a notification that are stored: none of them is a secret."""

HEADER_LENGTH_MAX = 256


@webhooks.post(f"/v1/webhooks/{PROVIDER_PAYTABS}")
def receive_notification() -> Response:
    """Stores a signed notification and answers at once; the saga works afterwards. One that
    cannot be read is stored too, as failed: the gateway would not send it better."""
    body = whole_body()
    signature = request.headers.get("Signature")
    if not verify_body(_server_keys(), body, signature):
        _note_wrong_signature("signature_wrong" if signature else "signature_missing")
        raise Problem("invalid_signature", "sign the raw body with the profile's server key")
    try:
        notification = parse_notification(body, signature or "", web().applications.clock.now())
    except InvalidNotification as error:
        raise Problem("invalid_payload", str(error)) from None
    payment = _payment_in(notification.report)
    with acting(_in_the_payments_context(payment)):
        webhook_id = web().applications.webhooks.receive(
            notification,
            body=body,
            headers=_kept_headers(),
            ip_address=request.remote_addr,
            payment_id=payment.id if payment else None,
        )
    return json_response({"webhookId": str(webhook_id)})


def _note_wrong_signature(reason: str) -> None:
    suppressed = web().incident_limit.admit(request.remote_addr)
    if suppressed is None:
        return
    detail = {"reason": reason} | ({"suppressed": suppressed} if suppressed else {})
    web().applications.operations.record_incident(
        "webhook_signature", "high", request.remote_addr, detail
    )


def _server_keys() -> list[str]:
    key = web().settings.paytabs_server_key
    return [key.get_secret_value()] if key else []


def _kept_headers() -> dict[str, str]:
    return {
        name: request.headers[name][:HEADER_LENGTH_MAX]
        for name in KEPT_HEADERS
        if name in request.headers
    }


def _payment_in(said: GatewayReport | Unreadable) -> Payment | None:
    """The payment that a notification names by its cart, or else by a transaction: some methods
    send no cart (PayTabs, section 10)."""
    payment = _payment(payment_id_of(said.cart_id))
    references = {ref for ref in (said.transaction_ref, said.previous_ref) if ref}
    if payment is not None or not references:
        return payment
    return _payment(web().queries.payment_of(references))


def _payment(payment_id: UUID | None) -> Payment | None:
    try:
        return web().applications.payments.get(payment_id) if payment_id else None
    except AggregateNotFoundError:
        return None


def _in_the_payments_context(payment: Payment | None) -> EventContext:
    """What a notification causes belongs together with what the payment's request caused."""
    context = current_context()
    if payment is None:
        return context
    metadata = replace(context.metadata, correlation_id=payment.correlation_id)
    return replace(context, metadata=metadata)


@webhooks.route(f"/v1/return/{PROVIDER_PAYTABS}/<uuid:payment_id>", methods=["GET", "POST"])
def come_back(payment_id: UUID) -> BaseResponse | str:
    """The browser comes back from the hosted page. Nothing is settled here: a browser is no
    witness. Goes on to the payment's `redirectUrl`, or shows a plain page."""
    whole_body()
    sent = {**request.args.to_dict(), **request.form.to_dict()}
    fields = {str(name): value for name, value in sent.items()}
    if fields.get("signature") and not verify_form(_server_keys(), fields, frozenset()):
        raise Problem("invalid_signature", "the form was not signed by the gateway")
    payment = web().applications.payments.get(payment_id)
    if payment.redirect_url is None:
        return render_template("return.html", payment=payment)
    return redirect(_with_outcome(payment.redirect_url, payment), 303)


def _with_outcome(address: str, payment: Payment) -> str:
    parts = urlsplit(address)
    outcome = urlencode({"paymentId": str(payment.id), "status": payment.status.value})
    query = f"{parts.query}&{outcome}" if parts.query else outcome
    return urlunsplit(parts._replace(query=query))
