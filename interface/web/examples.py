"""What requests and answers look like: an example of each, for the OpenAPI document and its page.

They all tell of the same customer, who paid Order 1001 and had one item's price given back.
"""

from decimal import Decimal
from typing import Any

Example = dict[str, Any]

PAYMENT_ID = "808b6f1e-ae77-5c65-b1ef-f4a710c4b7eb"
SAGA_ID = "5b4cb5a4-4d20-5c96-a9fe-127e420cb1ee"
REFUND_ID = "7f315c70-4558-569f-85c8-90673902c4ee"
WEBHOOK_ID = "b5042575-58d7-5dd0-a546-3c5121b68fac"
CONFIRMATION_ID = "9c7a4ee7-7ab3-533b-8176-0735d9bce9f2"
EVENT_ID = "d6d2cf73-b5a5-564a-ac3b-484447dee007"
TRANSACTION = "TST2632740850689"
CREATED_AT = "2026-01-31T12:00:00.684242Z"
OPENED_AT = "2026-01-31T12:00:00.727291Z"
PAID_AT = "2026-01-31T12:01:17.756024Z"
PAGE: Example = {
    "type": "redirect",
    "url": "https://secure.paytabs.sa/payment/page/D050CD3E9382E8E8",
    "expiresAt": "2026-01-31T12:20:00.725673Z",
}
CLIENT: Example = {"name": "Layla Haddad", "email": "layla@example.com"}
CLIENT_SHOWN: Example = {**CLIENT, "phone": None, "address": None}
CALLBACK = "https://shop.example.com/paysaga"

CREATE_PAYMENT: Example = {
    "amount": "149.50",
    "currency": "SAR",
    "description": "Order 1001",
    "clientInfo": CLIENT,
    "redirectUrl": "https://shop.example.com/thanks",
    "callbackUrl": CALLBACK,
    "metadata": {"order": "1001"},
}
PAYMENT: Example = {
    "paymentId": PAYMENT_ID,
    "status": "processing",
    "amount": Decimal("149.50"),
    "currency": "SAR",
    "description": "Order 1001",
    "contractId": None,
    "clientInfo": CLIENT_SHOWN,
    "paymentMethod": "all",
    "captureMethod": "automatic",
    "redirectUrl": "https://shop.example.com/thanks",
    "callbackUrl": CALLBACK,
    "metadata": {"order": "1001"},
    "amountCaptured": Decimal("0.00"),
    "amountRefunded": Decimal("0.00"),
    "transactionRef": TRANSACTION,
    "gatewayProvider": "paytabs",
    "nextAction": PAGE,
    "failure": None,
    "cancellationReason": None,
    "refunds": [],
    "saga": {"sagaId": SAGA_ID, "status": "waiting"},
    "version": 2,
    "createdAt": CREATED_AT,
    "updatedAt": OPENED_AT,
    "correlationId": "order-1001",
}
REFUND: Example = {
    "refundId": REFUND_ID,
    "amount": Decimal("49.50"),
    "status": "pending",
    "reason": "one item was sent back",
    "transactionRef": None,
    "createdAt": "2026-02-02T09:30:17.907395Z",
}


def _step(name: str, begun: str | None, ended: str | None, undone_by: str | None) -> Example:
    return {
        "name": name,
        "status": "succeeded" if ended else "running" if begun else "pending",
        "startedAt": begun,
        "endedAt": ended,
        "attempts": 1 if begun else 0,
        "error": None,
        "compensation": undone_by,
    }


