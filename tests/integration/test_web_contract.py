"""The API keeps to its own document: schemathesis with all checks and stateful links, and every
kind of answer compared with what the document says of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case

from tests.e2e.house import SECRETS, House, house_on

AUTHORIZATION = {"Authorization": f"Bearer {SECRETS['admin']}"}
FEW = settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[*HealthCheck],
)
NOBODY = "7c1c8f3e-6f0a-4f0f-9f64-3a3f5d3f0b11"


@pytest.fixture(scope="module")
def home(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server, create_wait_ms=0) as home:
        yield home


@pytest.fixture(scope="module")
def document(home: House) -> Any:
    """The document as schemathesis reads it from the running app."""
    return schemathesis.openapi.from_wsgi("/openapi.json", home.app)


@pytest.fixture(scope="module")
def api_schema(document: Any) -> Any:
    return document


schema = schemathesis.pytest.from_fixture("api_schema")


@schema.parametrize()
@FEW
def test_whatever_the_document_allows_is_answered_as_it_says(case: Case) -> None:
    case.call_and_validate(headers=AUTHORIZATION)


def test_operations_one_after_another_keep_to_the_document(document: Any) -> None:
    machine = document.as_state_machine()

    class Authorized(machine):  # type: ignore[misc, valid-type]
        def get_call_kwargs(self, case: Case) -> dict[str, Any]:
            return {"headers": AUTHORIZATION}

    Authorized.run(settings=settings(FEW, max_examples=15, stateful_step_count=6))
