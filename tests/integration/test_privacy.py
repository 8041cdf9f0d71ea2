"""Whoever is erased reads `erased` everywhere, and everything else stays as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from application.contracts import NewContract
from application.payment_gateway import GatewayNotification
from application.payments import NewPayment
from application.vault import opened, payment_subject
from domain.client import ClientInfo
from domain.contract import Payee, Terms
from domain.keyed_request import IdempotencyKeyReused, KeyedRequest
from domain.money import money
from domain.sealed import Sealed
from domain.webhook import Webhook
from interface.clock import SystemClock
from interface.settings import load_settings
from interface.web.app import create_app
from system.rebuild import Rebuild
from tests.e2e.house import API_KEYS, SECRETS
from tests.integration.cli_kit import run, settings_env
from tests.integration.journal_kit import SARA, Books, books
from tests.integration.production_kit import context
from tests.integration.test_rebuild import Interrupted, interrupt_after
from tests.unit.domain_kit import report

OMAR = ClientInfo("Omar Ali", "omar@example.com")
RIMA = ClientInfo("Rima Aziz", "rima@example.com", "+966500000001")


@pytest.fixture
def kept(database_url: str) -> Iterator[Books]:
    with books(database_url) as kept:
        yield kept


@pytest.fixture
def env(database_url: str, tmp_path: Path) -> dict[str, str]:
    return settings_env(tmp_path, database_url=database_url)


@pytest.fixture
def sara(kept: Books) -> UUID:
    payment_id = kept.create_payment(client=SARA)
    kept.follow()
    return payment_id


def erase(env: dict[str, str], name: object) -> dict[str, Any]:
    result = run("privacy", "erase", str(name), "--yes", "--json", env=env)
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def live_keys(kept: Books) -> list[dict[str, Any]]:
    return kept.query("SELECT client_id FROM client_keys WHERE key IS NOT NULL")


def agree(kept: Books, contract_id: str, client: ClientInfo | None) -> UUID:
    """A contract whose first instalment is due next year; returns the id that events bear."""
    terms = Terms((SystemClock().now() + timedelta(days=365)).date(), money("10.00", "SAR"))
    new = NewContract(
        *(contract_id, "Rent", "SAR", Payee("payee-1", "Landlord"), Decimal("2.5"), [terms]),
        client=client,
    )
    with context():
        return kept.applications.contracts.create(new).id


def fall_due(kept: Books, aggregate_id: UUID) -> UUID:
    """The day of the first instalment comes; returns its payment."""
    with context():
        contract = kept.applications.contracts.fall_due(aggregate_id, 1)
    kept.follow()
    return contract.instalments[0].payment_ids[0]


def customer_pays(kept: Books, payment_id: UUID, ref: str = "TST1") -> UUID:
    """The gateway's callback says who paid."""
    payment = kept.applications.payments.get(payment_id)
    notification = GatewayNotification(
        "paytabs",
        report(cart_id=f"{payment_id}-a1", transaction_ref=ref),
        payload={},
        personal={"customer_details": {"name": "Sara Omar", "email": "sara@example.com"}},
        signature="0" * 64,
        received_at=SystemClock().now(),
    )
    with context():
        webhook_id = kept.applications.webhooks.receive(
            notification, body=ref.encode(), headers={}, ip_address=None, payment=payment
        )
    kept.follow()
    return webhook_id


def everything(
    kept: Books, database_url: str, env: dict[str, str], payment_id: UUID, *more: str
) -> str:
    """All that anybody is shown of a payment, and at the paths `more`: over HTTP, by commands, in
    the tables."""
    app = create_app(load_settings(database_url=database_url, api_keys=API_KEYS))
    try:
        client = app.test_client()
        headers = {"Authorization": f"Bearer {SECRETS['admin']}"}
        shown = [
            client.get(path, headers=headers).text
            for path in (
                f"/v1/payments/{payment_id}",
                f"/v1/payments/{payment_id}?version=1",
                f"/v1/payments/{payment_id}/events",
                "/v1/payments?limit=100",
                "/v1/events?limit=100",
                *more,
            )
        ]
    finally:
        app.extensions["paysaga"].close()
    shown += [
        run("replay", str(payment_id), env=env).stdout,
        run("replay", str(payment_id), "--json", env=env).stdout,
        run("journal", "export", env=env).stdout,
        run("journal", "export", "--format", "csv", env=env).stdout,
    ]
    shown += [str(row) for row in kept.query("SELECT * FROM view_payments")]
    return "\n".join(shown)


