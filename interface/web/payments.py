"""Payments over HTTP: create, show, list, cancel, and what happened to them (contract 4)."""

from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

from eventsourcing.application import AggregateNotFoundError
from flask import Response, g, url_for
from flask_openapi3 import APIBlueprint, Tag

from application.envelope import envelope, timestamp
from application.payments import NewPayment
from domain.gateway_report import PROVIDER_PAYTABS
from domain.keyed_request import current_command
from domain.money import Money, money
from domain.payment import Payment
from domain.payment_saga import PaymentSaga
from domain.payment_terms import PaymentStatus
from domain.saga_steps import SagaStatus
from interface.settings import Role
from interface.web.answers import EventList, PaymentAnswer, PaymentList, RefundAnswer, SagaAnswer
from interface.web.context import web
from interface.web.documents import (
    json_response,
    list_document,
    payment_document,
    refund_document,
    row_document,
    saga_document,
)
from interface.web.models import (
    CancelPayment,
    CapturePayment,
    CreatePayment,
    HistoryQuery,
    ListQuery,
    NoMembers,
    PastQuery,
    PaymentPath,
    RefundPayment,
)
from interface.web.operation_ids import by_view
from interface.web.pages import page_of
from interface.web.problems import Problem
from interface.web.requests import body_fingerprint, needs, prefers_async
from system.event_status import event_statuses
from system.persistence.payment_queries import PaymentFilter

payments = APIBlueprint(
    "payments",
    __name__,
    url_prefix="/v1/payments",
    abp_tags=[Tag(name="payments", description="Payments and their sagas")],
    abp_security=[{"apiKey": []}],
    operation_id_callback=by_view,
)


STATUS_OF_NEW_SAGA = {
    PaymentStatus.INITIATED: SagaStatus.RUNNING,
    PaymentStatus.PROCESSING: SagaStatus.WAITING,
}
"""How the saga of a payment stands that was created just now and waits for its customer."""


@payments.post("", responses={201: PaymentAnswer, 202: PaymentAnswer})
@needs(Role.WRITE)
def create_payment(body: CreatePayment) -> Response:
    """Create a payment

    Waits up to CREATE_WAIT_MS for the hosted page; `Prefer: respond-async` does not wait. While
    the gateway is left alone the payment waits too, and `Retry-After` says for how long.
    """
    command = current_command()
    payment_id = command.request_id if command else web().applications.ids.uuid()
    is_async = prefers_async()
    retry_after = web().circuits.retry_after_seconds(PROVIDER_PAYTABS)
    with web().waiter.watch(payment_id) as wait:
        payment, is_replay = web().applications.payments.initiate(_new(body), payment_id)
        if not is_async and retry_after is None:
            payment = wait(payment, web().settings.create_wait_ms / 1000)
    if command:
        command.is_replay = is_replay
    headers = {"Location": url_for("payments.get_payment", payment_id=payment.id)}
    if is_async:
        headers["Preference-Applied"] = "respond-async"
    if retry_after is not None and payment.status is PaymentStatus.INITIATED:
        headers["Retry-After"] = str(retry_after)
    document = _document(payment) if is_replay else _document_of_new(payment)
    return json_response(document, 202 if is_async else 201, headers)


def _document_of_new(payment: Payment) -> dict[str, Any]:
    """A payment that was created just now: it tells how its saga stands, which need not be read
    as long as nothing is decided."""
    saga_status = STATUS_OF_NEW_SAGA.get(payment.status)
    if saga_status is None:
        return _document(payment)
    return payment_document(payment, web().applications.vault, saga_status)


def _new(body: CreatePayment) -> NewPayment:
    return NewPayment(
        amount=money(body.amount, body.currency),
        description=body.description,
        contract_id=body.contract_id,
        client=body.client_info.to_domain() if body.client_info else None,
        payment_method=body.payment_method,
        capture_method=body.capture_method,
        redirect_url=body.redirect_url,
        callback_url=body.callback_url,
        metadata=body.metadata,
        fingerprint=body_fingerprint(),
    )


@payments.get("/<uuid:payment_id>", responses={200: PaymentAnswer})
@needs(Role.READ)
def get_payment(path: PaymentPath, query: PastQuery) -> Response:
    """Show a payment

    With `version` or `asOf` a past state is rebuilt from the events.
    """
    log = web().applications.payments
    if query.as_of is not None:
        payment = _as_of(path.payment_id, query.as_of)
    else:
        payment = log.get(path.payment_id, version=query.version)
    if query.version is not None and payment.version < query.version:
        raise Problem("not_found", f"the payment's newest version is {payment.version}")
    is_past = query.version is not None or query.as_of is not None
    return json_response(_document(payment, is_past=is_past))


def _as_of(payment_id: UUID, moment: datetime) -> Payment:
    log = web().applications.payments
    try:
        return log.get_as_of(payment_id, moment)
    except AggregateNotFoundError:
        created_at = timestamp(log.get(payment_id).created_on)
        raise Problem("not_found", f"the payment was not created until {created_at}") from None


