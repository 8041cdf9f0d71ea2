"""A rebuilt read model shows the very rows of the live one, and nobody notices the rebuild."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from application.payments import NewPayment
from domain.client import ClientInfo
from domain.errors import DomainError
from domain.gateway_report import GatewayReport, TransactionKind, TransactionStatus
from domain.money import money
from domain.payment import Payment
from domain.payment_terms import Failure
from interface.bootstrap import open_persistence
from interface.settings import InvalidSettings, load_settings
from system.followers.agenda import Agenda
from system.parking import list_parked
from system.persistence.row_sql import RowWriter
from system.projection_versions import outdated_projections
from system.projections.payments_view import PaymentsView
from system.rebuild import (
    Rebuild,
    RebuildRefused,
    RebuildState,
    rebuild_state,
    rebuildable,
)
from tests.integration.cli_kit import run, settings_env
from tests.integration.journal_kit import Books, books
from tests.integration.production_kit import (
    Poison,
    context,
    node,
    poisoned_payment,
    production,
    until,
)
from tests.simulation import scenarios

NOW = datetime(2026, 1, 1, tzinfo=UTC)
VIEWS = ("view_payments", "view_refunds", "view_sagas", "view_contracts", "view_earnings")


@pytest.fixture
def kept(database_url: str) -> Iterator[Books]:
    with books(database_url) as kept:
        yield kept


def rows(kept: Any) -> dict[str, list[dict[str, Any]]]:
    """All rows of all views."""
    return {name: kept.query(f"SELECT * FROM {name} ORDER BY 1") for name in VIEWS}


def rebuild(kept: Any, name: str = "PaymentsView", **how: Any) -> Any:
    return Rebuild(kept.persistence, kept.applications, name).run(**how)


def structure(kept: Any) -> list[dict[str, Any]]:
    """Columns and indexes of the views, and whatever else is named like them."""
    return kept.query(
        "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE tablename LIKE 'view%%' "
        "UNION ALL SELECT table_name, column_name, data_type FROM information_schema.columns "
        "WHERE table_name LIKE 'view%%' ORDER BY 1, 2"
    )


def test_a_rebuilt_view_has_the_rows_columns_and_indexes_of_the_live_one(kept: Books) -> None:
    before, was = rows(kept), structure(kept)
    for name in rebuildable(kept.applications):
        assert not rebuild(kept, name).is_resumed
    assert rows(kept) == before
    assert structure(kept) == was


def test_rows_that_were_spoilt_are_right_again(kept: Books) -> None:
    before = rows(kept)
    kept.query("UPDATE view_payments SET status = 'refunded'")
    kept.query("DELETE FROM view_sagas")
    rebuild(kept)
    rebuild(kept, "SagasView")
    assert rows(kept) == before


def test_the_follower_goes_on_with_the_new_tables(kept: Books) -> None:
    rebuild(kept)
    payment_id = kept.create_payment()
    kept.follow()
    kept.cancel_payment(payment_id)
    kept.follow()
    [row] = kept.query("SELECT status FROM view_payments WHERE payment_id = %s", payment_id)
    assert row["status"] == "cancelled"


STEPS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(
            ["process", "complete", "fail", "cancel", "refund", "refunded", "refuse", "foreign"]
        ),
    ),
    max_size=25,
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS, batch=st.integers(1, 7), client=st.booleans())
def test_whatever_happened_a_rebuild_gives_the_same_rows(
    shared: Books,
    monkeypatch: pytest.MonkeyPatch,
    steps: list[tuple[int, str]],
    batch: int,
    client: bool,
) -> None:
    payments = [new_payment(shared, client) for _ in range(4)]
    for number, step in steps:
        with context():
            shared.applications.payments.change(payments[number], lambda p, s=step: live(p, s))
    shared.follow()
    before = rows(shared)
    monkeypatch.setattr("system.rebuild.BATCH_SIZE", batch * 10)
    for name in ("PaymentsView", "SagasView"):
        rebuild(shared, name)
    assert rows(shared) == before


@pytest.fixture(scope="module")
def shared(postgres_server: Any) -> Iterator[Books]:
    """One database for all random histories: each example adds to it."""
    name = f"rebuild_{uuid4().hex}"
    with books(postgres_server.ensure_database(name)) as kept:
        yield kept
    postgres_server.drop_database(name)


def new_payment(kept: Books, client: bool) -> UUID:
    with context():
        sara = ClientInfo("Sara", "sara@example.com") if client else None
        new = NewPayment(money("10.00", "SAR"), "Tea", client=sara)
        return kept.applications.payments.initiate(new)[0].id


def live(payment: Payment, step: str) -> None:
    """One thing that may happen to a payment; what is refused has not happened."""
    refund_id = next(iter(payment.refunds), uuid4())
    report = GatewayReport(
        "TST1", TransactionKind.SALE, TransactionStatus.AUTHORISED, "c", payment.amount
    )
    failure = Failure("card_declined", "Declined", "310")
    part = payment.amount / 4
    try:
        match step:
            case "process":
                payment.process("TST1", "paytabs", "https://gateway.example/page", NOW)
            case "complete":
                payment.complete(payment.amount, report, NOW)
            case "fail":
                payment.fail(failure, report)
            case "cancel":
                payment.cancel("test")
            case "refund":
                payment.request_refund(uuid4(), part, "why")
            case "refunded":
                payment.refund(refund_id, "TST2")
            case "refuse":
                payment.refuse_refund(refund_id, failure)
            case "foreign":
                payment.record_foreign_refund(uuid4(), "TST3", part)
    except DomainError:
        return


def test_a_rebuild_puts_no_work_on_the_agenda(kept: Books) -> None:
    kept.query("DELETE FROM agenda")
    for name in rebuildable(kept.applications):
        rebuild(kept, name)
    assert kept.query("SELECT * FROM agenda") == []


@pytest.mark.parametrize("name", ["Agenda", "Journal", "Payments", "nothing"])
def test_what_must_not_be_rebuilt_is_refused(kept: Books, name: str) -> None:
    with pytest.raises(RebuildRefused, match="choose one of PaymentsView, SagasView"):
        rebuild(kept, name)
    assert not Agenda.is_rebuildable


class Interrupted(Exception):
    """Stands for whatever ends a process."""


def interrupt_after(events: int) -> Any:
    def progress(done: int, _total: int) -> None:
        if done >= events:
            raise Interrupted

    return progress


def test_an_interrupted_rebuild_goes_on_where_it_stopped(
    kept: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("system.rebuild.BATCH_SIZE", 2)
    before = rows(kept)
    with pytest.raises(Interrupted):
        rebuild(kept, progress=interrupt_after(2))
    assert rows(kept) == before
    state = rebuild_state(kept.persistence, kept.applications, "PaymentsView")
    assert (state.is_interrupted, state.is_running) == (True, False)
    assert state.total > state.position > 0
    told: list[int] = []
    rebuilt = rebuild(kept, progress=lambda done, _total: told.append(done))
    assert rebuilt.is_resumed
    assert told[0] == state.position
    assert rows(kept) == before
    assert not rebuild_state(kept.persistence, kept.applications, "PaymentsView").is_interrupted


def test_a_rebuild_of_another_version_begins_anew(
    kept: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("system.rebuild.BATCH_SIZE", 2)
    with pytest.raises(Interrupted):
        rebuild(kept, progress=interrupt_after(2))
    monkeypatch.setattr(PaymentsView, "version", 2)
    assert not rebuild(kept).is_resumed


def test_progress_ends_at_the_whole(kept: Books) -> None:
    told: list[tuple[int, int]] = []
    rebuild(kept, progress=lambda done, total: told.append((done, total)))
    done, total = told[-1]
    assert done == total > 0


def test_two_rebuilds_of_one_view_do_not_meet(kept: Books) -> None:
    seen: list[str] = []

    def meanwhile(_done: int, _total: int) -> None:
        state = rebuild_state(kept.persistence, kept.applications, "PaymentsView")
        assert state.is_running
        with pytest.raises(RebuildRefused, match="under way"):
            rebuild(kept)
        seen.append("refused")

    rebuild(kept, progress=meanwhile)
    assert seen


def test_an_event_that_cannot_be_taken_in_is_named_and_the_live_view_stays(
    kept: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows(kept)
    view = kept.applications.payments_view
    monkeypatch.setattr(view, "project", lambda _event: 1 / 0)
    with pytest.raises(RebuildRefused, match="position 1 of the log Payments"):
        rebuild(kept)
    assert rows(kept) == before


@pytest.mark.parametrize("topic", ["domain.payment:Payment.\nLost", "os:system", ""])
def test_an_event_of_a_kind_that_is_none_is_named_in_one_line(
    kept: Books, database_url: str, tmp_path: Path, topic: str
) -> None:
    kept.query("UPDATE payments_events SET topic = %s WHERE notification_id = 1", topic)
    result = run("projections", "rebuild", "PaymentsView", env=env_of(database_url, tmp_path))
    [told] = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (1, "")
    assert "cannot take in the event at position 1 of the log Payments: " in told


def test_a_projection_that_writes_to_foreign_tables_is_refused(
    kept: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PaymentsView, "tables", ("view_payments",))
    payment_id = kept.create_payment()
    with context():
        kept.applications.payments.change(
            payment_id, lambda p: [live(p, step) for step in ("process", "complete", "refund")]
        )
    kept.follow()
    with pytest.raises(RebuildRefused, match="view_refunds"):
        rebuild(kept)


def test_events_that_were_set_aside_are_taken_in_and_done_with(database_url: str) -> None:
    with node(database_url) as one:
        one.start()
        poison = Poison(one)
        payment_id = poisoned_payment(one, poison)
        poison.payments.clear()
        rebuild(one)
        [row] = one.query("SELECT status FROM view_payments WHERE payment_id = %s", payment_id)
        assert row["status"] == "cancelled"
        assert list_parked(one.persistence) == []
        other = one.create_payment()
        until(lambda: shown(one, other) == "initiated")
        one.stop()


def shown(at: Any, payment_id: UUID) -> object:
    found = at.query("SELECT status FROM view_payments WHERE payment_id = %s", payment_id)
    return found[0]["status"] if found else None


def test_service_and_followers_run_on_while_views_are_rebuilt(database_url: str) -> None:
    with production(database_url) as process:
        stopping, errors, reads = threading.Event(), [], []

        def read() -> None:
            with psycopg.connect(database_url, autocommit=True) as connection:
                while not stopping.is_set():
                    try:
                        connection.execute(
                            "SELECT p.*, s.status AS saga FROM view_payments p "
                            "LEFT JOIN view_sagas s USING (payment_id) LIMIT 50",
                            prepare=True,
                        ).fetchall()
                        reads.append(1)
                    except psycopg.Error as error:
                        errors.append(error)

        reader = threading.Thread(target=read)
        reader.start()
        made = [scenarios.paid(process)]
        for _ in range(3):
            made.append(process.create_payment("10.00", "SAR", "Tea"))
            for name in ("PaymentsView", "SagasView"):
                rebuild(process, name)
            made.append(scenarios.paid(process))
        process.run()
        stopping.set()
        reader.join()
        assert errors == []
        assert reads
        with process.persistence.connection() as connection:
            found = connection.execute(
                "SELECT payment_id, status FROM view_payments ORDER BY created_at"
            ).fetchall()
        assert [row["payment_id"] for row in found] == made
        assert {row["payment_id"]: row["status"] for row in found} == {
            payment_id: process.payment(payment_id).status for payment_id in made
        }
        assert list_parked(process.persistence) == []


def test_readers_that_hold_the_table_delay_the_swap_and_are_not_cut_off(
    kept: Books, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("system.rebuild.SWAP_LOCK_TIMEOUT_MS", 50)
    monkeypatch.setattr("system.rebuild.SWAP_PAUSE_SECONDS", 0.01)
    before = rows(kept)
    with psycopg.connect(database_url) as reader:
        reader.execute("SELECT count(*) FROM view_payments")
        monkeypatch.setattr("system.rebuild.SWAP_ATTEMPTS_MAX", 2)
        with pytest.raises(RebuildRefused, match="never free"):
            rebuild(kept)
        assert reader.execute("SELECT count(*) FROM view_payments").fetchone() is not None
    assert rebuild(kept).is_resumed
    assert rows(kept) == before


def test_a_rebuild_whose_process_is_killed_goes_on_where_it_stopped(
    kept: Books, database_url: str, tmp_path: Path
) -> None:
    before = rows(kept)
    command = [sys.executable, "-m", "interface.cli", "projections", "rebuild", "PaymentsView"]
    with psycopg.connect(database_url) as reader:
        reader.execute("SELECT count(*) FROM view_payments")
        environment = {**os.environ, **env_of(database_url, tmp_path)}
        with subprocess.Popen(command, env=environment) as process:
            until(lambda: waits_for_its_swap(kept), "the swap is held up")
            process.kill()
    assert process.returncode == -signal.SIGKILL
    until(lambda: state(kept).is_interrupted, "its lock is free")
    assert rows(kept) == before
    payment_id = kept.create_payment()
    kept.follow()
    result = run("projections", "rebuild", "PaymentsView", env=env_of(database_url, tmp_path))
    assert "going on with an interrupted rebuild" in result.stdout
    assert shown(kept, payment_id) == "initiated"
    assert len(rows(kept)["view_payments"]) == len(before["view_payments"]) + 1


def state(kept: Books) -> RebuildState:
    return rebuild_state(kept.persistence, kept.applications, "PaymentsView")


def waits_for_its_swap(kept: Books) -> bool:
    found = state(kept)
    return found.is_running and 0 < found.total == found.position


def test_a_large_batch_is_written_by_few_statements(
    kept: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(20):
        kept.create_payment()
    kept.follow()
    shapes: list[int] = []
    write = RowWriter.write

    def counting(self: RowWriter, connection: Any, changes: Any) -> None:
        shapes.append(len({(type(c), c.table, tuple(c.values)) for c in changes}))
        write(self, connection, changes)

    monkeypatch.setattr(RowWriter, "write", counting)
    rebuild(kept)
    assert shapes[0] <= 3


def env_of(url: str, folder: Path) -> dict[str, str]:
    return settings_env(folder, database_url=url)


def test_the_command_rebuilds_one_or_all(kept: Books, database_url: str, tmp_path: Path) -> None:
    env, before = env_of(database_url, tmp_path), rows(kept)
    kept.query("DELETE FROM view_payments")
    one = run("projections", "rebuild", "PaymentsView", env=env)
    assert one.exit_code == 0, one.output
    assert one.stdout.startswith("PaymentsView: rebuilt, from ")
    every = run("projections", "rebuild", "--all", env=env)
    told = [line.split(":")[0] for line in every.stdout.splitlines()]
    assert told == rebuildable(kept.applications)
    assert rows(kept) == before
    assert run("projections", "rebuild", "Agenda", env=env).exit_code == 1
    typo = run("projections", "rebuild", "PaymentsView", "nope", env=env)
    assert (typo.exit_code, typo.stdout) == (1, "")
    assert typo.stderr.startswith("'nope' cannot be rebuilt: choose one of PaymentsView, ")
    assert run("projections", "rebuild", env=env).exit_code == 2
    assert run("projections", "rebuild", "PaymentsView", "--all", env=env).exit_code == 2


def test_a_program_with_another_version_refuses_to_start_and_says_what_to_do(
    kept: Books, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured = load_settings(database_url=database_url)
    open_persistence(configured).close()
    monkeypatch.setattr(PaymentsView, "version", 2)
    with pytest.raises(InvalidSettings) as refusal:
        open_persistence(configured)
    [line] = refusal.value.problems
    assert "PaymentsView in the database has version 1" in line
    assert "`paysaga projections rebuild PaymentsView`" in line
    result = run("projections", "rebuild", "PaymentsView", env=env_of(database_url, tmp_path))
    assert result.exit_code == 0, result.output
    assert outdated_projections(kept.persistence) == []
    open_persistence(configured).close()