@pytest.mark.parametrize("by", ["payment", "e-mail", "E-MAIL"])
def test_an_erased_client_reads_erased_everywhere(
    kept: Books, sara: UUID, database_url: str, env: dict[str, str], by: str
) -> None:
    assert "Sara Omar" in everything(kept, database_url, env, sara)
    name = {"payment": str(sara), "e-mail": SARA.email, "E-MAIL": str(SARA.email).upper()}[by]
    erased = erase(env, name)
    assert erased["keys"] == 1
    assert str(sara) in erased["payments"]
    assert len(erased["payments"]) == 4
    shown = everything(kept, database_url, env, sara)
    assert "Sara" not in shown
    assert "sara@" not in shown
    assert '"clientInfo":"erased"' in shown
    assert kept.query("SELECT * FROM client_keys WHERE key IS NOT NULL") == []


def test_amounts_and_statuses_stay_and_the_chain_is_whole(
    kept: Books, sara: UUID, env: dict[str, str]
) -> None:
    head, before = kept.head(), kept.query("SELECT payment_id, amount, status FROM view_payments")
    erase(env, sara)
    assert kept.query("SELECT payment_id, amount, status FROM view_payments") == before
    assert kept.verify(head, deep=True).is_ok
    assert run("replay", "--all", "--check", env=env).exit_code == 0


def test_other_clients_stay(
    kept: Books, sara: UUID, database_url: str, env: dict[str, str]
) -> None:
    omar = kept.create_payment(client=OMAR)
    kept.follow()
    erase(env, sara)
    assert "Omar Ali" in everything(kept, database_url, env, omar)


def test_what_notifications_said_of_the_customer_is_erased_with_the_payment(
    kept: Books, sara: UUID, env: dict[str, str]
) -> None:
    vault = kept.applications.vault
    sealed = vault.seal(payment_subject(sara), {"name": "Sara on her card"})
    assert erase(env, sara)["keys"] == 2
    assert vault.open(sealed) is None


def test_what_came_before_the_payment_was_known_is_erased_too(
    kept: Books, sara: UUID, env: dict[str, str]
) -> None:
    vault, webhook_id = kept.applications.vault, uuid4()
    sealed = vault.seal(payment_subject(webhook_id), {"name": "Sara on her card"})
    kept.query(
        "INSERT INTO view_webhooks (webhook_id, provider, status, payment_id, times_seen, version, "
        "received_at, updated_at, correlation_id) "
        "VALUES (%s, 'paytabs', 'processed', %s, 1, 1, now(), now(), 'c')",
        *(webhook_id, sara),
    )
    assert erase(env, sara)["keys"] == 2
    assert vault.open(sealed) is None


@pytest.mark.parametrize("client", [SARA, ClientInfo("Sara Omar"), None])
@pytest.mark.parametrize("has_paid", [False, True])
def test_what_a_callback_says_after_the_erasure_is_not_kept(
    kept: Books, env: dict[str, str], client: ClientInfo | None, has_paid: bool
) -> None:
    payment_id = kept.create_payment(client=client)
    kept.follow()
    if has_paid:
        customer_pays(kept, payment_id)
    erase(env, payment_id)
    others = live_keys(kept)
    webhook_id = customer_pays(kept, payment_id, "TST2")
    assert live_keys(kept) == others
    assert erase(env, payment_id)["keys"] == 0
    [received, *_] = kept.applications.webhooks.history(webhook_id)
    assert isinstance(received, Webhook.Received)
    assert received.personal == Sealed(received.personal.client_id, "")
    assert opened(received.personal, kept.applications.vault) == "erased"
    assert kept.verify(deep=True).is_ok


