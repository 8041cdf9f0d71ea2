"""Completes the OpenAPI document with what every operation has in common: problems, headers, and
links from one operation to the next."""

from copy import deepcopy
from typing import Any

from interface.web.problems import KINDS

Document = dict[str, Any]

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
    components["securitySchemes"]["apiKey"]["description"] = (
        "The secret of an API key. Its role, `read`, `write` or `admin`, decides what it may do."
    )
    for path, methods in complete["paths"].items():
        for method, operation in methods.items():
            _complete(operation, path, method)
    return complete


CREATES = frozenset({"createPayment", "createContract"})
STATUSES = sorted({kind.status for kind in KINDS.values()})


def _complete(operation: Document, path: str, method: str) -> None:
    changes = method == "post"
    is_create = operation["operationId"] == "createPayment"
    if "description" in operation:
        operation["description"] = operation["description"].replace("<br/>", " ").strip()
    parameters = operation.setdefault("parameters", [])
    parameters.append(CORRELATION_ID)
    if changes:
        parameters.append(IDEMPOTENCY_KEY)
    if is_create:
        parameters.append(PREFER)
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            headers = answer.setdefault("headers", {})
            headers |= ANSWER_HEADERS | ({"Idempotent-Replayed": REPLAYED} if changes else {})
            headers |= {"Location": LOCATION} if operation["operationId"] in CREATES else {}
            headers |= {"Retry-After": RETRY_AFTER} if is_create else {}
            answer["links"] = _links(operation["operationId"])
    for status in _refusals(path, changes=changes, has_body="requestBody" in operation):
        operation["responses"][str(status)] = {"$ref": f"#/components/responses/{_name(status)}"}


def _refusals(path: str, *, changes: bool, has_body: bool) -> list[int]:
    """The statuses with which an operation may be refused."""
    found = [400, 401, 403, 413, 422, 429, 500, 503]
    found += [404] if "{" in path else []
    found += [409] if changes else []
    found += [415] if has_body else []
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
