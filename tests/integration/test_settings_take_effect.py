"""What is set for the database's connections and for followers is what the processes do."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise
from threading import Lock
from typing import Any, cast

import psycopg
import pytest
from psycopg_pool import PoolTimeout

from interface.bootstrap import Worker, open_persistence
from interface.settings import Settings, load_settings
from system.lane import Lane
from system.turns import FollowerTurns
from tests.integration.production_kit import Production, store, until

POOL_SIZE, BATCH_SIZE, LINGER_MS = 3, 7, 40


def settings_for(database_url: str) -> Settings:
    """Settings of a worker whose gateway never answers."""
    return load_settings(
        database_url=database_url,
        paytabs_profile_id=123456,
        paytabs_server_key="SKEYFORTESTS0001",
        paytabs_base_url="http://127.0.0.1:9",
        database_pool_size=POOL_SIZE,
        follower_batch_size=BATCH_SIZE,
        follower_linger_ms=LINGER_MS,
    )


def connections_to(database_url: str) -> int:
    """How many clients are connected, as PostgreSQL sees it, but for who asks."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_a_process_opens_as_many_connections_as_are_set_and_no_more(database_url: str) -> None:
    persistence = open_persistence(settings_for(database_url))
    with ExitStack() as stack:
        stack.callback(persistence.close)
        for _ in range(POOL_SIZE):
            stack.enter_context(persistence.connection())
        with pytest.raises(PoolTimeout):
            persistence.datastore.pool.getconn(timeout=0.2)
        until(lambda: connections_to(database_url) == POOL_SIZE, "the last connection to end")


def recording_batches(database_url: str) -> None:
    """Has the database note every position that the sagas' follower reaches in Payments."""
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "CREATE TABLE reached (place serial, position bigint);"
            "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "IF NEW.application_name = 'Payments' THEN "
            "INSERT INTO reached (position) VALUES (NEW.notification_id); END IF; "
            "RETURN NULL; END $$;"
            "CREATE TRIGGER note AFTER INSERT OR UPDATE ON paymentsagas_tracking "
            "FOR EACH ROW EXECUTE FUNCTION note()"
        )


def positions_reached(database_url: str) -> list[int]:
    """Where the sagas' follower stood in Payments after each of its transactions."""
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT position FROM reached ORDER BY place").fetchall()
    return [position for (position,) in rows]


def test_a_worker_takes_in_as_many_events_at_once_as_are_set(database_url: str) -> None:
    with store(database_url) as persistence:
        customers = Production(persistence, name="customers")
        for _ in range(3 * BATCH_SIZE):
            customers.create_payment("10.00", "SAR", "Tea")
        recording_batches(database_url)
        worker = Worker(settings_for(database_url))
        worker.start()
        try:
            until(lambda: len(positions_reached(database_url)) >= 3, "three batches")
        finally:
            worker.stop()
    assert positions_reached(database_url)[:3] == [BATCH_SIZE, 2 * BATCH_SIZE, 3 * BATCH_SIZE]


def test_a_worker_s_lanes_linger_as_long_as_is_set(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lingering: list[float] = []

    def lane(followers: Any, tell: Callable[[str, int], None], linger_seconds: float) -> Lane:
        lingering.append(linger_seconds)
        return Lane(followers, tell, linger_seconds)

    monkeypatch.setattr("system.runner.Lane", lane)
    worker = Worker(settings_for(database_url))
    worker.start()
    worker.stop()
    assert lingering == [LINGER_MS / 1000] * 2


class Restless:
    """A follower that has always something to do soon and never takes anything in."""

    name, log_reaches_to = "Restless", 0

    def __init__(self) -> None:
        self.is_taken = Lock()
        self.turns: list[float] = []

    def seconds_to_wait(self, _now: float) -> float:
        """Nothing to wait for."""
        return 0.0

    def take(self) -> bool:
        """Nothing was there."""
        self.turns.append(time.monotonic())
        return False

    def finish(self) -> None:
        """Nothing to record."""


def test_a_lane_that_was_woken_lets_events_gather_before_the_next_turn() -> None:
    follower = Restless()
    lane = Lane([cast(FollowerTurns, follower)], lambda _name, _position: None, 0.05)
    lane.start()
    until(lambda: len(follower.turns) >= 4, "four turns")
    lane.stop()
    lane.join()
    gaps = [after - before for before, after in pairwise(follower.turns)]
    assert min(gaps[:3]) >= 0.049
