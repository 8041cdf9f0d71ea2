"""Nodes of the real system for many tests."""

from collections.abc import Iterator

import pytest

from tests.integration.production_kit import Node, node


@pytest.fixture
def idle(database_url: str) -> Iterator[Node]:
    """A node that is never started: the tests follow by hand."""
    with node(database_url) as one:
        yield one


@pytest.fixture
def running(idle: Node) -> Iterator[Node]:
    """A node whose followers run."""
    idle.start()
    try:
        yield idle
    finally:
        idle.stop()