@payments.get("", responses={200: PaymentList})
@needs(Role.READ)
def list_payments(query: ListQuery) -> Response:
    """List payments, newest first"""
    wanted = PaymentFilter(
        status=query.status.value if query.status else None,
        contract_id=query.contract_id,
        currency=query.currency,
        transaction_ref=query.transaction_ref,
        created_from=query.created_from,
        created_to=query.created_to,
        text=query.q,
    )
    page = page_of(query, partial(web().queries.list, wanted), ("created_at", "payment_id"))
    documents = [row_document(row) for row in page.rows]
    total = web().queries.count(wanted) if query.total else None
    return json_response(list_document(documents, page.next_cursor, total))


@payments.post("/<uuid:payment_id>/cancel", responses={200: PaymentAnswer})
@needs(Role.WRITE)
def cancel_payment(path: PaymentPath, body: CancelPayment) -> Response:
    """Cancel a payment

    Allowed while it is initiated, processing or authorized. Money that arrives later is given
    back. Cancelling again changes nothing.
    """
    payment = web().applications.payments.cancel(path.payment_id, body.reason)
    return json_response(_document(payment))


@payments.post("/<uuid:payment_id>/capture", responses={202: PaymentAnswer})
@needs(Role.WRITE)
def capture_payment(path: PaymentPath, body: CapturePayment) -> Response:
    """Capture an authorized payment, all of it or part

    The saga takes the money and lets go of the rest; the answer does not wait for that.
    """
    log = web().applications.payments
    amount = _amount(log.get(path.payment_id), body.amount)
    return json_response(_document(log.capture(path.payment_id, amount)), 202)


@payments.post("/<uuid:payment_id>/refunds", responses={201: RefundAnswer})
@needs(Role.WRITE)
def refund_payment(path: PaymentPath, body: RefundPayment) -> Response:
    """Refund a payment, all that is left of it or part

    The refund is pending until the gateway has answered. Two equal partial refunds with
    different keys are two refunds.
    """
    log = web().applications.payments
    amount = _amount(log.get(path.payment_id), body.amount)
    command = current_command()
    refund_id = command.request_id if command else web().applications.ids.uuid()
    payment = log.refund(path.payment_id, refund_id, amount, body.reason)
    return json_response(refund_document(payment.refunds[refund_id]), 201)


def _amount(payment: Payment, amount: Decimal | None) -> Money | None:
    return money(amount, payment.amount.currency.code) if amount is not None else None


@payments.get("/<uuid:payment_id>/events", responses={200: EventList})
@needs(Role.READ)
def list_payment_events(path: PaymentPath, query: HistoryQuery) -> Response:
    """Show what happened to a payment, oldest first

    A payment has few events: one page holds them, unless money was given back very often.
    """
    applications = web().applications
    events = applications.payments.history(path.payment_id)
    if not events:
        raise AggregateNotFoundError(str(path.payment_id))
    begin = int(query.cursor or 0)
    page = events[begin : begin + query.limit]
    next_cursor = str(begin + query.limit) if len(events) > begin + query.limit else None
    statuses = event_statuses(
        applications, web().persistence, applications.payments, path.payment_id
    )
    documents = [
        envelope(event, applications.vault, statuses[event.originator_version]) for event in page
    ]
    return json_response(list_document(documents, next_cursor))


@payments.get("/<uuid:payment_id>/saga", responses={200: SagaAnswer})
@needs(Role.READ)
def get_saga(path: PaymentPath) -> Response:
    """Show the saga of a payment: its steps and its deadlines"""
    return _saga_response(path.payment_id)


@payments.post("/<uuid:payment_id>/saga/retry", responses={200: SagaAnswer})
@needs(Role.ADMIN)
def retry_saga(path: PaymentPath, body: NoMembers) -> Response:
    """Let a parked saga try again what it had given up"""
    saga_id = PaymentSaga.create_id(path.payment_id)
    web().applications.sagas.retry(saga_id, g.api_key.name)
    return _saga_response(path.payment_id)


@payments.post("/<uuid:payment_id>/saga/compensate", responses={200: SagaAnswer})
@needs(Role.ADMIN)
def compensate_saga(path: PaymentPath, body: NoMembers) -> Response:
    """Give a parked saga's payment up: what was done is undone"""
    saga_id = PaymentSaga.create_id(path.payment_id)
    web().applications.sagas.compensate(saga_id, g.api_key.name)
    return _saga_response(path.payment_id)


def _saga_response(payment_id: UUID) -> Response:
    payment = web().applications.payments.get(payment_id)
    return json_response(saga_document(payment, _saga(payment, is_past=False)))


def _document(payment: Payment, *, is_past: bool = False) -> dict[str, Any]:
    saga = _saga(payment, is_past=is_past)
    status = saga.status if saga else None
    return payment_document(payment, web().applications.vault, status)


def _saga(payment: Payment, *, is_past: bool) -> PaymentSaga | None:
    sagas = web().applications.sagas
    saga_id: UUID = PaymentSaga.create_id(payment.id)
    try:
        return sagas.get_as_of(saga_id, payment.modified_on) if is_past else sagas.get(saga_id)
    except AggregateNotFoundError:
        return None
