"""What many tests share: one PostgreSQL per test process, and a fresh database for each test."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import settings

from interface.embedded_postgres import EmbeddedPostgres
from tests.postgres_kit import FAST_AND_FORGETFUL, postgres_of_its_own

settings.register_profile("same_every_time", derandomize=True)
settings.load_profile("same_every_time")
"""A run for a change says something of the change. For examples that nobody has seen yet:
`--hypothesis-profile=default`, as `make test-slow` does."""


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """A real PostgreSQL, stopped and removed at the end of the run."""
    with postgres_of_its_own(FAST_AND_FORGETFUL) as server:
        yield server


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A folder for embedded data. Not pytest's `tmp_path`: PostgreSQL may run as another user,
    and pytest closes its own folder to others whenever a run begins."""
    with tempfile.TemporaryDirectory(prefix="paysaga-data-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture
def database_url(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """The address of an empty database that lives as long as the test."""
    name = f"test_{uuid4().hex}"
    yield postgres_server.ensure_database(name)
    postgres_server.drop_database(name)
