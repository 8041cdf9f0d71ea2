"""Whatever happened, and wherever a rebuild was interrupted, it gives the rows of the live view."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from system.rebuild import Rebuild, rebuildable
from system.replay_check import ReplayCheck
from tests.integration.history_kit import forget, happen, live_projections, rows
from tests.integration.journal_kit import Books, books
from tests.integration.test_rebuild import Interrupted, interrupt_after
from tests.simulation.people import PeopledWorld

A_FULL_HISTORY = 14
"""A seed whose history leaves something in every view."""


@pytest.fixture(scope="module")
def shared(postgres_server: Any) -> Iterator[Books]:
    """One database for all random histories, emptied before each."""
    name = f"histories_{uuid4().hex}"
    with books(postgres_server.ensure_database(name)) as kept:
        yield kept
    postgres_server.drop_database(name)


def followed(kept: Books, batch_size: int = 100, batches: int = 10_000) -> None:
    """Lets the live projections take in so many batches of each log, or all."""
    for following in live_projections(kept, batch_size):
        for _ in range(batches):
            if not following.advance():
                break


def rebuilt_with_interruptions(kept: Books, name: str, stops: list[int]) -> None:
    """Rebuilds; each of the first attempts dies after so many events more."""
    for stop in stops:
        try:
            Rebuild(kept.persistence, kept.applications, name).run(interrupt_after(stop))
        except Interrupted:
            continue
        return
    Rebuild(kept.persistence, kept.applications, name).run()


def in_memory(world: PeopledWorld, table: str, column_names: list[str]) -> list[dict[str, Any]]:
    """The rows that the test mode's live projections have made."""
    found = world.system.persistence.tables.rows[table]
    keyed = [{column_names[0]: key[0], **row} for key, row in found.items()]
    whole = [{**dict.fromkeys(column_names), **row} for row in keyed]
    return sorted(whole, key=lambda row: row[column_names[0]].bytes)


@settings(
    max_examples=8,
    deadline=None,
    phases=(Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    seed=st.integers(0, 100_000),
    batch=st.integers(1, 60),
    followed_first=st.integers(0, 5),
    stops=st.lists(st.integers(0, 60), max_size=3).map(sorted),
)
def test_every_projection_is_rebuilt_to_the_very_rows_of_the_live_one(
    shared: Books,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    batch: int,
    followed_first: int,
    stops: list[int],
) -> None:
    forget(shared)
    monkeypatch.setattr("system.rebuild.BATCH_SIZE", batch)
    world = happen(shared, seed)
    followed(shared, batch, followed_first)
    names = rebuildable(shared.applications)
    for name in names:
        rebuilt_with_interruptions(shared, name, stops)
    followed(shared, batch)
    live = rows(shared)
    for name in names:
        rebuilt_with_interruptions(shared, name, stops)
    assert rows(shared) == live
    assert live == {table: in_memory(world, table, columns(shared, table)) for table in live}
    assert list(ReplayCheck(shared.persistence, shared.applications).run()) == []


def columns(kept: Books, table: str) -> list[str]:
    found = kept.query(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 "
        "AND NOT attisdropped ORDER BY attnum",
        table,
    )
    return [row["attname"] for row in found]


def test_the_histories_leave_something_in_every_view(shared: Books) -> None:
    forget(shared)
    happen(shared, A_FULL_HISTORY)
    followed(shared)
    assert [name for name, found in rows(shared).items() if not found] == []