SAGA: Example = {
    "sagaId": SAGA_ID,
    "paymentId": PAYMENT_ID,
    "status": "waiting",
    "parked": None,
    "steps": [
        _step("create_record", CREATED_AT, CREATED_AT, "close_record"),
        _step("open_at_gateway", CREATED_AT, OPENED_AT, "abandon_page"),
        _step("await_customer", OPENED_AT, None, None),
        _step("settle", None, None, "give_money_back"),
        _step("confirm", None, None, None),
    ],
    "deadlines": [{"name": "reconcile", "dueAt": "2026-01-31T12:21:00.725673Z"}],
    "version": 7,
}
SAGA_ROW: Example = {
    "sagaId": SAGA_ID,
    "paymentId": PAYMENT_ID,
    "status": "waiting",
    "parked": None,
    "advice": None,
    "createdAt": CREATED_AT,
    "updatedAt": OPENED_AT,
}
EVENT: Example = {
    "id": EVENT_ID,
    "type": "payment.cancelled",
    "timestamp": PAID_AT,
    "version": "1",
    "priority": "MEDIUM",
    "status": "PROCESSED",
    "correlationId": "order-1001",
    "causationId": None,
    "aggregateId": PAYMENT_ID,
    "aggregateType": "Payment",
    "aggregateVersion": 3,
    "metadata": {
        "source": "api",
        "userId": "shop",
        "sessionId": None,
        "ipAddress": "203.0.113.7",
        "userAgent": "shop/2.1",
        "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
        "spanId": "00f067aa0ba902b7",
    },
    "data": {
        "paymentId": PAYMENT_ID,
        "reason": "requested_by_merchant",
        "cancelledAt": PAID_AT,
    },
}
ENTRY: Example = {**EVENT, "position": 1440}
CREATE_CONTRACT: Example = {
    "contractId": "rent-2026-17",
    "description": "Rent, unit 17",
    "currency": "SAR",
    "clientInfo": CLIENT,
    "payee": {"id": "owner-17", "name": "Nour Estates"},
    "platformFeePercent": "2.5",
    "instalments": [{"dueOn": "2026-01-31", "amount": "2500.00"}],
}
CONTRACT: Example = {
    "contractId": "rent-2026-17",
    "status": "active",
    "description": "Rent, unit 17",
    "currency": "SAR",
    "clientInfo": CLIENT_SHOWN,
    "payee": {"id": "owner-17", "name": "Nour Estates"},
    "platformFeePercent": Decimal("2.5"),
    "instalments": [
        {
            "instalment": 1,
            "dueOn": "2026-01-31",
            "amount": Decimal("2500.00"),
            "status": "due",
            "overdue": False,
            "paymentId": PAYMENT_ID,
            "nextAction": PAGE,
        },
    ],
    "callbackUrl": None,
    "cancellationReason": None,
    "version": 2,
    "createdAt": CREATED_AT,
    "updatedAt": OPENED_AT,
    "correlationId": "rent-17",
}
EARNED: Example = {
    "currency": "SAR",
    "gross": Decimal("2500.00"),
    "platformFee": Decimal("62.50"),
    "net": Decimal("2437.50"),
}
EARNINGS: Example = {
    "contractId": "rent-2026-17",
    "payee": {"id": "owner-17", "name": "Nour Estates"},
    "totals": [EARNED],
    "payments": [{"paymentId": PAYMENT_ID, **EARNED}],
    "nextCursor": None,
}
WEBHOOK_ROW: Example = {
    "webhookId": WEBHOOK_ID,
    "provider": "paytabs",
    "status": "processed",
    "paymentId": PAYMENT_ID,
    "transactionRef": TRANSACTION,
    "transactionKind": "sale",
    "transactionStatus": "authorised",
    "outcome": "paid",
    "reason": None,
    "timesSeen": 1,
    "ipAddress": "203.0.113.20",
    "version": 2,
    "receivedAt": PAID_AT,
    "updatedAt": PAID_AT,
    "correlationId": "order-1001",
}
WEBHOOK: Example = {
    **WEBHOOK_ROW,
    "payload": {"tran_ref": TRANSACTION, "payment_result": {"response_status": "A"}},
    "signature": "c85416710f169a5142644be2c98f468777b1384ca1c7f86ab02fd061dff186d1",
    "headers": {"Content-Type": "application/json"},
    "events": [],
}
ATTEMPT: Example = {
    "attemptedAt": PAID_AT,
    "statusCode": 503,
    "error": None,
    "responseBody": "try later",
}
CONFIRMATION_ROW: Example = {
    "confirmationId": CONFIRMATION_ID,
    "paymentId": PAYMENT_ID,
    "eventId": EVENT_ID,
    "eventType": "payment.cancelled",
    "url": CALLBACK,
    "status": "pending",
    "attempts": 1,
    "nextAttemptAt": "2026-01-31T12:01:22.879434Z",
    "lastAttempt": ATTEMPT,
    "createdAt": PAID_AT,
    "updatedAt": PAID_AT,
}
BREAKER: Example = {
    "name": "paytabs",
    "state": "CLOSED",
    "metrics": {"totalRequests": 19, "failedRequests": 0, "errorRate": Decimal("0.0")},
    "configuration": {"name": "paytabs", "errorThreshold": 50, "resetTimeout": 60000},
    "nextRetryTime": None,
    "lastFailureTime": None,
}
POSITION: Example = {
    "follower": "PaymentSagas",
    "leader": "Payments",
    "position": 137,
    "head": 137,
    "lagEvents": 0,
    "lagSeconds": Decimal("0.0"),
    "lastActiveAt": PAID_AT,
    "process": "host:17964:6a1742a3",
    "parkedEvents": 0,
    "state": "running",
}
PARKED_ID = "1bb8f709-3904-4152-93a7-cadb763cec10"
PARKED: Example = {
    "parkedId": PARKED_ID,
    "follower": "PaymentsView",
    "leader": "Payments",
    "position": 137,
    "paymentId": PAYMENT_ID,
    "topic": "domain.payment:Payment.Cancelled",
    "error": "KeyError: 'reason'",
    "attempts": 3,
    "isReleased": False,
    "place": 1,
}


