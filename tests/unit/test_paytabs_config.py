"""What the client is told is checked before the first call, and the key is never shown."""

from typing import Any

import pytest

from interface.paytabs import PayTabsConfig, base_url_for

KEY = "SABCDEFGH1-JKLMNPQRS2-TUVWXYZ345"


def config(**changes: Any) -> PayTabsConfig:
    given: dict[str, Any] = {
        "profile_id": 90017,
        "server_key": KEY,
        "base_url": "https://a.example",
    }
    return PayTabsConfig(**given | changes)


def test_the_key_is_never_shown() -> None:
    settings = config()
    assert KEY not in repr(settings)
    with pytest.raises(ValueError, match="server_key") as caught:
        config(server_key=f"{KEY} \n")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"profile_id": 0}, "profile_id"),
        ({"server_key": ""}, "server_key"),
        ({"base_url": "ftp://a.example"}, "base_url"),
        ({"base_url": "https://"}, "base_url"),
        ({"base_url": "https://[::1"}, "base_url"),
        ({"base_url": "https://user@a.example"}, "base_url"),
        ({"connect_timeout_seconds": 0}, "connect_timeout_seconds"),
        ({"total_timeout_seconds": -1}, "total_timeout_seconds"),
        ({"answer_bytes_max": 0}, "answer_bytes_max"),
        ({"user_agent": "a\nb"}, "user_agent"),
    ],
)
def test_a_setting_that_cannot_work_is_named(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        config(**change)


def test_every_region_has_its_host() -> None:
    assert base_url_for("SAU") == "https://secure.paytabs.sa"
    assert base_url_for("are") == "https://secure.paytabs.com"
    assert base_url_for("QAT") == "https://secure-doha.paytabs.com"


def test_an_unknown_region_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="choose one of ARE, SAU"):
        base_url_for("BHR")