def test_whoever_comes_back_with_a_new_payment_is_known_again(
    kept: Books, sara: UUID, database_url: str, env: dict[str, str]
) -> None:
    erase(env, sara)
    again = kept.create_payment(client=SARA)
    kept.follow()
    webhook_id = customer_pays(kept, again)
    assert "Sara Omar" in everything(kept, database_url, env, again)
    webhook = kept.applications.webhooks.history(webhook_id)[0]
    assert isinstance(webhook, Webhook.Received)
    assert "Sara Omar" in str(opened(webhook.personal, kept.applications.vault))
    customer_pays(kept, sara, "TST2")
    assert erase(env, again)["keys"] == 1


def test_a_repeated_create_leaves_no_trace_of_a_client_who_was_erased(
    kept: Books, env: dict[str, str]
) -> None:
    new = NewPayment(money("10.00", "SAR"), "Tea", client=SARA, fingerprint="f")
    payment_id = uuid4()
    with context():
        kept.applications.payments.initiate(new, payment_id)
        kept.follow()
        erase(env, payment_id)
        payment, is_repeat = kept.applications.payments.initiate(new, payment_id)
        assert (payment.id, is_repeat) == (payment_id, True)
        with pytest.raises(IdempotencyKeyReused):
            kept.applications.payments.initiate(replace(new, fingerprint="other"), payment_id)
    assert live_keys(kept) == []


@pytest.mark.parametrize("by", ["contractId", "aggregateId"])
@pytest.mark.parametrize("contract_id", ["RENT-7", "3f0e3c8e-6f0a-4f0f-9f64-3a3f5d3f0b11"])
@pytest.mark.parametrize("email", [None, RIMA.email])
def test_a_client_known_only_through_a_contract_is_erased_by_it(
    kept: Books,
    sara: UUID,
    database_url: str,
    env: dict[str, str],
    by: str,
    contract_id: str,
    email: str | None,
) -> None:
    aggregate_id = agree(kept, contract_id, replace(RIMA, email=email))
    kept.follow()
    paths = (f"/v1/contracts/{contract_id}", "/v1/contracts")
    assert "Rima Aziz" in everything(kept, database_url, env, sara, *paths)
    name = {"contractId": contract_id, "aggregateId": aggregate_id}[by]
    assert erase(env, name) == {"keys": 1, "payments": []}
    shown = everything(kept, database_url, env, sara, *paths)
    assert "Rima" not in shown
    assert "+966500000001" not in shown
    assert shown.count('"clientInfo":"erased"') >= 2
    assert "Sara Omar" in shown


@pytest.mark.parametrize("client", [RIMA, ClientInfo("Rima Aziz")])
def test_an_instalment_that_falls_due_after_the_erasure_shows_nobody(
    kept: Books, database_url: str, env: dict[str, str], client: ClientInfo
) -> None:
    aggregate_id = agree(kept, "RENT-7", client)
    kept.follow()
    erase(env, "RENT-7")
    others = live_keys(kept)
    payment_id = fall_due(kept, aggregate_id)
    customer_pays(kept, payment_id)
    assert live_keys(kept) == others
    shown = everything(kept, database_url, env, payment_id, "/v1/contracts/RENT-7")
    assert shown.count('"clientInfo":"erased"') >= 2
    assert "Rima" not in shown
    assert erase(env, "RENT-7") == {"keys": 0, "payments": [str(payment_id)]}


def test_a_contract_without_a_client_stands_for_the_customers_of_its_payments(
    kept: Books, env: dict[str, str]
) -> None:
    payment_id = fall_due(kept, agree(kept, "RENT-7", None))
    customer_pays(kept, payment_id)
    others = len(live_keys(kept)) - 1
    assert erase(env, "RENT-7")["keys"] == 1
    customer_pays(kept, payment_id, "TST2")
    assert len(live_keys(kept)) == others


