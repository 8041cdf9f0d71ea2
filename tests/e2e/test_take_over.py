"""Workers share the followers and the agenda; what one leaves, however it ends, others take up."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psutil
import pytest

from system.definition import PAYSAGA
from system.leadership import LOCK_SPACE, WORKER_SPACE, WORKER_STALE_SECONDS
from tests.e2e.faults import LEASE_SECONDS
from tests.e2e.fleet import Fleet, Process, at_once, fleet_on
from tests.e2e.house import until
from tests.integration.cli_kit import run
from tests.integration.production_kit import Production, store

FOLLOWERS = len(PAYSAGA.follows)
TAKE_OVER_SECONDS_MAX = 5.0
"""After a SIGKILL of the one that ran a follower."""
IDLE_SECONDS = 4.0
IDLE_SHARE_MAX = 0.1
"""Of one core. What it comes to is printed."""
SLOW_MS = 20_000
LEADERS = """
SELECT split_part(h.process, ':', 2)::integer, count(*)
FROM pg_locks f
JOIN pg_locks w ON w.pid = f.pid AND w.locktype = 'advisory' AND w.classid = %s
JOIN worker_heartbeats h ON w.objid::bigint = hashtext(h.process)::bigint & 4294967295
WHERE f.locktype = 'advisory' AND f.classid = %s AND f.granted
AND f.database = (SELECT oid FROM pg_database WHERE datname = current_database())
GROUP BY 1
"""
"""How many followers each worker leads, by its process id."""


@pytest.fixture
def fleet(postgres_server: Any) -> Iterator[Fleet]:
    """On a database of its own, without processes yet."""
    name = f"takeover_{uuid4().hex}"
    url = postgres_server.ensure_database(name)
    with fleet_on(url, lease_ms=int(LEASE_SECONDS * 1000)) as fleet:
        yield fleet
        fleet.show()
    postgres_server.drop_database(name)


@pytest.fixture
def shop(fleet: Fleet) -> Iterator[Production]:
    """Takes orders in this process, so that no web process is needed."""
    with store(fleet.database_url) as persistence:
        yield Production(persistence, name="shop")


def leaders(fleet: Fleet) -> dict[int, int]:
    """How many followers each worker leads, by its process id."""
    return dict(fleet.rows(LEADERS, WORKER_SPACE, LOCK_SPACE))  # type: ignore[arg-type]


def two_that_share(fleet: Fleet) -> tuple[Process, Process]:
    """Two workers, each with half of the followers."""
    one, other = fleet.worker(), fleet.worker()
    halves = [FOLLOWERS // 2, FOLLOWERS - FOLLOWERS // 2]
    until(lambda: sorted(leaders(fleet).values()) == halves)
    return one, other


def has_page(shop: Production, order: Any) -> bool:
    return shop.payment(order).next_action is not None


def test_the_followers_of_a_killed_worker_are_taken_over_in_time(
    fleet: Fleet, shop: Production
) -> None:
    one, other = two_that_share(fleet)
    one.kill()
    killed_at = time.monotonic()
    at_once(lambda: leaders(fleet) == {other.process.pid: FOLLOWERS})
    took = time.monotonic() - killed_at
    print(f"taken over after {took:.2f} s")
    assert took < TAKE_OVER_SECONDS_MAX
    order = shop.create_payment("10.00", "SAR", "Tea")
    until(lambda: has_page(shop, order))


@pytest.mark.slow
def test_the_followers_of_a_frozen_worker_are_taken_over_and_it_does_no_harm_when_it_wakes(
    fleet: Fleet, shop: Production
) -> None:
    one, other = two_that_share(fleet)
    one.freeze()
    try:
        order = shop.create_payment("10.00", "SAR", "Tea")
        frozen_at = time.monotonic()
        until(lambda: has_page(shop, order), WORKER_STALE_SECONDS + 20)
        print(f"taken over after {time.monotonic() - frozen_at:.1f} s")
        until(lambda: leaders(fleet) == {other.process.pid: FOLLOWERS})
    finally:
        one.thaw()
    orders = [shop.create_payment("10.00", "SAR", "Tea") for _ in range(20)]
    until(lambda: all(has_page(shop, each) for each in orders))
    until(lambda: set(leaders(fleet)) == {one.process.pid, other.process.pid})
    sagas = [event for event in shop.applications.sagas.all() if event.event_type == "saga.started"]
    assert len(sagas) == 1 + len(orders)


def test_a_call_of_a_killed_worker_is_taken_up_in_seconds_and_asked_after(
    fleet: Fleet, shop: Production
) -> None:
    one = fleet.worker()
    fleet.customer.behave(latency_ms=SLOW_MS, next=1)
    order = shop.create_payment("10.00", "SAR", "Tea")
    until(lambda: fleet.is_claimed(str(order)))
    time.sleep(LEASE_SECONDS / 2)
    fleet.worker()
    one.kill()
    killed_at = time.monotonic()
    at_once(lambda: "OutcomeUnknown" in [kind for kind, _ in fleet.operations(str(order))])
    took = time.monotonic() - killed_at
    print(f"taken up after {took:.2f} s; the lease is {LEASE_SECONDS} s")
    assert took < LEASE_SECONDS + TAKE_OVER_SECONDS_MAX
    until(lambda: has_page(shop, order))


def test_followers_without_a_worker_show_as_stale_however_far_they_have_come(
    fleet: Fleet, shop: Production
) -> None:
    worker = fleet.worker()
    order = shop.create_payment("10.00", "SAR", "Tea")
    until(lambda: has_page(shop, order))
    until(lambda: states(fleet) == {"running"})
    until(lambda: not fleet.unread() and {row["lagEvents"] for row in listed(fleet)} == {0})
    worker.kill()
    fleet.rows("UPDATE follower_heartbeats SET active_at = active_at - interval '16 s' RETURNING 1")
    assert states(fleet) == {"stale"}
    assert {row["lagEvents"] for row in listed(fleet)} == {0}


def listed(fleet: Fleet) -> list[dict[str, Any]]:
    """What `paysaga projections list` shows."""
    env = {"PAYSAGA_DATABASE_URL": fleet.database_url, "PAYSAGA_DATA_DIR": str(fleet.folder)}
    result = run("projections", "list", "--json", env=env)
    assert result.exit_code == 0, result.output
    return list(json.loads(result.stdout)["data"])


def states(fleet: Fleet) -> set[str]:
    return {row["state"] for row in listed(fleet)}


def test_a_worker_with_nothing_to_do_does_next_to_nothing(fleet: Fleet, shop: Production) -> None:
    worker = fleet.worker()
    order = shop.create_payment("10.00", "SAR", "Tea")
    until(lambda: has_page(shop, order))
    until(lambda: not fleet.unread())
    idler = psutil.Process(worker.process.pid)
    before = idler.cpu_times()
    time.sleep(IDLE_SECONDS)
    after = idler.cpu_times()
    share = (after.user + after.system - before.user - before.system) / IDLE_SECONDS
    print(f"idle: {share:.1%} of a core")
    assert share < IDLE_SHARE_MAX
