"""The customer's way back from the hosted page: settles nothing, whoever comes (contract 5)."""

from contextlib import suppress
from urllib.parse import urlencode, urlsplit, urlunsplit
from uuid import UUID

from eventsourcing.application import AggregateNotFoundError
from flask import redirect, render_template, request, url_for
from flask_openapi3 import APIBlueprint, Tag
from werkzeug.wrappers import Response as BaseResponse

from domain.gateway_report import PROVIDER_PAYTABS
from domain.payment import Payment
from domain.payment_saga import PaymentSaga
from domain.payment_terms import PaymentStatus
from interface.paytabs import verify_form
from interface.web.context import web
from interface.web.incidents import note_wrong_signature
from interface.web.models import PaymentPath, ReturnForm
from interface.web.operation_ids import by_view
from interface.web.problems import Problem
from interface.web.requests import whole_body

way_back = APIBlueprint(
    "way_back",
    __name__,
    url_prefix=f"/v1/return/{PROVIDER_PAYTABS}",
    template_folder="templates",
    abp_tags=[Tag(name="way back", description="Where customers come from the hosted page")],
    operation_id_callback=by_view,
)

OPEN = frozenset({PaymentStatus.INITIATED, PaymentStatus.PROCESSING})
LOOK = "look"
"""Our own parameter, which counts how often the page has shown itself again."""
LOOKS_MAX = 20
LOOK_AGAIN_SECONDS = 3

PAGE = {
    "description": "A page that says how the payment stands.",
    "content": {"text/html": {"schema": {"type": "string"}}},
}
ONWARDS = {
    "description": "To the payment's `redirectUrl`, with `paymentId` and `status` added.",
    "headers": {"Location": {"schema": {"type": "string", "format": "uri"}}},
}
FORM = {
    "content": {"application/x-www-form-urlencoded": {"schema": ReturnForm.model_json_schema()}}
}


@way_back.get("/<uuid:payment_id>", responses={200: PAGE, 303: ONWARDS})
def come_back(path: PaymentPath, query: ReturnForm) -> BaseResponse | str:
    """Come back from the hosted page

    For the customer's browser: needs no API key. Settles nothing, but the saga asks the gateway
    earlier. A `signature` that comes along must be the gateway's.
    """
    return _onwards(path.payment_id)


@way_back.post(
    "/<uuid:payment_id>",
    responses={200: PAGE, 303: ONWARDS},
    openapi_extensions={"requestBody": FORM},
)
def come_back_by_form(path: PaymentPath) -> BaseResponse | str:
    """Come back from the hosted page by form

    The same, as the gateway sends the browser over HTTPS.
    """
    return _onwards(path.payment_id)


def _onwards(payment_id: UUID) -> BaseResponse | str:
    """The browser may come before the gateway has told us: then the saga asks earlier, within its
    limits. Nothing is settled here: a browser is no witness."""
    _require_good_form()
    payment = web().applications.payments.get(payment_id)
    if payment.status in OPEN:
        _hurry(payment)
    if payment.redirect_url is None:
        return render_template("return.html", payment=payment, **_another_look(payment))
    return redirect(_with_outcome(payment.redirect_url, payment), 303)


def _require_good_form() -> None:
    """A form without a signature is as good as none: over plain HTTP the gateway sends the browser
    without any (PayTabs, section 2.2)."""
    whole_body()
    sent = {**request.args.to_dict(), **request.form.to_dict()}
    fields = {str(name): value for name, value in sent.items()}
    keys = [key.secret for key in web().settings.paytabs_server_keys]
    if fields.get("signature") and not verify_form(keys, fields, frozenset({LOOK})):
        note_wrong_signature("return_signature", "signature_wrong")
        raise Problem("invalid_signature", "the form was not signed by the gateway")


def _hurry(payment: Payment) -> None:
    with suppress(AggregateNotFoundError):  # the saga has not begun: it will ask soon enough
        web().applications.sagas.hurry(PaymentSaga.create_id(payment.id), "customer_returned")


def _another_look(payment: Payment) -> dict[str, object]:
    """How the page shows itself again, for a while, as long as the payment is open."""
    text = request.args.get(LOOK, "0")
    looks = int(text) if text.isascii() and text.isdecimal() and len(text) < 4 else LOOKS_MAX
    is_open = payment.status in OPEN
    if not is_open or looks >= LOOKS_MAX:
        return {"is_slow": is_open}
    address = url_for("way_back.come_back", payment_id=payment.id)
    return {"next_look": f"{address}?{LOOK}={looks + 1}", "wait_seconds": LOOK_AGAIN_SECONDS}


def _with_outcome(address: str, payment: Payment) -> str:
    parts = urlsplit(address)
    outcome = urlencode({"paymentId": str(payment.id), "status": payment.status.value})
    query = f"{parts.query}&{outcome}" if parts.query else outcome
    return urlunsplit(parts._replace(query=query))