def test_a_callback_of_an_unknown_payment_is_erased_by_its_own_id(
    kept: Books, env: dict[str, str]
) -> None:
    notification = GatewayNotification(
        *("paytabs", report(), {}, {"name": "Sara"}, "0" * 64, SystemClock().now())
    )
    receive = partial(
        kept.applications.webhooks.receive,
        notification,
        body=b"{}",
        headers={},
        ip_address=None,
        payment=None,
    )
    with context():
        webhook_id = receive()
    others = len(live_keys(kept)) - 1
    assert erase(env, webhook_id)["keys"] == 1
    with context():
        receive()
    assert len(live_keys(kept)) == others


def test_a_client_without_an_e_mail_address_is_erased_by_the_payment(
    kept: Books, env: dict[str, str]
) -> None:
    payment_id = kept.create_payment(client=ClientInfo("Nameless"))
    kept.follow()
    assert erase(env, payment_id) == {"keys": 1, "payments": [str(payment_id)]}
    [row] = kept.query("SELECT client_info FROM view_payments WHERE payment_id = %s", payment_id)
    assert row["client_info"] == "erased"


def test_erasing_again_cleans_the_views_again(kept: Books, sara: UUID, env: dict[str, str]) -> None:
    erase(env, sara)
    kept.query('UPDATE view_payments SET client_info = \'{"name": "Sara"}\'')
    assert erase(env, sara)["keys"] == 0
    assert {str(row["client_info"]) for row in kept.query("SELECT * FROM view_payments")} == {
        "erased"
    }


def test_a_rebuild_before_and_after_shows_nothing_of_an_erased_client(
    kept: Books, sara: UUID, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("system.rebuild.BATCH_SIZE", 2)
    rebuild = Rebuild(kept.persistence, kept.applications, "PaymentsView")
    with pytest.raises(Interrupted):
        rebuild.run(interrupt_after(4))
    assert kept.query("SELECT 1 FROM view_payments__new WHERE client_info->>'name' = 'Sara Omar'")
    erase(env, sara)
    result = run("projections", "rebuild", "PaymentsView", env=env)
    assert "going on" in result.stdout
    assert {row["client_info"] for row in kept.query("SELECT * FROM view_payments")} == {"erased"}


def test_a_view_that_is_behind_is_told(
    kept: Books, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("system.erasure.CATCH_UP_SECONDS_MAX", 0.05)
    payment_id = kept.create_payment(client=SARA)
    result = run("privacy", "erase", str(payment_id), "--yes", env=env)
    assert result.exit_code == 1
    assert "PaymentsView is behind" in result.stderr
    kept.follow()
    erase(env, payment_id)
    assert {row["client_info"] for row in kept.query("SELECT * FROM view_payments")} == {"erased"}


@pytest.mark.parametrize(
    "name", ["7c1c8f3e-6f0a-4f0f-9f64-3a3f5d3f0b11", "nobody@example.com", "nobody"]
)
def test_somebody_nobody_knows_is_refused(kept: Books, env: dict[str, str], name: str) -> None:
    result = run("privacy", "erase", name, "--yes", env=env)
    assert (result.exit_code, "nobody is known" in result.stderr) == (1, True)
    assert "a payment's id, a contractId or an e-mail address" in result.stderr
    assert kept.query("SELECT * FROM client_keys WHERE key IS NULL") == []


@pytest.mark.parametrize("log", ["payments", "webhooks"])
def test_the_id_of_a_request_stands_for_nobody(kept: Books, env: dict[str, str], log: str) -> None:
    with context():
        accepted = KeyedRequest.accept(uuid4(), "fingerprint")
        getattr(kept.applications, log).record(accepted)
    kept.follow()
    result = run("privacy", "erase", str(accepted.id), "--yes", env=env)
    assert (result.exit_code, "nobody is known" in result.stderr) == (1, True)


def test_a_person_is_only_erased_after_a_yes(kept: Books, sara: UUID, env: dict[str, str]) -> None:
    assert run("privacy", "erase", str(sara), env=env).exit_code == 1
    assert kept.query("SELECT * FROM client_keys")
