"""What a web process knows of the recorded breakers without asking the database each time."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from application.circuit_breaker import CircuitBreakerConfig
from application.operations import Operations
from domain.event import EventContext, Metadata, acting
from interface.clock import RandomIds
from interface.web.context import CircuitBoard
from system.persistence.memory import MemoryPersistence
from tests.unit.circuit_breaker_kit import FakeTime

WAIT_MS = 60_000


class Web:
    """A board over a log in memory; `tell` is what the listener does when something happens."""

    def __init__(self) -> None:
        self.time = FakeTime()
        clock = SimpleNamespace(now=self.time.wall)
        self.operations = Operations(MemoryPersistence(), clock, RandomIds())
        self.reads = 0
        self.while_reading: Callable[[], None] = lambda: None
        applications: Any = SimpleNamespace(operations=self)
        self.clock = clock
        self.name = self.operations.name
        self.board = CircuitBoard(applications, self, clock=self.time.monotonic)  # type: ignore[arg-type]

    def subscribe(self, _channel: str, tell: Callable[[str], None]) -> None:
        self.tell = lambda: tell("")

    def latest_change(self, name: str) -> Any:
        self.reads += 1
        found = self.operations.latest_change(name)
        self.while_reading()
        return found

    def act(self, action: Callable[..., object]) -> None:
        with acting(EventContext(Metadata("admin"), self.time.wall())):
            action("paytabs", "admin", CircuitBreakerConfig("paytabs", reset_timeout_ms=WAIT_MS))

    def retry_after(self) -> int | None:
        return self.board.retry_after_seconds("paytabs")


@pytest.fixture
def web() -> Web:
    return Web()


def test_a_service_that_never_failed_is_not_left_alone(web: Web) -> None:
    assert web.retry_after() is None


def test_an_open_breaker_says_how_long_it_stays_so(web: Web) -> None:
    web.act(web.operations.force_open)
    assert web.retry_after() == 60
    web.time.advance_ms(500)
    assert web.retry_after() == 60
    web.time.advance_ms(WAIT_MS - 501)
    web.tell()
    assert web.retry_after() == 1


@pytest.mark.parametrize("passed_ms", [WAIT_MS, 60 * WAIT_MS])
def test_after_its_wait_nothing_is_left_alone_any_more(web: Web, passed_ms: int) -> None:
    web.act(web.operations.force_open)
    web.time.advance_ms(passed_ms)
    assert web.retry_after() is None


def test_the_log_is_read_once_and_again_after_news(web: Web) -> None:
    for _ in range(5):
        web.retry_after()
    assert web.reads == 1
    web.act(web.operations.force_open)
    web.tell()
    assert web.retry_after() == 60
    assert web.reads == 2


def test_news_that_comes_while_the_log_is_read_is_not_forgotten(web: Web) -> None:
    def somebody_opens() -> None:
        web.while_reading = lambda: None
        web.act(web.operations.force_open)
        web.tell()

    web.while_reading = somebody_opens
    web.retry_after()
    assert web.retry_after() == 60


def test_a_wake_up_that_got_lost_is_made_good_within_seconds(web: Web) -> None:
    assert web.retry_after() is None
    web.act(web.operations.force_open)
    web.time.advance_ms(5_000)
    assert web.retry_after() == 55
