"""The breaker's settings and the names its values go by."""

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from application.circuit_breaker import CircuitBreakerConfig, CircuitBreakerMetrics

CONTRACT_SETTINGS = {
    "name": "paytabs",
    "errorThreshold": 50,
    "timeout": 30_000,
    "resetTimeout": 60_000,
    "minimumRequests": 10,
    "maxConcurrentRequests": 5,
    "volumeThreshold": 20,
    "slowCallThreshold": 10_000,
    "slowCallRateThreshold": 50,
    "enableEventEmission": True,
    "enableMetrics": True,
    "window": 60_000,
}
CONTRACT_METRICS = (
    "totalRequests successfulRequests failedRequests timeouts slowCalls rejectedRequests "
    "averageResponseTime p95ResponseTime p99ResponseTime errorRate successRate slowCallRate "
    "uptime throughput"
)


def test_the_defaults_carry_the_names_and_values_of_the_contract() -> None:
    assert CircuitBreakerConfig(name="paytabs").as_dict() == CONTRACT_SETTINGS


def test_the_metrics_carry_the_names_of_the_contract() -> None:
    assert set(CircuitBreakerMetrics().as_dict()) == set(CONTRACT_METRICS.split())


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(FrozenInstanceError):
        CircuitBreakerConfig().timeout_ms = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("error_threshold", 0, "0.01 to 100"),
        ("error_threshold", 100.5, "0.01 to 100"),
        ("error_threshold", float("nan"), "0.01 to 100"),
        ("error_threshold", "50", "0.01 to 100"),
        ("slow_call_rate_threshold", -1, "0.01 to 100"),
        ("timeout_ms", 0, "1 to 86400000"),
        ("timeout_ms", True, "1 to 86400000"),
        ("reset_timeout_ms", 0, "1 to 86400000"),
        ("reset_timeout_ms", float("inf"), "1 to 86400000"),
        ("slow_call_threshold_ms", -5, "1 to 86400000"),
        ("window_ms", 999, "1000 to 3600000"),
        ("window_ms", None, "1000 to 3600000"),
        ("minimum_requests", 0, "1 to 1000000"),
        ("minimum_requests", 2.5, "1 to 1000000"),
        ("volume_threshold", 0, "1 to 1000000"),
        ("max_concurrent_requests", 0, "1 to 10000"),
        ("max_concurrent_requests", False, "1 to 10000"),
        ("enable_metrics", 1, "True or False"),
        ("enable_event_emission", None, "True or False"),
        ("name", "", "1 to 200"),
        ("name", 7, "1 to 200"),
    ],
)
def test_a_value_out_of_range_is_refused_by_the_name_of_its_field(
    field: str, value: Any, expected: str
) -> None:
    with pytest.raises(ValueError, match=f"^{field} must be .*{expected}"):
        replace(CircuitBreakerConfig(), **{field: value})


@pytest.mark.parametrize("field", ["timeout_ms", "error_threshold", "window_ms"])
def test_a_number_too_large_for_a_float_is_refused_like_any_other(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        CircuitBreakerConfig(**{field: 10**400})