def _page(example: Example) -> Example:
    return {"data": [example], "nextCursor": None}


EXAMPLES: dict[str, Example] = {
    "CreatePayment": CREATE_PAYMENT,
    "CancelPayment": {"reason": "the customer changed their mind"},
    "CapturePayment": {"amount": "100.00"},
    "RefundPayment": {"amount": "49.50", "reason": "one item was sent back"},
    "CreateContract": CREATE_CONTRACT,
    "CancelContract": {"reason": "moved out"},
    "RedeliverFailed": {"since": "2026-01-31T00:00:00Z"},
    "NoMembers": {},
    "PaymentAnswer": PAYMENT,
    "PaymentList": _page(PAYMENT),
    "RefundAnswer": REFUND,
    "SagaAnswer": SAGA,
    "SagaList": _page(SAGA_ROW),
    "EventList": _page(EVENT),
    "EntryAnswer": ENTRY,
    "EntryList": _page(ENTRY),
    "VerdictAnswer": {
        "ok": True,
        "entries": 1440,
        "head": f"1440:{64 * '0'}",
        "setAside": 0,
        "firstBroken": None,
    },
    "ContractAnswer": CONTRACT,
    "ContractList": _page(CONTRACT),
    "ContractEarnings": EARNINGS,
    "EarningsList": _page({"payeeId": "owner-17", "payments": 1, **EARNED}),
    "NotificationTaken": {"webhookId": WEBHOOK_ID},
    "WebhookAnswer": WEBHOOK,
    "WebhookList": _page(WEBHOOK_ROW),
    "ConfirmationAnswer": {**CONFIRMATION_ROW, "history": [{"attempt": 1, **ATTEMPT}]},
    "ConfirmationList": _page(CONFIRMATION_ROW),
    "ToldAgain": {"redelivered": 12, "hasMore": False},
    "BreakerAnswer": BREAKER,
    "BreakerList": _page(BREAKER),
    "PositionList": _page(POSITION),
    "RebuildAnswer": {
        "projection": "PaymentsView",
        "isRunning": True,
        "isInterrupted": False,
        "position": 96000,
        "total": 250000,
    },
    "ParkedEventList": _page(PARKED),
    "ParkedEventTold": {"parkedId": PARKED_ID, "outcome": "released"},
}
"""By the name of the schema of a body or an answer."""
