"""Instalments that fall due while workers are killed: each starts one payment, and one only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.e2e.fleet import Fleet, fleet_on
from tests.e2e.house import until
from tests.integration.test_web_contracts import agreed, day, first_page

CONTRACTS = 6
PER_CONTRACT = 2
DUE = [{"dueOn": day(-n), "amount": 10 + n} for n in range(PER_CONTRACT)]


@pytest.fixture
def fleet(postgres_server: Any) -> Iterator[Fleet]:
    name = f"fleet_{uuid4().hex}"
    with fleet_on(postgres_server.ensure_database(name)) as fleet:
        yield fleet
    postgres_server.drop_database(name)


def payments_of(fleet: Fleet) -> Counter[str]:
    """How many payments were created for each contract, by the events."""
    query = (
        "SELECT convert_from(state, 'UTF8')::json ->> 'contract_id' FROM payments_events"
        " WHERE topic = 'domain.payment:Payment.Initiated'"
    )
    return Counter(name for (name,) in fleet.rows(query))


def fallen_due(fleet: Fleet) -> int:
    query = "SELECT count(*) FROM contracts_events WHERE topic LIKE %s"
    return int(fleet.rows(query, "%Contract.PaymentDue")[0][0])


def test_each_instalment_starts_its_payment_once_whatever_is_killed(fleet: Fleet) -> None:
    fleet.web()
    names = [agreed(fleet.api, instalments=DUE)["contractId"] for _ in range(CONTRACTS)]
    for number in range(1, 4):
        worker = fleet.start("worker", public_url=fleet.api.url)
        until(lambda least=number: fallen_due(fleet) + sum(payments_of(fleet).values()) >= least)
        worker.kill()
    fleet.worker()
    wanted = Counter(dict.fromkeys(names, PER_CONTRACT))
    until(lambda: payments_of(fleet) == wanted and not fleet.unread())
    for name in names:
        assert first_page(fleet.api, name)["status"] == "due"
    assert payments_of(fleet) == wanted
    assert fallen_due(fleet) == CONTRACTS * PER_CONTRACT
