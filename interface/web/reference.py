"""The API described: an OpenAPI 3.1 document, and a page that people can read offline."""

from typing import Any

import simplejson
from flask import Blueprint, Response, current_app, render_template

from interface.web.description import described, schema_name
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
        schemas=document["components"]["schemas"],
        refusals=document["components"]["responses"],
        pretty=_pretty,
        schema_name=schema_name,
    )


def _document() -> dict[str, Any]:
    extensions = current_app.extensions
    if "openapi" not in extensions:
        extensions["openapi"] = described(current_app.api_doc)  # type: ignore[attr-defined]
    document: dict[str, Any] = extensions["openapi"]
    return document


def _pretty(example: Any) -> str:
    return simplejson.dumps(example, use_decimal=True, ensure_ascii=False, indent=2)
