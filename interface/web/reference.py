"""The API described: an OpenAPI 3.1 document, and a page that people can read offline."""

from typing import Any

from flask import Blueprint, Response, current_app, render_template

from interface.web.description import described
from interface.web.documents import json_response

reference = Blueprint("reference", __name__, template_folder="templates")


@reference.get("/openapi.json")
def openapi() -> Response:
    """The OpenAPI document, made from the models that validate the requests."""
    return json_response(_document())


@reference.get("/docs")
def docs() -> str:
    """The same as a page."""
    document = _document()
    operations = [
        {"path": path, "method": method.upper(), **operation}
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    return render_template(
        "docs.html",
        info=document["info"],
        operations=operations,
        bodies={operation["operationId"]: _body(operation) for operation in operations},
        schemas=document["components"]["schemas"],
    )


def _document() -> dict[str, Any]:
    extensions = current_app.extensions
    if "openapi" not in extensions:
        extensions["openapi"] = described(current_app.api_doc)  # type: ignore[attr-defined]
    document: dict[str, Any] = extensions["openapi"]
    return document


def _body(operation: dict[str, Any]) -> str | None:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    ref = content.get("schema", {}).get("$ref")
    return ref.rpartition("/")[2] if ref else None
