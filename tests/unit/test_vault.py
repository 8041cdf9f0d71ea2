"""Personal data is sealed per client; without the key it is gone."""

import base64
from dataclasses import asdict, replace
from uuid import UUID

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from application.vault import ClientKey, Vault, opened
from domain.client import Address, ClientInfo
from domain.sealed import Sealed
from system.persistence.memory import MemoryClientKeys
from system.testing import SeededIds
from tests.unit.domain_kit import PAYMENT_ID

OTHER_PAYMENT = UUID("a1a1a1a1-0000-4000-8000-000000000002")
SARA = ClientInfo("Sara Omar", "Sara@Example.com", "+966500000000", Address(city="Riyadh"))


class ErasableKeys(MemoryClientKeys):
    """Keys that can be thrown away."""

    def __init__(self) -> None:
        super().__init__()
        self.erased: set[UUID] = set()

    def find(self, client_id: UUID) -> ClientKey | None:
        """None for an erased client."""
        return None if client_id in self.erased else super().find(client_id)


def vault(keys: MemoryClientKeys | None = None, seed: int = 1) -> Vault:
    """A vault with keys in memory."""
    return Vault(keys or MemoryClientKeys(), SeededIds(seed))


TEXT = st.none() | st.text(st.characters(exclude_categories=["Cs"]))
CLIENTS = st.builds(
    ClientInfo, TEXT, TEXT, TEXT, st.none() | st.builds(Address, TEXT, TEXT, TEXT, TEXT, TEXT)
)


@given(CLIENTS)
def test_a_client_comes_out_as_it_went_in(client: ClientInfo) -> None:
    v = vault()
    assert v.open_client(v.seal_client(PAYMENT_ID, client)) == client


def test_nothing_can_be_read_without_the_key() -> None:
    sealed = vault().seal_client(PAYMENT_ID, SARA)
    assert b"Sara" not in base64.b64decode(sealed.ciphertext)
    assert "ara" not in str(asdict(sealed))


def test_a_client_is_known_by_the_e_mail_whatever_its_case() -> None:
    v = vault()
    first = v.seal_client(PAYMENT_ID, SARA)
    second = v.seal_client(OTHER_PAYMENT, replace(SARA, email="sara@example.COM"))
    assert first.client_id == second.client_id


def test_clients_without_e_mail_are_known_by_their_payment() -> None:
    v = vault()
    nobody = ClientInfo(name="Sara Omar")
    assert (
        v.seal_client(PAYMENT_ID, nobody).client_id
        != v.seal_client(OTHER_PAYMENT, nobody).client_id
    )


def test_sealing_twice_gives_two_ciphertexts() -> None:
    v = vault()
    sealed = {v.seal_client(PAYMENT_ID, SARA).ciphertext for _ in range(3)}
    assert len(sealed) == 3


def test_erasing_a_key_erases_the_person_even_if_she_was_just_read() -> None:
    keys = ErasableKeys()
    v = vault(keys)
    sealed = v.seal_client(PAYMENT_ID, SARA)
    assert v.open_client(sealed) == SARA
    keys.erased.add(UUID(sealed.client_id))
    assert v.open(sealed) is None
    assert v.open_client(sealed) is None


def test_a_changed_ciphertext_is_not_opened() -> None:
    v = vault()
    sealed = v.seal_client(PAYMENT_ID, SARA)
    raw = bytearray(base64.b64decode(sealed.ciphertext))
    raw[-1] ^= 1
    with pytest.raises(InvalidTag):
        v.open(replace(sealed, ciphertext=base64.b64encode(raw).decode()))


def test_one_clients_data_does_not_open_as_another_clients() -> None:
    v = vault()
    sara = v.seal("email:sara@example.com", {"name": "Sara"})
    omar = v.seal("email:omar@example.com", {"name": "Omar"})
    with pytest.raises(InvalidTag):
        v.open(Sealed(omar.client_id, sara.ciphertext))


def test_a_row_with_personal_data_needs_a_vault() -> None:
    sealed = vault().seal("email:sara@example.com", {"name": "Sara"})
    with pytest.raises(ValueError, match="vault"):
        opened(sealed, None)


def test_what_is_not_sealed_is_passed_on() -> None:
    assert opened("text", None) == "text"
    assert vault().open_client(None) is None
