"""Whoever has read a position never sees a smaller one appear: followers read by position."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from uuid import uuid4

import psycopg
import pytest
from eventsourcing.persistence import StoredEvent

from system.following import Following
from system.persistence.postgres import PostgresRecorder
from tests.integration.production_kit import Node, store, until

EARLIER, LATER = 3, 3
TAKE_LOCK = "PERFORM pg_advisory_xact_lock(hashtext('payments_events'));"
LINGERING_COMMITS = """
CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep(random() * 0.004);
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER linger AFTER INSERT ON payments_events
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION linger();
"""
"""Keeps a transaction open for a random while after its events have their positions."""
HELD = "held between lock and commit"
HELD_COMMIT = f"""
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF convert_from(NEW.state, 'UTF8') LIKE '%{HELD}%' THEN
        PERFORM pg_advisory_xact_lock_shared(4711);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER hold AFTER INSERT ON payments_events FOR EACH ROW EXECUTE FUNCTION hold();
"""
"""Keeps a transaction open while a test holds the advisory lock 4711."""


def take_the_lock_out(url: str) -> None:
    """Leaves the append function as it is but for its lock."""
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute("SELECT pg_get_functiondef('payments_append'::regproc)")
        [definition] = found.fetchone() or ("",)
        assert definition.count(TAKE_LOCK) == 1
        connection.execute(definition.replace(TAKE_LOCK, "").encode())


class Tail:
    """Reads a log from a position on, over and over, and notes what it sees."""

    def __init__(self, log: PostgresRecorder, start: int) -> None:
        self.start = start
        self.seen: list[int] = []
        self._log = log
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> "Tail":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Reads on to the end of the log."""
        self._closing.set()
        self._thread.join()

    def _read(self) -> None:
        last = self.start
        while True:
            is_last_look = self._closing.is_set()
            page = self._log.select_notifications(last, 50, inclusive_of_start=False)
            self.seen.extend(notification.id for notification in page)
            last = page[-1].id if page else last
            if is_last_look and not page:
                return
            self._closing.wait(0.001)


@contextmanager
def together(*works: Callable[[], object]) -> Iterator[None]:
    """Several things done at once; at the end of the block all are done."""
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()


def all_positions(at: Node) -> list[int]:
    rows = at.query("SELECT notification_id AS id FROM payments_events ORDER BY notification_id")
    return [int(str(row["id"])) for row in rows]


@contextmanager
def held_open(url: str, at: Node) -> Iterator[psycopg.Connection]:
    """A payment whose event has its position already and is not committed before the block ends."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(HELD_COMMIT)
        connection.execute("SELECT pg_advisory_lock(4711)")
        with together(lambda: at.create_payment(HELD)):
            until(lambda: waiting(at) == 1, "the held payment")
            try:
                yield connection
            finally:
                connection.execute("SELECT pg_advisory_unlock(4711)")


def waiting(at: Node) -> int:
    """How many transactions wait for an advisory lock."""
    [row] = at.query("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    return int(str(row["count"]))


class Follower:
    """The view of payments on its own thread, in small batches."""

    def __init__(self, at: Node) -> None:
        self._following = Following(at.applications.payments_view, at.applications.payments, 2)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._follow)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._closing.is_set() or self._following.advance():
            if not self._following.advance():
                self._closing.wait(0.001)


def write_while_one_is_held(url: str, at: Node) -> list[Tail]:
    """One transaction is held between its lock and its commit, while others write and readers
    tail in front of it, right before it and behind it, and a follower follows."""
    for _ in range(EARLIER):
        at.create_payment()
    held = EARLIER + 1
    log = at.applications.payments.recorder
    assert isinstance(log, PostgresRecorder)
    tails = [Tail(log, start) for start in (0, EARLIER, held)]
    with ExitStack() as stack:
        for tail in (*tails, Follower(at)):
            stack.enter_context(tail)
        with held_open(url, at):
            stack.enter_context(together(*[at.create_payment] * LATER))
            until(lambda: others_wait(at) or others_are_through(at), "the others")
            threading.Event().wait(0.1)
        until(lambda: all_positions(at) == list(range(1, held + LATER + 1)), "all commits")
    return tails


def others_wait(at: Node) -> bool:
    return waiting(at) == 1 + LATER


def others_are_through(at: Node) -> bool:
    return len(all_positions(at)) == EARLIER + LATER


def test_nobody_steps_over_a_transaction_held_between_its_lock_and_its_commit(
    database_url: str, idle: Node
) -> None:
    tails = write_while_one_is_held(database_url, idle)
    for tail in tails:
        assert tail.seen == [each for each in all_positions(idle) if each > tail.start]
    shown = idle.query("SELECT count(*) FROM view_payments")
    assert shown == [{"count": EARLIER + 1 + LATER}]


def test_without_the_lock_they_would_step_over_it(database_url: str, idle: Node) -> None:
    """The proof of the proof: it finds what it is there to find. The others may step over each
    other, too."""
    take_the_lock_out(database_url)

    in_front, between, _ = write_while_one_is_held(database_url, idle)
    assert EARLIER + 1 not in in_front.seen
    assert EARLIER + 1 not in between.seen
    assert idle.query("SELECT FROM view_payments WHERE description = %s", HELD) == []


def test_other_logs_are_not_held_up(database_url: str, idle: Node) -> None:
    with held_open(database_url, idle):
        webhooks = idle.applications.webhooks.recorder
        assert webhooks.insert_events([StoredEvent(uuid4(), 1, "t", b"{}")])


@pytest.fixture
def payments_log(database_url: str) -> Iterator[PostgresRecorder]:
    """A log whose transactions linger before they commit."""
    with store(database_url, pool_size=10) as persistence:
        with persistence.connection() as connection:
            connection.execute(LINGERING_COMMITS)
        yield PostgresRecorder(persistence.datastore, persistence.writer, "payments")


def soak(log: PostgresRecorder, commits: int) -> tuple[list[int], list[int]]:
    """8 writers and a reader that tails: what it saw, and what there is."""

    def write() -> None:
        for number in range(commits):
            one, versions = uuid4(), range(1, 2 + number % 3)
            log.insert_events([StoredEvent(one, version, "t", b"{}") for version in versions])

    with Tail(log, 0) as tail, together(*[write] * 8):
        pass
    everything = log.select_notifications(0, 10**6, inclusive_of_start=False)
    return tail.seen, [notification.id for notification in everything]


@pytest.mark.parametrize("commits", [45, pytest.param(2000, marks=pytest.mark.slow)])
def test_a_tailing_reader_counts_every_event_of_8_writers_exactly_once(
    payments_log: PostgresRecorder, commits: int
) -> None:
    seen, everything = soak(payments_log, commits)
    assert len(everything) == 8 * sum(1 + number % 3 for number in range(commits))
    assert seen == everything


def test_without_the_lock_the_tailing_reader_would_miss_some(
    database_url: str, payments_log: PostgresRecorder
) -> None:
    take_the_lock_out(database_url)
    seen, everything = soak(payments_log, 45)
    assert set(seen) < set(everything)
