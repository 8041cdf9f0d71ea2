"""Completes the OpenAPI document with what every operation has in common: problems, headers,
examples, and links from one operation to the next."""

from copy import deepcopy
from typing import Any

from interface.web.examples import EXAMPLES
from interface.web.problems import KINDS

Document = dict[str, Any]

SECURITY_SCHEMES: Document = {
    "apiKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "The secret of an API key. Its role, `read`, `write` or `admin`, decides "
        "what it may do.",
    },
    "signature": {
        "type": "apiKey",
        "in": "header",
        "name": "Signature",
        "description": "HMAC-SHA256 of the raw body under the profile's server key, in hex.",
    },
}
"""What shows that a request may be made: by a merchant, and by the gateway."""

PROBLEM_SCHEMA = {"$ref": "#/components/schemas/ProblemAnswer"}
TEXT: Document = {"type": "string"}

CORRELATION_ID: Document = {
    "name": "X-Correlation-Id",
    "in": "header",
    "description": "1 to 128 printable characters. Returned, and put on every event that follows; "
    "one is made when it is missing or of another form.",
    "schema": TEXT,
    "example": "order-1001",
}
TRACE_PARENT: Document = {
    "name": "traceparent",
    "in": "header",
    "description": "The trace to which the request belongs (W3C Trace Context); it goes on to the "
    "gateway, to confirmations, and is put on every event. One that is not valid is passed over.",
    "schema": TEXT,
    "example": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
}
USER_ID: Document = {
    "name": "X-User-Id",
    "in": "header",
    "description": "Who asks, as you know them: put on every event that follows.",
    "schema": TEXT,
    "example": "u-7",
}
SESSION_ID: Document = {
    "name": "X-Session-Id",
    "in": "header",
    "description": "Their session, put on every event that follows.",
    "schema": TEXT,
    "example": "s-1001",
}
TOLD_OF_EVERY_REQUEST = (CORRELATION_ID, TRACE_PARENT, USER_ID, SESSION_ID)
"""What may be said of every request with an API key; of others it is not believed."""

IDEMPOTENCY_KEY: Document = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Makes repeating the request harmless: the same key with the same body is "
    "answered with the same resource, and does nothing.",
    "schema": {"type": "string", "pattern": "^[!-~]([ -~]{0,253}[!-~])?$"},
    "example": "order-1001-payment",
}
PREFER: Document = {
    "name": "Prefer",
    "in": "header",
    "description": "`respond-async` does not wait for the hosted page (RFC 7240).",
    "schema": TEXT,
    "example": "respond-async",
}
LAST_EVENT_ID: Document = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "The position of the last event that was seen: what comes behind it is sent.",
    "schema": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
    "example": 1440,
}
ANSWER_HEADERS: Document = {
    "X-Correlation-Id": {"schema": TEXT, "description": "What belongs to this request."},
}
REPLAYED: Document = {
    "schema": {"type": "string", "enum": ["true"]},
    "description": "There when the request was carried out before, and nothing was done now.",
}
LOCATION: Document = {"schema": TEXT, "description": "The path of what was created."}
RETRY_AFTER: Document = {
    "schema": {"type": "integer", "minimum": 1},
    "description": "In so many seconds it is worth looking again.",
}

OF_PAYMENT = (
    *("getPayment", "cancelPayment", "capturePayment", "refundPayment"),
    *("listPaymentEvents", "getSaga"),
)
"""What can be done with a payment, from any answer that shows it."""

OF_WEBHOOK = ("getWebhook", "replayWebhook")
OF_CONFIRMATION = ("getConfirmation", "redeliverConfirmation")
OF_CONTRACT = ("getContract", "cancelContract", "getContractEarnings")

LINKS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "createPayment": (OF_PAYMENT, "payment_id", "$response.body#/paymentId"),
    "getPayment": (OF_PAYMENT, "payment_id", "$response.body#/paymentId"),
    "cancelPayment": (OF_PAYMENT, "payment_id", "$response.body#/paymentId"),
    "capturePayment": (OF_PAYMENT, "payment_id", "$response.body#/paymentId"),
    "refundPayment": (OF_PAYMENT, "payment_id", "$request.path.payment_id"),
    "listPayments": (OF_PAYMENT, "payment_id", "$response.body#/data/0/paymentId"),
    "createContract": (OF_CONTRACT, "contract_id", "$response.body#/contractId"),
    "listContracts": (OF_CONTRACT, "contract_id", "$response.body#/data/0/contractId"),
    "listSagas": (
        ("getSaga", "retrySaga", "compensateSaga"),
        "payment_id",
        "$response.body#/data/0/paymentId",
    ),
    "listBreakers": (("getBreaker",), "name", "$response.body#/data/0/name"),
    "receiveNotification": (OF_WEBHOOK, "webhook_id", "$response.body#/webhookId"),
    "getWebhook": (OF_WEBHOOK, "webhook_id", "$response.body#/webhookId"),
    "replayWebhook": (OF_WEBHOOK, "webhook_id", "$response.body#/webhookId"),
    "listWebhooks": (OF_WEBHOOK, "webhook_id", "$response.body#/data/0/webhookId"),
    "getConfirmation": (OF_CONFIRMATION, "confirmation_id", "$response.body#/confirmationId"),
    "redeliverConfirmation": (OF_CONFIRMATION, "confirmation_id", "$response.body#/confirmationId"),
    "listConfirmations": (
        OF_CONFIRMATION,
        "confirmation_id",
        "$response.body#/data/0/confirmationId",
    ),
    "listEvents": (("getEvent",), "event_id", "$response.body#/data/0/id"),
    "listPaymentEvents": (("getEvent",), "event_id", "$response.body#/data/0/id"),
    "rebuildProjection": (("getRebuild",), "name", "$response.body#/projection"),
    "getRebuild": (("rebuildProjection",), "name", "$response.body#/projection"),
    "listParkedEvents": (
        ("retryParkedEvent", "skipParkedEvent"),
        "parked_id",
        "$response.body#/data/0/parkedId",
    ),
}
"""Where each operation leads: to which others, through which parameter, found where."""


