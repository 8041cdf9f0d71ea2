"""Processes die, freeze and are cut off under load: nothing is lost, doubled or left half-done.

A run's choices follow from a seed, which it prints; `TEST_SEED` sets it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from interface.embedded_postgres import EmbeddedPostgres
from tests.e2e.bookkeeping import assert_charged_once, assert_nothing_lost_and_nothing_doubled
from tests.e2e.faults import ALL_FAULTS, FAULTS, LEASE_SECONDS, Trouble
from tests.e2e.fleet import fleet_on
from tests.e2e.house import free_port
from tests.e2e.shoppers import Shoppers
from tests.postgres_kit import FAST_AND_FORGETFUL

LOSING_MUCH_IN_A_CRASH = {
    **FAST_AND_FORGETFUL,
    "synchronous_commit": "on",
    "wal_writer_delay": "10s",
}
"""What is committed without waiting reaches the disk late, so that a crash loses it."""
PRICE = "149.50"
SEED_VARIABLE = "TEST_SEED"


@pytest.fixture
def chance() -> random.Random:
    """The run's choices; pytest shows the seed of a run that fails."""
    seed = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(10**6))
    print(f"{SEED_VARIABLE}={seed}")
    return random.Random(seed)


@pytest.fixture
def trouble(data_dir: Path, chance: random.Random) -> Iterator[Trouble]:
    """A fleet on a PostgreSQL of its own, not started yet."""
    server = EmbeddedPostgres(data_dir / "pg", options=LOSING_MUCH_IN_A_CRASH, durable=False)
    server.start()
    try:
        url = server.ensure_database("fleet")
        with fleet_on(url, lease_ms=int(LEASE_SECONDS * 1000)) as fleet:
            yield Trouble(fleet, server, chance)
            fleet.show()
    finally:
        server.stop()


def run(trouble: Trouble, faults: list[str], *, shoppers: int, pause_seconds: float) -> None:
    """Faults one after another while customers buy; then everything is as it should be."""
    ports = [trouble.fleet.port, free_port()]
    trouble.start(ports, workers=2)
    print("faults:", ", ".join(faults))
    with Shoppers(trouble.fleet, ports, trouble.chance, shoppers) as shopping:
        for fault in faults:
            trouble.pause(pause_seconds)
            ALL_FAULTS[fault](trouble)
        trouble.pause(pause_seconds)
    bought = shopping.bought()
    print(f"{len(bought)} payments")
    assert len(bought) >= len(faults)
    assert_nothing_lost_and_nothing_doubled(trouble.fleet, bought)
    assert_charged_once(trouble.fleet, bought, PRICE)


def test_every_fault_once_under_load_leaves_nothing_lost_doubled_or_half_done(
    trouble: Trouble,
) -> None:
    faults = trouble.chance.sample(sorted(FAULTS), len(FAULTS))
    run(trouble, faults, shoppers=3, pause_seconds=0.7)


@pytest.mark.slow
@pytest.mark.parametrize("fault", sorted(ALL_FAULTS))
def test_one_fault_again_and_again_under_load(trouble: Trouble, fault: str) -> None:
    run(trouble, [fault] * 6, shoppers=6, pause_seconds=3.0)


@pytest.mark.slow
@pytest.mark.parametrize("_round", range(4))
def test_any_fault_at_any_time_under_load(trouble: Trouble, _round: int) -> None:
    faults = trouble.chance.choices(sorted(ALL_FAULTS), k=12)
    run(trouble, faults, shoppers=6, pause_seconds=2.0)
