"""Every command that a key gave to a payment is in the audit log (contract 6)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from application.envelope import envelope
from domain.audit_entry import AuditEntry
from tests.e2e.house import SECRETS, Api, House, house_on, until
from tests.integration.parked_sagas import park

Line = tuple[str, str, str, str | None]


@pytest.fixture(scope="module")
def home(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server) as home:
        yield home


def entries(home: House, payment_id: str) -> list[AuditEntry.Recorded]:
    return [
        event
        for event in home.events_of("Operations")
        if isinstance(event, AuditEntry.Recorded) and event.payment_id == UUID(payment_id)
    ]


def lines(home: House, payment_id: str) -> list[Line]:
    """Actor, action, outcome and reason of each entry."""
    return [(e.actor, e.action, e.outcome, e.reason) for e in entries(home, payment_id)]


def becomes(home: House, payment_id: str, *wanted: Line) -> None:
    until(lambda: len(lines(home, payment_id)) >= len(wanted))
    assert sorted(lines(home, payment_id), key=str) == sorted(wanted, key=str)


def test_commands_that_were_accepted_are_there_with_their_reason(home: House) -> None:
    payment = home.api.created()
    payment_id = payment["paymentId"]
    home.api.cancel(payment_id, json={"reason": "sold out"})
    becomes(
        home,
        payment_id,
        ("admin", "create", "accepted", None),
        ("admin", "cancel", "accepted", "sold out"),
    )


def test_what_the_saga_does_by_itself_is_no_command(home: House) -> None:
    payment = home.api.created()
    home.customer.pay(payment["transactionRef"])
    home.api.becomes(payment["paymentId"], "completed")
    home.api.refunded(payment["paymentId"], amount=20, reason="broken")
    until(lambda: home.api.payment(payment["paymentId"])["amountRefunded"])
    home.api.saga_becomes(payment["paymentId"], "completed")
    becomes(
        home,
        payment["paymentId"],
        ("admin", "create", "accepted", None),
        ("admin", "refund", "accepted", "broken"),
    )
    refund = entries(home, payment["paymentId"])[-1]
    assert str(refund.changes["amount"].amount) == "20.00"


def test_commands_that_were_refused_are_there_with_the_code(home: House) -> None:
    payment_id = home.api.created()["paymentId"]
    assert home.api.capture(payment_id).status_code == 409
    assert home.api.refund(payment_id, amount="no amount").status_code == 422
    assert Api(home.url, SECRETS["read"]).cancel(payment_id).status_code == 403
    becomes(
        home,
        payment_id,
        ("admin", "create", "accepted", None),
        ("admin", "capture", "refused", "invalid_transition"),
        ("admin", "refund", "refused", "validation_error"),
        ("read", "cancel", "refused", "forbidden"),
    )


@pytest.fixture
def parked(home: House) -> str:
    """A payment whose saga waits for a person, for two reasons."""
    payment = home.api.created()
    payment_id, ref = payment["paymentId"], payment["transactionRef"]
    for suffix in ("A", "B"):
        park(home, payment_id, f"{ref}{suffix}")
    home.api.saga_becomes(payment_id, "parked")
    return payment_id


@pytest.mark.parametrize("action", ["retry", "compensate"])
def test_what_an_operator_does_to_a_parked_saga_is_one_command(
    home: House, parked: str, action: str
) -> None:
    assert home.api.operate(parked, action).status_code == 200
    wanted = ("admin", f"{action}_saga", "accepted", None)
    becomes(home, parked, ("admin", "create", "accepted", None), wanted)


@pytest.mark.parametrize("action", ["retry", "compensate"])
def test_what_an_operator_may_not_do_to_a_saga_is_there_too(home: House, action: str) -> None:
    payment_id = home.api.created()["paymentId"]
    assert Api(home.url, SECRETS["write"]).operate(payment_id, action).status_code == 403
    becomes(
        home,
        payment_id,
        ("admin", "create", "accepted", None),
        ("write", f"{action}_saga", "refused", "forbidden"),
    )


def test_commands_that_change_nothing_are_there_as_well(home: House) -> None:
    payment_id = home.api.created()["paymentId"]
    home.api.saga_becomes(payment_id, "waiting")
    for action in ("retry", "compensate"):
        assert home.api.operate(payment_id, action).status_code == 200
    for _ in range(2):
        assert home.api.cancel(payment_id).status_code == 200
    becomes(
        home,
        payment_id,
        ("admin", "create", "accepted", None),
        ("admin", "retry_saga", "accepted", None),
        ("admin", "compensate_saga", "accepted", None),
        ("admin", "cancel", "accepted", "requested_by_merchant"),
        ("admin", "cancel", "accepted", None),
    )


def test_a_capture_is_there(home: House) -> None:
    payment = home.api.created(captureMethod="manual")
    home.customer.pay(payment["transactionRef"])
    home.api.becomes(payment["paymentId"], "authorized")
    assert home.api.capture(payment["paymentId"], amount=20).status_code == 202
    home.api.becomes(payment["paymentId"], "completed")
    becomes(
        home,
        payment["paymentId"],
        ("admin", "create", "accepted", None),
        ("admin", "capture", "accepted", None),
    )


def test_a_key_used_for_another_creation_is_a_refused_one(home: House) -> None:
    headers = {"Idempotency-Key": "meant for tea"}
    payment = home.api.created(headers)
    assert home.api.create(headers, description="Coffee").status_code == 422
    becomes(
        home,
        payment["paymentId"],
        ("admin", "create", "accepted", None),
        ("admin", "create", "refused", "idempotency_key_reused"),
    )


def test_the_actor_is_the_person_named_by_the_key_whatever_comes_of_it(home: House) -> None:
    headers = {"X-User-Id": "alice@example.com"}
    payment_id = home.api.created(headers)["paymentId"]
    path = f"/v1/payments/{payment_id}"
    refund = home.api.request("POST", f"{path}/refunds", json={}, headers=headers)
    assert refund.status_code == 409
    for _ in range(2):
        assert home.api.request("POST", f"{path}/cancel", headers=headers).status_code == 200
    until(lambda: len(lines(home, payment_id)) == 4)
    assert {actor for actor, *_ in lines(home, payment_id)} == {"alice@example.com"}
    assert {e.metadata.user_id for e in entries(home, payment_id)} == {"alice@example.com"}


def test_a_command_that_is_repeated_with_its_key_is_one_command(home: House) -> None:
    headers = {"Idempotency-Key": "audited once"}
    first, second = (home.api.created(headers) for _ in range(2))
    assert first["paymentId"] == second["paymentId"]
    becomes(home, first["paymentId"], ("admin", "create", "accepted", None))


def test_who_is_not_known_and_what_does_not_exist_leaves_no_entry(home: House) -> None:
    payment_id, unknown = home.api.created()["paymentId"], str(UUID(int=7))
    assert Api(home.url, "wrong-secret").cancel(payment_id).status_code == 401
    assert home.api.cancel(unknown).status_code == 404
    assert home.api.refund(unknown, amount="no amount").status_code == 422
    becomes(home, payment_id, ("admin", "create", "accepted", None))
    assert lines(home, unknown) == []


def test_the_envelope_carries_what_the_contract_names(home: House) -> None:
    payment_id = home.api.created()["paymentId"]
    until(lambda: entries(home, payment_id))
    document = envelope(entries(home, payment_id)[0], home.context.applications.vault, "PROCESSED")
    assert document["type"] == "payment.audit_log"
    assert set(document["data"]) == {
        *("paymentId", "actor", "action", "outcome", "changes", "reason"),
    }
    assert document["data"]["changes"]["status"] == "initiated"
