"""Payments, sagas, webhooks and lists as the API shows them (contract 4)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from flask import Response

from application.envelope import public_value, timestamp
from application.vault import Vault
from domain.payment import Payment
from domain.payment_saga import PaymentSaga
from domain.payment_terms import Refund
from domain.saga_steps import SagaStatus, StepState, steps_of
from interface.json_text import write_json
from system.projections.payments_view import payment_row, refund_rows
from system.projections.sagas_view import shown_status

Document = dict[str, Any]


def json_response(
    document: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A document as a JSON response, with exact numbers."""
    return Response(write_json(document), status, content_type="application/json", headers=headers)


def payment_document(payment: Payment, vault: Vault, saga_status: SagaStatus | None) -> Document:
    """A payment from its events. `saga_status` is None before its saga has begun."""
    row = {
        **payment_row(payment, vault),
        "refunds": refund_rows(payment),
        "saga_status": saga_status.value if saga_status else None,
    }
    return row_document(row)


def refund_document(refund: Refund) -> Document:
    """A refund of a payment."""
    return _refund({**vars(refund), "amount": refund.amount.amount, "status": refund.status.value})


def row_document(row: Mapping[str, Any]) -> Document:
    """A payment from a row of the view, or from something of the same shape."""
    return {
        "paymentId": str(row["payment_id"]),
        "status": row["status"],
        "amount": row["amount"],
        "currency": row["currency"],
        "description": row["description"],
        "contractId": row["contract_id"],
        "clientInfo": row["client_info"],
        "paymentMethod": row["payment_method"],
        "captureMethod": row["capture_method"],
        "redirectUrl": row["redirect_url"],
        "callbackUrl": row["callback_url"],
        "metadata": row["merchant_metadata"],
        "amountCaptured": row["amount_captured"],
        "amountRefunded": row["amount_refunded"],
        "transactionRef": row["transaction_ref"],
        "gatewayProvider": row["gateway_provider"],
        "nextAction": _next_action(row),
        "failure": row["failure"],
        "cancellationReason": row["cancellation_reason"],
        "refunds": [_refund(refund) for refund in row["refunds"]],
        "saga": {
            "sagaId": str(PaymentSaga.create_id(row["payment_id"])),
            "status": row["saga_status"] or SagaStatus.RUNNING.value,
        },
        "version": row["version"],
        "createdAt": timestamp(row["created_at"]),
        "updatedAt": timestamp(row["updated_at"]),
        "correlationId": row["correlation_id"],
    }


def _next_action(row: Mapping[str, Any]) -> Document | None:
    if row["page_url"] is None:
        return None
    return next_action_document(row["page_url"], row["page_expires_at"])


def next_action_document(url: str, expires_at: datetime) -> Document:
    """Where the customer has to go, and until when."""
    return {"type": "redirect", "url": url, "expiresAt": timestamp(expires_at)}


def _refund(refund: Mapping[str, Any]) -> Document:
    return {
        "refundId": str(refund["refund_id"]),
        "amount": refund["amount"],
        "status": refund["status"],
        "reason": refund["reason"],
        "transactionRef": refund["transaction_ref"],
        "createdAt": timestamp(refund["created_at"]),
    }


def webhook_document(row: Mapping[str, Any]) -> Document:
    """A webhook from a row of its view, or from something of the same shape."""
    payment_id = row["payment_id"]
    return {
        "webhookId": str(row["webhook_id"]),
        "provider": row["provider"],
        "status": str(row["status"]),
        "paymentId": str(payment_id) if payment_id else None,
        "transactionRef": row["transaction_ref"],
        "transactionKind": row["transaction_kind"],
        "transactionStatus": row["transaction_status"],
        "outcome": row["outcome"],
        "reason": row["reason"],
        "timesSeen": row["times_seen"],
        "ipAddress": row["ip_address"],
        "version": row["version"],
        "receivedAt": timestamp(row["received_at"]),
        "updatedAt": timestamp(row["updated_at"]),
        "correlationId": row["correlation_id"],
    }


def saga_document(payment: Payment, saga: PaymentSaga | None) -> Document:
    """A payment's saga with its steps and deadlines; None: it has not begun yet."""
    if saga is None:
        return _saga_to_come(payment)
    return {
        "sagaId": str(saga.id),
        "paymentId": str(saga.payment_id),
        "status": saga.status.value,
        "parked": saga.parked_detail,
        "steps": [_step(step) for step in saga.steps.values()],
        "deadlines": [
            {"name": deadline.value, "dueAt": timestamp(due_at)}
            for deadline, due_at in saga.deadlines.items()
        ],
        "version": saga.version,
    }


def saga_row_document(row: Mapping[str, Any]) -> Document:
    """A saga from a row of the view."""
    return {
        "sagaId": str(row["saga_id"]),
        "paymentId": str(row["payment_id"]),
        "status": shown_status(row),
        "parked": row["parked_detail"],
        "advice": row["advice"],
        "createdAt": timestamp(row["created_at"]),
        "updatedAt": timestamp(row["updated_at"]),
    }


def _saga_to_come(payment: Payment) -> Document:
    return {
        "sagaId": str(PaymentSaga.create_id(payment.id)),
        "paymentId": str(payment.id),
        "status": SagaStatus.RUNNING.value,
        "parked": None,
        "steps": [_step(StepState(step)) for step in steps_of(capture=payment.captures_itself)],
        "deadlines": [],
        "version": 0,
    }


def _step(step: StepState) -> Document:
    return {
        "name": step.name.value,
        "status": step.status.value,
        "startedAt": public_value(step.started_at, str),
        "endedAt": public_value(step.ended_at, str),
        "attempts": step.attempts,
        "error": step.error,
        "compensation": step.compensation,
    }


def list_document(
    documents: Sequence[Document], next_cursor: str | None, total: int | None = None
) -> Document:
    """A page of a list (contract 3), with how many there are in all when that was asked for."""
    page: Document = {"data": documents, "nextCursor": next_cursor}
    return page if total is None else {**page, "total": total}
