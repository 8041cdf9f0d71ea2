"""How the breakers of a process are kept in step with the recorded ones (contract 8)."""

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from eventsourcing.persistence import DataError, OperationalError

from application.circuit_breaker import CircuitBreakerConfig
from application.operations import Operations
from domain.circuit import Circuit
from domain.event import EventContext, Metadata, acting
from interface.clock import RandomIds
from system.circuits import CHANGES_MAX, Circuits
from system.persistence.memory import MemoryPersistence
from tests.unit.circuit_breaker_kit import Bench, FakeTime, OurMistake, bench

WAIT_MS = 60_000
CONFIG = CircuitBreakerConfig("paytabs", reset_timeout_ms=WAIT_MS)


class Wall:
    """A wall clock that may go wrong."""

    def __init__(self, time: FakeTime) -> None:
        self.time = time
        self.wrong_by = timedelta(0)

    def now(self) -> datetime:
        return self.time.wall() + self.wrong_by


class Fleet:
    """One log, the breaker of a process each, and a web process whose clock is `web`."""

    def __init__(self, processes: int = 1, **settings: Any) -> None:
        self.walls: list[Wall] = []
        self.benches = [self._bench(settings) for _ in range(processes)]
        self.time = self.benches[0].time
        for bench_ in self.benches[1:]:
            bench_.time.ms = self.time.ms
        self.web = Wall(self.time)
        self.operations = Operations(MemoryPersistence(), self.web, RandomIds())
        self.processes = [self._process(bench_) for bench_ in self.benches]

    def _bench(self, settings: dict[str, Any]) -> Bench:
        wall = Wall(FakeTime())
        made = bench(wall_clock=wall.now, **settings)
        wall.time = made.time
        self.walls.append(wall)
        return made

    def _process(self, made: Bench) -> Circuits:
        listener: Any = SimpleNamespace(subscribe=lambda *_: None)
        circuits = Circuits(self.operations, listener, f"p{id(made)}")
        circuits.add(made.breaker)
        return circuits

    def turn(self) -> None:
        for process in self.processes:
            process.turn()
        for process in self.processes:
            process.turn()

    def pass_ms(self, ms: int) -> None:
        for bench_ in self.benches:
            bench_.time.advance_ms(ms)

    def force_open(self) -> None:
        with self._operator():
            self.operations.force_open("paytabs", "admin", CONFIG)
        self.turn()

    def reset(self) -> None:
        with self._operator():
            self.operations.reset("paytabs", "admin", CONFIG)
        self.turn()

    def _operator(self) -> Any:
        return acting(EventContext(Metadata("admin"), self.web.now()))

    def recorded(self) -> list[str]:
        return [e.state.value for e in self.operations.all() if isinstance(e, Circuit.Changed)]


def test_a_wall_clock_set_back_does_not_keep_a_breaker_open() -> None:
    fleet = Fleet()
    [b] = fleet.benches
    b.open()
    fleet.turn()
    fleet.walls[0].wrong_by = timedelta(hours=-1)
    fleet.pass_ms(WAIT_MS)
    for _ in range(2):
        b.succeed()
        fleet.turn()
    assert b.breaker.state == "CLOSED"
    assert fleet.recorded() == ["OPEN", "HALF_OPEN", "CLOSED"]


def test_an_operator_is_followed_even_when_the_webs_clock_is_behind() -> None:
    fleet = Fleet(processes=2)
    fleet.benches[0].open()
    fleet.turn()
    fleet.web.wrong_by = timedelta(seconds=-5)
    fleet.reset()
    assert [b.breaker.state for b in fleet.benches] == ["CLOSED", "CLOSED"]
    fleet.force_open()
    assert [b.breaker.state for b in fleet.benches] == ["OPEN", "OPEN"]


def test_who_sees_the_same_change_with_a_clock_ahead_follows_all_the_same() -> None:
    fleet = Fleet(processes=2)
    fleet.walls[1].wrong_by = timedelta(hours=1)
    for b in fleet.benches:
        b.open()
    fleet.turn()
    assert fleet.recorded() == ["OPEN"]
    fleet.reset()
    assert [b.breaker.state for b in fleet.benches] == ["CLOSED", "CLOSED"]


def test_a_change_that_was_overtaken_gives_way_to_the_recorded_one() -> None:
    fleet = Fleet(processes=2)
    one, other = fleet.benches
    fleet.walls[0].wrong_by = timedelta(seconds=5)
    one.open()
    fleet.processes[0].turn()
    other.breaker.force_open()
    other.breaker.reset()
    fleet.turn()
    assert fleet.recorded() == ["OPEN"]
    assert other.breaker.state == "OPEN"


