"""A worker that is silent but not dead keeps its connection, and must not keep its followers."""

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
from structlog.testing import capture_logs

from system.leadership import WORKER_STALE_SECONDS, Leadership
from tests.integration.production_kit import store, until

FOLLOWER, FOLLOWERS = "PaymentsView", 8
FALL_SILENT = (
    "UPDATE worker_heartbeats SET active_at = now() - make_interval(secs => %s)"
    " WHERE process = 'silent'"
)


@pytest.fixture
def url(database_url: str) -> Iterator[str]:
    with store(database_url):
        yield database_url


def fall_silent(url: str, seconds: float) -> None:
    """As if the worker had not been heard of for so long."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(FALL_SILENT, (seconds,))


def test_a_silent_worker_is_unseated_and_a_living_one_is_not(url: str) -> None:
    with (
        closing(Leadership(url, "silent")) as silent,
        closing(Leadership(url, "living")) as living,
        capture_logs() as logs,
    ):
        assert silent.acquire(FOLLOWER)
        silent.share(FOLLOWERS)
        fall_silent(url, WORKER_STALE_SECONDS - 2)
        living.share(FOLLOWERS)
        assert not living.acquire(FOLLOWER)
        fall_silent(url, WORKER_STALE_SECONDS + 1)
        living.share(FOLLOWERS)
        until(lambda: living.acquire(FOLLOWER), "the take-over")
        silent.report({})
        assert not silent.acquire(FOLLOWER)
    unseated = [entry["worker"] for entry in logs if entry["event"] == "silent_worker_unseated"]
    assert unseated == ["silent"]
