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


def given(key: ClientKey | None) -> ClientKey:
    """A key that there must be."""
    assert key is not None
    return key


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
    first = given(keys.key_for(SUBJECT, proposal()))
    assert keys.key_for(SUBJECT, proposal()) == first
    assert keys.find(first.client_id) == first


def test_two_clients_have_two_keys(keys: PostgresClientKeys) -> None:
    assert keys.key_for(SUBJECT, proposal()) != keys.key_for(b"t" * 32, proposal())


def test_an_unknown_client_has_no_key(keys: PostgresClientKeys) -> None:
    assert keys.find(UUID(int=1)) is None


def test_processes_that_meet_a_client_at_once_agree_on_one_key(keys: PostgresClientKeys) -> None:
    found: list[ClientKey | None] = []
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


def test_a_closed_subject_gets_no_key_again(keys: PostgresClientKeys) -> None:
    key = given(keys.key_for(SUBJECT, proposal()))
    other = given(keys.key_for(b"t" * 32, proposal()))
    assert keys.erase([other.client_id], [SUBJECT, b"u" * 32]) == 2
    assert (keys.find(key.client_id), keys.client_of(SUBJECT)) == (None, None)
    assert keys.find_many([key.client_id, other.client_id]) == {}
    assert keys.key_for(SUBJECT, proposal()) is None
    assert keys.key_for(b"u" * 32, proposal()) is None
    assert keys.key_for(b"t" * 32, proposal()) not in (None, other)
    assert keys.erase([], [SUBJECT, b"u" * 32]) == 0


def test_no_key_is_left_of_a_subject_that_is_closed_while_others_seal_for_it(
    persistence: PostgresPersistence, keys: PostgresClientKeys
) -> None:
    """Each seal comes before the erasure, and loses its key, or after it, and gets none."""
    subjects = [bytes([number]) * 32 for number in range(20)]
    sealing = [
        threading.Thread(target=lambda: [keys.key_for(each, proposal()) for each in subjects])
        for _ in range(3)
    ]
    for thread in sealing:
        thread.start()
    keys.erase([], subjects)
    for thread in sealing:
        thread.join()
    with persistence.connection() as connection:
        rows = connection.execute("SELECT key FROM client_keys").fetchall()
    assert [row["key"] for row in rows] == [None] * len(subjects)


def test_a_database_of_before_learns_to_keep_what_is_left_of_an_erased_subject(
    keys: PostgresClientKeys, persistence: PostgresPersistence
) -> None:
    with persistence.connection() as connection:
        connection.execute("ALTER TABLE client_keys ALTER COLUMN key SET NOT NULL")
        connection.execute("DELETE FROM prepared")
    persistence.prepare([])
    keys.erase([], [SUBJECT])
    with persistence.connection() as connection:
        [row] = connection.execute("SELECT key FROM client_keys").fetchall()
    assert row == {"key": None}


def test_no_name_or_address_is_kept_beside_the_key(
    persistence: PostgresPersistence, keys: PostgresClientKeys
) -> None:
    Vault(keys, RandomIds()).seal_client(PAYMENT_ID, SARA)
    with persistence.connection() as connection:
        row = connection.execute("SELECT client_keys::text AS all FROM client_keys").fetchone()
    assert row is not None
    assert "sara" not in row["all"].lower()
    assert b"sara".hex() not in row["all"].lower()
