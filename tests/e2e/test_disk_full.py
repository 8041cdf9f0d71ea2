"""The database's disk fills up: requests are refused, and nothing that was taken is lost.

It needs a small disk of its own, so it runs where a tmpfs may be mounted.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from interface.embedded_postgres import EmbeddedPostgres
from tests.e2e.bookkeeping import assert_charged_once, assert_nothing_lost_and_nothing_doubled
from tests.e2e.fleet import Fleet, fleet_on
from tests.e2e.house import until
from tests.postgres_kit import FAST_AND_FORGETFUL

DISK_MEGABYTES = 256
SMALL = {
    **FAST_AND_FORGETFUL,
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "min_wal_size": "32MB",
    "max_wal_size": "48MB",
}
PRICE = "149.50"


@pytest.fixture
def small_disk(data_dir: Path) -> Iterator[Path]:
    disk = data_dir / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a tmpfs may not be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture
def server(small_disk: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(small_disk / "pg", options=SMALL, durable=False)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def fill(disk: Path) -> Path:
    """Takes every byte that is left."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(65_536))
        except OSError:
            return ballast


def is_taken(fleet: Fleet, bought: list[str]) -> bool:
    """Whether a payment can be created; notes what is answered."""
    try:
        answer = fleet.api.create({"Prefer": "respond-async"}, callbackUrl=fleet.merchant.url)
    except requests.ConnectionError:
        return False
    if answer.ok:
        bought.append(answer.json()["paymentId"])
    else:
        assert answer.status_code == 503, answer.text
        assert answer.json()["code"] == "database_unavailable", answer.text
        assert answer.headers["Retry-After"]
    return answer.ok


@pytest.mark.slow
def test_a_full_disk_refuses_requests_and_loses_nothing(
    small_disk: Path, server: EmbeddedPostgres
) -> None:
    with fleet_on(server.ensure_database("fleet")) as fleet:
        web, worker = fleet.web(), fleet.worker()
        bought: list[str] = []
        for _ in range(5):
            assert is_taken(fleet, bought)
        ballast = fill(small_disk)
        end = time.monotonic() + 120
        while is_taken(fleet, bought):
            assert time.monotonic() < end, "there is room left"
        print(f"{len(bought)} payments before the disk was full")
        assert requests.get(f"{fleet.api.url}/healthz", timeout=10).status_code == 200
        assert not is_taken(fleet, bought)
        ballast.unlink()
        server.start()
        until(lambda: is_taken(fleet, bought), 90)
        assert web.process.poll() is None
        assert worker.process.poll() is None
        for payment_id in bought:
            fleet.customer.pay(fleet.api.becomes(payment_id, "processing")["transactionRef"])
        assert_nothing_lost_and_nothing_doubled(fleet, bought)
        assert_charged_once(fleet, bought, PRICE)
        fleet.show()
    logs = [path.read_text() for path in (small_disk / "pg" / "log").glob("*.log")]
    assert "No space left on device" in "".join(logs)
