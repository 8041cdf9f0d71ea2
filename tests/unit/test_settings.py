"""Wrong settings stop the start, each with one line that names it."""

from datetime import UTC, datetime

import pytest
from psycopg.conninfo import conninfo_to_dict

from interface.settings import InvalidSettings, load_settings

EXPECTED = "expected an address such as https://pay.example.com"


@pytest.mark.parametrize("name", ["PAYSAGA_PUBLIC_URL", "PAYSAGA_PAYTABS_BASE_URL"])
@pytest.mark.parametrize("value", ["pay.example.com", "pay.example.com:8080", "ftp://pay.example"])
def test_an_address_without_http_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings) as refusal:
        load_settings()
    assert refusal.value.problems == [f"{name}: '{value}' is wrong: {EXPECTED}"]


@pytest.mark.parametrize("name", ["PAYSAGA_PUBLIC_URL", "PAYSAGA_PAYTABS_BASE_URL"])
def test_an_address_that_no_url_parser_takes_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "http://[::1")
    with pytest.raises(InvalidSettings) as refusal:
        load_settings()
    [line] = refusal.value.problems
    assert line.startswith(f"{name}: 'http://[::1' is wrong: ")


def test_two_wrong_addresses_are_two_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYSAGA_PUBLIC_URL", "pay.example.com")
    monkeypatch.setenv("PAYSAGA_PAYTABS_BASE_URL", "pay.example.com")
    with pytest.raises(InvalidSettings) as refusal:
        load_settings()
    assert sorted(line.split(":")[0] for line in refusal.value.problems) == [
        "PAYSAGA_PAYTABS_BASE_URL",
        "PAYSAGA_PUBLIC_URL",
    ]


def test_good_addresses_are_taken_without_the_slash_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PAYSAGA_PUBLIC_URL", "https://pay.example.com/")
    monkeypatch.setenv("PAYSAGA_PAYTABS_BASE_URL", "http://127.0.0.1:8090")
    settings = load_settings()
    assert settings.base_url == "https://pay.example.com"
    assert settings.gateway_url == "http://127.0.0.1:8090"


SOON = "288@2026-11-23T06:00:00Z"


def test_a_hurried_clock_shows_its_moment_and_goes_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYSAGA_DEVELOPMENT_CLOCK", SOON)
    clock = load_settings().clock
    before = datetime.now(UTC)
    shown = clock.now()
    after = datetime.now(UTC)
    since = datetime(2026, 11, 23, 6, tzinfo=UTC)
    assert since + (before - since) * 288 <= shown <= since + (after - since) * 288
    assert clock.speed == 288


@pytest.mark.parametrize("gateway", ["PAYTABS_REGION=SAU", "PAYTABS_BASE_URL=https://paytabs.test"])
def test_a_hurried_clock_is_refused_beside_a_real_gateway(
    monkeypatch: pytest.MonkeyPatch, gateway: str
) -> None:
    monkeypatch.setenv("PAYSAGA_DEVELOPMENT_CLOCK", SOON)
    monkeypatch.setenv(*f"PAYSAGA_{gateway}".split("=", 1))
    with pytest.raises(InvalidSettings) as refusal:
        load_settings()
    [line] = refusal.value.problems
    assert line.startswith(f"PAYSAGA_DEVELOPMENT_CLOCK: '{SOON}' is wrong: it is refused")


@pytest.mark.parametrize("value", ["", "fast", "60", "60@noon", "0@2026-11-23", "1001@2026-11-23"])
def test_a_clock_that_makes_no_sense_is_refused(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("PAYSAGA_DEVELOPMENT_CLOCK", value)
    with pytest.raises(InvalidSettings, match="PAYSAGA_DEVELOPMENT_CLOCK"):
        load_settings()


def test_a_database_that_vanished_from_the_network_is_not_waited_for_long() -> None:
    settings = load_settings(
        database_url="postgresql://shop@db.example.com/pay?keepalives_idle=60&sslmode=require"
    )
    said = conninfo_to_dict(settings.conninfo)
    assert (said["host"], said["user"], said["dbname"]) == ("db.example.com", "shop", "pay")
    assert said["sslmode"] == "require"
    assert said["keepalives_idle"] == "60"
    assert said["tcp_user_timeout"] == "15000"
    assert said["connect_timeout"] == "10"
