"""The system that the stories about sagas begin with."""

from collections.abc import Iterator

import pytest

from system.testing import SystemUnderTest


@pytest.fixture
def s() -> Iterator[SystemUnderTest]:
    """A system of its own for each story, in which nothing has happened yet."""
    with SystemUnderTest(seed=9) as system:
        yield system
