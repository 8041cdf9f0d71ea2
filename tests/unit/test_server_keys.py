"""One server key, or several while one is being rotated, and for more than one profile."""

from typing import Any

import pytest

from interface.logging_setup import secrets_of
from interface.paytabs import ServerKey, read_server_keys, sign_body, signers_of
from interface.settings import InvalidSettings, Settings, load_settings

NEW, OLD, OTHER = "SNEW000001-NEW", "SOLD000001-OLD", "SOTHER0001-OTHER"
BODY = b'{"tran_ref":"TST1"}'


def settings(server_key: str, **more: Any) -> Settings:
    return load_settings(
        paytabs_profile_id=1, paytabs_server_key=server_key, paytabs_region="SAU", **more
    )


def test_keys_are_parted_by_spaces_and_may_name_their_profile() -> None:
    assert read_server_keys(f" {NEW}  1:{OLD}\n90002:{OTHER}") == (
        ServerKey(NEW),
        ServerKey(OLD, 1),
        ServerKey(OTHER, 90002),
    )


@pytest.mark.parametrize(
    "text", ["", " ", "x:KEY", "1:", ":KEY", "1:2:KEY", "KÉY", "0:KEY", "-1:K"]
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="KEY or PROFILE:KEY"):
        read_server_keys(text)


def test_a_key_does_not_show_itself() -> None:
    assert NEW not in repr(ServerKey(NEW))


def test_the_signer_is_told_from_the_others() -> None:
    keys = read_server_keys(f"{NEW} {OLD}")
    assert signers_of(keys, BODY, sign_body(OLD, BODY)) == [ServerKey(OLD)]
    assert signers_of(keys, BODY, sign_body(OTHER, BODY)) == []
    assert signers_of(keys, BODY, None) == []
    assert signers_of((), BODY, sign_body(NEW, BODY)) == []


def test_a_key_signs_for_its_own_profile_only() -> None:
    bound = ServerKey(OTHER, 90002)
    assert bound.may_sign_for(90002)
    assert bound.may_sign_for("90002")
    assert not any(bound.may_sign_for(profile) for profile in (1, "1", None, True, "", "x"))
    assert all(ServerKey(NEW).may_sign_for(profile) for profile in (1, "1", None))


def test_the_first_key_authorizes_our_requests() -> None:
    assert settings(f"{NEW} {OLD} 90002:{OTHER}").paytabs_request_key == NEW
    assert settings(f"1:{NEW} {OLD}").paytabs_request_key == NEW
    assert load_settings().paytabs_request_key is None


def test_the_first_key_must_be_that_of_the_profile() -> None:
    with pytest.raises(InvalidSettings, match="PAYTABS_PROFILE_ID's own"):
        settings(f"90002:{OTHER} {NEW}")


def test_a_wrong_key_stops_the_start_and_is_not_shown() -> None:
    with pytest.raises(InvalidSettings) as caught:
        settings(f"{NEW} x:{OLD}")
    [problem] = caught.value.problems
    assert problem.startswith("PAYSAGA_PAYTABS_SERVER_KEY: (hidden) is wrong: expected server keys")
    assert NEW not in problem


def test_no_active_key_is_shown_in_logs() -> None:
    assert {NEW, OLD, OTHER} <= set(secrets_of(settings(f"{NEW} {OLD} 90002:{OTHER}")))
