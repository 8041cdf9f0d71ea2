"""Keys of clients are kept apart from the events, and erasing one erases the person."""

import threading
from collections.abc import Iterator
from uuid import UUID

import pytest

from application.vault import ClientKey, Vault
from domain.client import ClientInfo
from interface.clock import RandomIds
from system.persistence.postgres import PostgresClientKeys, PostgresPersistence
from tests.integration.production_kit import store
from tests.unit.domain_kit import PAYMENT_ID

SUBJECT = b"s" * 32
SARA = ClientInfo("Sara Omar", "sara@example.com")


def proposal() -> ClientKey:
    """A fresh key."""
    return ClientKey(RandomIds().uuid(), RandomIds().token_bytes(32))


@pytest.fixture
def persistence(database_url: str) -> Iterator[PostgresPersistence]:
    """A fresh database."""
    with store(database_url) as opened:
        yield opened


@pytest.fixture
def keys(persistence: PostgresPersistence) -> PostgresClientKeys:
    """The keys."""
    return PostgresClientKeys(persistence)


def test_the_first_proposal_is_the_clients_key_for_ever(keys: PostgresClientKeys) -> None:
    first = keys.key_for(SUBJECT, proposal())
    assert keys.key_for(SUBJECT, proposal()) == first
    assert keys.find(first.client_id) == first


def test_two_clients_have_two_keys(keys: PostgresClientKeys) -> None:
    assert keys.key_for(SUBJECT, proposal()) != keys.key_for(b"t" * 32, proposal())


def test_an_unknown_client_has_no_key(keys: PostgresClientKeys) -> None:
    assert keys.find(UUID(int=1)) is None


def test_processes_that_meet_a_client_at_once_agree_on_one_key(keys: PostgresClientKeys) -> None:
    found: list[ClientKey] = []
    threads = [
        threading.Thread(target=lambda: found.append(keys.key_for(SUBJECT, proposal())))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_erasing_the_row_erases_the_person(
    persistence: PostgresPersistence, keys: PostgresClientKeys
) -> None:
    vault = Vault(keys, RandomIds())
    sealed = vault.seal_client(PAYMENT_ID, SARA)
    assert vault.open_client(sealed) == SARA
    with persistence.connection() as connection:
        connection.execute("DELETE FROM client_keys WHERE client_id = %s", (sealed.client_id,))
    assert vault.open_client(sealed) is None


def test_no_name_or_address_is_kept_beside_the_key(
    persistence: PostgresPersistence, keys: PostgresClientKeys
) -> None:
    Vault(keys, RandomIds()).seal_client(PAYMENT_ID, SARA)
    with persistence.connection() as connection:
        row = connection.execute("SELECT client_keys::text AS all FROM client_keys").fetchone()
    assert row is not None
    assert "sara" not in row["all"].lower()
    assert b"sara".hex() not in row["all"].lower()
