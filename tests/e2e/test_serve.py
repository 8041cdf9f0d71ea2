"""`paysaga serve` from an empty folder to a paid payment, and through the accidents after that."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.e2e.house import free_port
from tests.e2e.serving import ROLES, Serving, serving
from tests.integration.cli_kit import run
from tests.integration.role_process import WAIT_SECONDS, wait_until


@pytest.fixture(scope="module")
def serve() -> Iterator[Serving]:
    """One for all tests that leave it as it was."""
    with (
        tempfile.TemporaryDirectory(prefix="paysaga-e2e-", ignore_cleanup_errors=True) as name,
        serving(Path(name)) as running,
    ):
        running.wait_until_running()
        yield running


def ended(processes: list[psutil.Process]) -> bool:
    """True when none of them runs; one that nobody asked after yet (a zombie) has ended."""
    return not any(is_alive(process) for process in processes)


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_printed_command_makes_a_payment_that_a_customer_can_pay(serve: Serving) -> None:
    command = serve.curl_line.replace("curl -sS", "curl -sS -o /dev/null -w '%{http_code}'", 1)
    status = subprocess.check_output(command, shell=True, text=True, timeout=WAIT_SECONDS)
    assert status == "201"
    payment = serve.create()
    assert payment["nextAction"]["type"] == "redirect"
    assert payment["nextAction"]["url"].startswith(serve.simulator_url)
    serve.pay(payment)
    serve.wait_until_completed(payment)
    env = {"PAYSAGA_DATA_DIR": str(serve.data_dir)}
    listed = partial(run, "payments", "list", "--status=completed", env=env)
    wait_until(lambda: payment["paymentId"] in listed().stdout, "the list shows the payment")
    doctor = run("doctor", env=env)
    assert doctor.exit_code == 0, doctor.stdout
    assert f"public URL: {serve.url};" in doctor.stdout


def test_it_stops_with_all_it_started_and_finds_its_data_again(data_dir: Path) -> None:
    ports = {"port": free_port(), "simulator_port": free_port()}
    with serving(data_dir, **ports) as first:
        first.wait_until_running()
        payment = first.create()
        processes = first.started()
        assert first.stop(signal.SIGTERM) == 0
        assert ended(processes)
        assert "Traceback" not in first.errors
    with serving(data_dir, **ports) as second:
        second.wait_until_running()
        assert second.status_of(payment) == "processing"
        second.pay(payment)
        second.wait_until_completed(payment)
        assert second.stop(signal.SIGINT) == 0


def test_ctrl_c_in_the_terminal_reaches_nothing_but_serve(serve: Serving) -> None:
    group = os.getpgid(serve.process.pid)
    assert all(os.getpgid(process.pid) != group for process in serve.started())


def test_whatever_is_killed_is_started_again_and_payments_go_on(data_dir: Path) -> None:
    """On a busy machine the simulator is away for so long that the breaker opens; by default it
    would not try again before this test gives up."""
    with serving(data_dir, breaker_reset_timeout_ms=1000) as serve:
        serve.wait_until_running()
        for find in (*(partial(serve.role, role) for role in ROLES), serve.postgres):
            killed = find()
            assert killed
            killed.kill()
            wait_until(lambda: is_another(find(), killed), f"{killed} is started again")  # noqa: B023
            wait_until(lambda: a_payment_goes_through(serve), "payments go through again")
        assert serve.errors.count("child_ended") == len(ROLES)
        assert serve.errors.count("postgres_ended") == 1


def test_a_web_process_that_begins_without_the_database_waits_for_it(data_dir: Path) -> None:
    with serving(data_dir) as serve:
        serve.wait_until_running()
        web, postgres = serve.role("web"), serve.postgres()
        assert web
        assert postgres
        [*processes] = web.children()
        assert processes
        serve.process.send_signal(signal.SIGSTOP)
        postgres.kill()
        for process in processes:
            process.kill()
        try:
            wait_until(lambda: "app_not_made" in serve.errors, "a new process misses the database")
        finally:
            serve.process.send_signal(signal.SIGCONT)
        wait_until(lambda: a_payment_goes_through(serve), "payments go through again")
        assert serve.role("web") == web
        assert "child_ended" not in serve.errors


def is_another(now: psutil.Process | None, before: psutil.Process) -> bool:
    return now is not None and now != before and is_alive(now)


def a_payment_goes_through(serve: Serving) -> bool:
    try:
        payment = serve.create()
    except AssertionError:
        return False
    if payment.get("nextAction") is None:
        return False
    serve.pay(payment)
    serve.wait_until_completed(payment)
    return True


def test_after_a_kill_nothing_stays_but_the_database_and_the_next_start_works(
    data_dir: Path,
) -> None:
    ports = {"port": free_port(), "simulator_port": free_port()}
    with serving(data_dir, **ports) as first:
        first.wait_until_running()
        payment = first.create()
        children = psutil.Process(first.process.pid).children(recursive=True)
        postgres = first.postgres()
        first.process.kill()
        with serving(data_dir, **ports) as second:
            second.wait_until_running()
            assert second.postgres() == postgres
            assert second.status_of(payment) == "processing"
            wait_until(lambda: ended(children), "the children of the first have ended")
            assert second.stop() == 0


def test_a_second_serve_on_the_same_data_is_refused_in_one_line(serve: Serving) -> None:
    second = run("serve", env={"PAYSAGA_DATA_DIR": str(serve.data_dir)})
    assert second.exit_code == 1
    assert second.stderr.count("\n") == 1
    assert "is in use by another `paysaga serve`" in second.stderr
    assert serve.process.poll() is None
