"""What the breaker would refuse is refused at the start, with the name of the setting."""

import pytest

from interface.bootstrap import breaker_config
from interface.paytabs.config import TOTAL_TIMEOUT_SECONDS
from interface.settings import InvalidSettings, load_settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("breaker_timeout_ms", 86_400_001),
        ("breaker_reset_timeout_ms", 86_400_001),
        ("breaker_slow_call_threshold_ms", 86_400_001),
        ("breaker_window_ms", 3_600_001),
        ("breaker_minimum_requests", 1_000_001),
        ("breaker_volume_threshold", 1_000_001),
        ("breaker_max_concurrent_requests", 10_001),
        ("breaker_error_threshold", 0),
        ("breaker_slow_call_rate_threshold", 100.5),
    ],
)
def test_what_the_breaker_would_refuse_is_refused_at_the_start(name: str, value: float) -> None:
    with pytest.raises(InvalidSettings, match=f"PAYSAGA_{name.upper()}"):
        load_settings(**{name: value})


def test_no_place_may_be_given_away_while_its_call_still_runs() -> None:
    shortest = TOTAL_TIMEOUT_SECONDS * 1000
    assert load_settings(breaker_timeout_ms=shortest)
    with pytest.raises(InvalidSettings, match="PAYSAGA_BREAKER_TIMEOUT_MS"):
        load_settings(breaker_timeout_ms=shortest - 1)


def test_a_share_may_be_a_fraction_of_a_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYSAGA_BREAKER_ERROR_THRESHOLD", "0.5")
    monkeypatch.setenv("PAYSAGA_BREAKER_SLOW_CALL_RATE_THRESHOLD", "12.5")
    config = breaker_config(load_settings(), "paytabs")
    assert (config.error_threshold, config.slow_call_rate_threshold) == (0.5, 12.5)