def test_a_reset_by_an_operator_ends_a_pause_and_empties_the_window() -> None:
    fleet = Fleet()
    [b] = fleet.benches
    b.fail(3)
    b.fail(1, OurMistake(retry_after_ms=3_600_000))
    fleet.reset()
    b.fail(3)
    assert b.breaker.state == "CLOSED"
    assert fleet.operations.history(Circuit.create_id("paytabs"))[-1].actor == "admin"  # type: ignore[attr-defined]


@pytest.mark.parametrize("passed_ms", [WAIT_MS - 1, WAIT_MS, 2 * WAIT_MS])
def test_forced_open_again_it_waits_a_full_time_again(passed_ms: int) -> None:
    fleet = Fleet(processes=2)
    fleet.force_open()
    fleet.pass_ms(passed_ms)
    fleet.force_open()
    assert [b.refused().retry_after_ms for b in fleet.benches] == [WAIT_MS, WAIT_MS]


# The thread


@pytest.fixture
def running() -> Iterator[Callable[[Fleet], Circuits]]:
    started: list[Circuits] = []

    def start(fleet: Fleet) -> Circuits:
        [circuits] = fleet.processes
        circuits.start()
        started.append(circuits)
        return circuits

    yield start
    for circuits in started:
        circuits.stop()


def test_a_change_that_comes_at_the_last_moment_is_recorded() -> None:
    fleet = Fleet()
    [b], [circuits] = fleet.benches, fleet.processes
    under_way, go_on = threading.Event(), threading.Event()
    write = fleet.operations.record

    def slowly(*aggregates: Any, rows: Any = (), **more: Any) -> None:
        if rows:
            under_way.set()
            go_on.wait(5)
        write(*aggregates, rows=rows, **more)

    fleet.operations.record = slowly  # type: ignore[method-assign]
    circuits.start()
    circuits.wake()
    assert under_way.wait(5)
    stopping = threading.Thread(target=circuits.stop)
    stopping.start()
    b.breaker.force_open()
    go_on.set()
    stopping.join(5)
    assert fleet.recorded() == ["OPEN"]


def test_no_error_ends_the_keeping_in_step(
    running: Callable[[Fleet], Circuits], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("system.circuits.AGAIN_SECONDS", 0.01)
    fleet = Fleet()
    [b] = fleet.benches
    failed, recorded = threading.Event(), threading.Event()
    write, errors = fleet.operations.record, [RuntimeError("a bug")]

    def failing(*aggregates: Any, rows: Any = (), **more: Any) -> None:
        if rows and errors:
            failed.set()
            raise errors.pop()
        write(*aggregates, rows=rows, **more)
        if fleet.recorded():
            recorded.set()

    fleet.operations.record = failing  # type: ignore[method-assign]
    running(fleet).wake()
    assert failed.wait(5)
    b.breaker.force_open()
    assert recorded.wait(5)
    assert fleet.recorded() == ["OPEN"]


def failing_once(fleet: Fleet, error: Exception) -> None:
    """Recording a change fails the first time."""
    record, errors = fleet.operations.record_change, [error]

    def record_change(change: Any) -> Any:
        if errors:
            raise errors.pop()
        return record(change)

    fleet.operations.record_change = record_change  # type: ignore[method-assign]


def test_a_change_that_can_never_be_recorded_holds_up_none_after_it() -> None:
    fleet = Fleet()
    [b] = fleet.benches
    failing_once(fleet, DataError("this cannot be stored"))
    b.half_open()
    fleet.turn()
    assert fleet.recorded() == ["HALF_OPEN"]


def test_a_change_waits_while_the_database_is_away() -> None:
    fleet = Fleet()
    [b] = fleet.benches
    failing_once(fleet, OperationalError("no connection"))
    b.half_open()
    with pytest.raises(OperationalError):
        fleet.turn()
    fleet.turn()
    assert fleet.recorded() == ["OPEN", "HALF_OPEN"]


def test_of_very_many_changes_that_wait_the_newest_are_kept() -> None:
    fleet = Fleet()
    [b] = fleet.benches
    for _ in range(CHANGES_MAX):
        b.breaker.force_open()
        b.breaker.reset()
    b.breaker.force_open()
    fleet.turn()
    the_first_kept_closes_what_is_closed = 1
    assert len(fleet.recorded()) == CHANGES_MAX - the_first_kept_closes_what_is_closed
    assert fleet.recorded()[-1] == "OPEN"