def described(document: Document) -> Document:
    """The document made from the models, completed."""
    complete = deepcopy(document)
    components = complete.setdefault("components", {})
    components["responses"] = {_name(status): _problem(status) for status in STATUSES}
    for path, methods in complete["paths"].items():
        for method, operation in methods.items():
            _complete(operation, path, method)
            _exemplify(operation)
    return complete


def _exemplify(operation: Document) -> None:
    """Gives every body and every good answer that has a schema of its own an example of it."""
    for told in (operation.get("requestBody", {}), *operation["responses"].values()):
        for content in told.get("content", {}).values():
            name = schema_name(content)
            if name in EXAMPLES:
                content["example"] = EXAMPLES[name]


def schema_name(content: Document) -> str:
    """The name of the schema of a body or an answer; "" when it has none of its own."""
    reference: str = content.get("schema", {}).get("$ref", "")
    return reference.rpartition("/")[2]


CREATES = frozenset({"createPayment", "createContract"})
STATUSES = sorted({kind.status for kind in KINDS.values()})


def _complete(operation: Document, path: str, method: str) -> None:
    name = operation["operationId"]
    is_keyed = {"apiKey": []} in operation.setdefault("security", [])
    changes = method == "post" and is_keyed
    is_create = name == "createPayment"
    if "description" in operation:
        operation["description"] = operation["description"].replace("<br/>", " ").strip()
    parameters = operation.setdefault("parameters", [])
    parameters += TOLD_OF_EVERY_REQUEST if is_keyed else ()
    if changes:
        parameters.append(IDEMPOTENCY_KEY)
    if is_create:
        parameters.append(PREFER)
    if name == "streamEvents":
        parameters.append(LAST_EVENT_ID)
    answers = {code: operation["responses"][code] for code in operation["responses"] if code < "4"}
    for answer in answers.values():
        headers = answer.setdefault("headers", {})
        headers |= ANSWER_HEADERS | ({"Idempotent-Replayed": REPLAYED} if changes else {})
        headers |= {"Location": LOCATION} if name in CREATES else {}
        headers |= {"Retry-After": RETRY_AFTER} if is_create else {}
        answer["links"] = _links(name)
    has_body = "requestBody" in operation
    refusals = _refusals(path, changes=changes, has_body=has_body) if is_keyed else _unkeyed(path)
    operation["responses"] = answers | {
        str(status): {"$ref": f"#/components/responses/{_name(status)}"} for status in refusals
    }


def _refusals(path: str, *, changes: bool, has_body: bool) -> list[int]:
    """The statuses with which an operation that needs an API key may be refused."""
    found = [400, 401, 403, 413, 422, 429, 500, 503]
    found += [404] if "{" in path else []
    found += [409] if changes else []
    found += [415] if has_body else []
    return sorted(found)


def _unkeyed(path: str) -> list[int]:
    """The same for one that needs none: it takes any form of body, as often as it comes."""
    found = [400, 401, 409, 413, 500, 503]
    found += [404] if "{" in path else []
    return sorted(found)


def _links(operation_id: str) -> Document:
    targets, parameter, expression = LINKS.get(operation_id, ((), "", ""))
    return {
        target: {"operationId": target, "parameters": {parameter: expression}} for target in targets
    }


def _name(status: int) -> str:
    return f"Problem{status}"


def _problem(status: int) -> Document:
    kinds = {code: kind for code, kind in KINDS.items() if kind.status == status}
    response: Document = {
        "description": "; ".join(f"`{code}`: {kind.title}" for code, kind in kinds.items()),
        "content": {"application/problem+json": {"schema": PROBLEM_SCHEMA}},
        "headers": dict(ANSWER_HEADERS),
    }
    if status in {429, 503}:
        response["headers"]["Retry-After"] = RETRY_AFTER
    if status == 401:
        response["headers"]["WWW-Authenticate"] = {"schema": TEXT}
    return response
