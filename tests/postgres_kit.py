"""A PostgreSQL for tests, run with other settings than one for people."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from interface.embedded_postgres import EmbeddedPostgres

FAST_AND_FORGETFUL = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "autovacuum": "off",
}


@contextmanager
def postgres_of_its_own(options: Mapping[str, str]) -> Iterator[EmbeddedPostgres]:
    """A real PostgreSQL in a folder of its own, stopped and removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="paysaga-tests-", ignore_cleanup_errors=True) as name:
        server = EmbeddedPostgres(Path(name) / "postgres", options=options, durable=False)
        server.start()
        try:
            yield server
        finally:
            server.stop()
