"""Personal data is sealed per client; without the key it is gone."""

import base64
from dataclasses import asdict, replace
from uuid import UUID

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from application.vault import ClientKey, Vault, opened, payment_subject
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


def test_what_is_sealed_for_a_closed_subject_is_not_kept() -> None:
    v = vault()
    nobody = ClientInfo(name="Sara Omar")
    before = v.seal_client(PAYMENT_ID, nobody)
    assert v.erase([], [payment_subject(PAYMENT_ID)]) == 1
    after = v.seal_client(PAYMENT_ID, nobody)
    assert after.ciphertext == ""
    assert [opened(each, v) for each in (before, after)] == ["erased", "erased"]
    assert v.open_client(after) is None
    assert v.erase([], [payment_subject(PAYMENT_ID)]) == 0


def test_what_is_learned_of_a_client_is_erased_with_them_and_not_kept_afterwards() -> None:
    v = vault()
    sara = v.seal_client(PAYMENT_ID, SARA)
    before = v.seal_beside(sara, PAYMENT_ID, {"name": "Sara on her card"})
    assert v.open(before) == {"name": "Sara on her card"}
    assert v.erase([UUID(sara.client_id)]) == 1
    after = v.seal_beside(sara, PAYMENT_ID, {"name": "Sara on her card"})
    assert after.ciphertext == ""
    assert [opened(each, v) for each in (before, after)] == ["erased", "erased"]


def test_a_key_out_of_a_backup_does_not_stumble_over_what_was_not_kept() -> None:
    keys = ErasableKeys()
    v = vault(keys)
    sara = v.seal_client(PAYMENT_ID, SARA)
    keys.erased.add(UUID(sara.client_id))
    after = v.seal_beside(sara, PAYMENT_ID, {"name": "Sara on her card"})
    keys.erased.clear()
    assert (v.open_client(sara), opened(after, v)) == (SARA, "erased")


def test_whoever_was_erased_and_comes_back_by_e_mail_gets_a_new_key() -> None:
    v = vault()
    before = v.seal_client(PAYMENT_ID, SARA)
    v.erase([UUID(before.client_id)], [payment_subject(PAYMENT_ID)])
    after = v.seal_client(OTHER_PAYMENT, SARA)
    assert (v.open_client(before), v.open_client(after)) == (None, SARA)


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
