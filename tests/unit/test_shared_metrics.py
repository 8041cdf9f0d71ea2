"""The folder in which the processes of one web role keep their counts."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from interface.roles.shared_metrics import FOLDER_VARIABLE, PREFIX, SharedMetrics


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, "")


def test_prometheus_client_is_told_of_the_folder_and_it_goes_at_the_end(tmp_path: Path) -> None:
    metrics = SharedMetrics(tmp_path)
    assert os.environ[FOLDER_VARIABLE] == str(metrics.folder)
    assert metrics.folder.is_dir()
    metrics.on_exit(None)
    assert list(tmp_path.iterdir()) == []


def test_the_place_of_a_dead_process_is_taken_by_the_next(tmp_path: Path) -> None:
    metrics = SharedMetrics(tmp_path)
    for worker in ("first", "second", "third"):
        metrics.pre_fork(None, worker)
    metrics.child_exit(None, "second")
    metrics.pre_fork(None, "fourth")
    metrics.pre_fork(None, "fifth")
    assert metrics._places == {"first": 0, "third": 2, "fourth": 1, "fifth": 3}
    metrics.on_exit(None)


def abandoned(parent: Path, seconds_ago: float) -> Path:
    folder = parent / f"{PREFIX}of-the-dead"
    folder.mkdir()
    moment = folder.stat().st_mtime - seconds_ago
    os.utime(folder, (moment, moment))
    return folder


def test_the_folder_of_a_role_that_was_killed_is_removed(tmp_path: Path) -> None:
    folder = abandoned(tmp_path, seconds_ago=3600)
    SharedMetrics(tmp_path).on_exit(None)
    assert not folder.exists()


def test_a_folder_that_may_not_be_locked_yet_is_left(tmp_path: Path) -> None:
    folder = abandoned(tmp_path, seconds_ago=1)
    SharedMetrics(tmp_path).on_exit(None)
    assert folder.exists()


def test_the_folder_of_a_role_that_runs_is_left(tmp_path: Path) -> None:
    folder = abandoned(tmp_path, seconds_ago=3600)
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    SharedMetrics(tmp_path).on_exit(None)
    assert folder.exists()
    os.close(descriptor)
