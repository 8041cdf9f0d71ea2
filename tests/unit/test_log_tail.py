"""Followers of one log share what one of them has read, and each still sees every event once."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID

from eventsourcing.persistence import Notification, StoredEvent
from hypothesis import given
from hypothesis import strategies as st

from application.event_log import LIGHT_BYTES_MAX, PAGE_MAX, Page
from system.log_tail import LogTail
from system.persistence.memory import MemoryRecorder, MemoryTables

NOTHING = Page(None, 0, ())
NOW, EARLIER = UUID(int=2), UUID(int=1)


class CountingRecorder(MemoryRecorder):
    """A log in memory that counts how often it is read."""

    reads = 0

    def select_notifications(self, *args: Any, **kwargs: Any) -> Any:
        self.reads += 1
        return super().select_notifications(*args, **kwargs)


def log_of(events: int) -> tuple[LogTail, CountingRecorder]:
    """A log with so many events, and its tail."""
    recorder = CountingRecorder(MemoryTables())
    append(recorder, events)
    log: Any = SimpleNamespace(recorder=recorder, events=SimpleNamespace(newest=NOTHING))
    return LogTail(log), recorder


def append(recorder: CountingRecorder, events: int) -> None:
    """Adds events to the log."""
    known = recorder.max_notification_id() or 0
    for number in range(known, known + events):
        recorder.insert_events([StoredEvent(UUID(int=number), 1, "t", b"")])


def test_what_one_follower_has_read_the_others_do_not_read_again() -> None:
    tail, recorder = log_of(5)
    pages = [[n.id for n in tail.after(position, 10, None)] for position in (0, 0, 3)]
    assert pages == [[1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [4, 5]]
    assert recorder.reads == 1


def test_news_behind_the_page_are_read() -> None:
    tail, recorder = log_of(2)
    assert len(tail.after(0, 10, None)) == 2
    assert tail.after(2, 10, None) == []
    append(recorder, 1)
    assert [n.id for n in tail.after(2, 10, None)] == [3]


@given(
    steps=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4), st.integers(0, 3)), max_size=40)
)
def test_each_follower_sees_every_event_once_and_in_order(
    steps: list[tuple[int, int, int]],
) -> None:
    tail, recorder = log_of(1)
    seen: list[list[int]] = [[], [], []]
    for follower, limit, new in steps:
        append(recorder, new)
        position = seen[follower][-1] if seen[follower] else 0
        page = [n.id for n in tail.after(position, limit, None)]
        assert len(page) <= limit
        assert page or position == recorder.max_notification_id()
        seen[follower] += page
    for ids in seen:
        assert ids == list(range(1, len(ids) + 1))


def recorded_here(epoch: UUID | None) -> tuple[LogTail, CountingRecorder]:
    """A log of four events, of which this process recorded the last two."""
    recorder = CountingRecorder(MemoryTables())
    append(recorder, 4)
    newest = Page(epoch, 2, recorder.select_notifications(3, 10))
    recorder.reads = 0
    log: Any = SimpleNamespace(recorder=recorder, events=SimpleNamespace(newest=newest))
    return LogTail(log), recorder


def test_what_was_recorded_here_is_not_read_back() -> None:
    tail, recorder = recorded_here(NOW)
    assert [n.id for n in tail.after(2, 10, NOW)] == [3, 4]
    assert [n.id for n in tail.after(3, 10, NOW)] == [4]
    assert recorder.reads == 0


def test_a_follower_that_is_behind_what_was_recorded_here_misses_nothing() -> None:
    tail, recorder = recorded_here(NOW)
    assert [n.id for n in tail.after(1, 10, NOW)] == [2, 3, 4]
    assert recorder.reads == 1


def test_what_was_recorded_or_read_in_another_epoch_is_read_anew() -> None:
    tail, recorder = recorded_here(EARLIER)
    assert [n.id for n in tail.after(2, 10, NOW)] == [3, 4]
    assert recorder.reads == 1
    assert [n.id for n in tail.after(2, 10, EARLIER)] == [3, 4]
    assert recorder.reads == 1
    tail.after(0, 10, EARLIER)
    tail.after(0, 10, NOW)
    assert recorder.reads == 3


def page(*positions: int, epoch: UUID | None = NOW, state: bytes = b"") -> Page:
    """Events that were recorded together at these positions."""
    notifications = [Notification(UUID(int=n), 1, "t", state, n) for n in positions]
    return Page(epoch, positions[0] - 1, notifications, is_light=len(state) <= LIGHT_BYTES_MAX)


def positions(of: Page) -> list[int]:
    return [each.id for each in of.notifications]


@given(st.lists(st.tuples(st.integers(1, 3), st.booleans(), st.booleans()), max_size=30))
def test_what_was_recorded_here_is_remembered_back_to_where_another_stands_between(
    steps: list[tuple[int, bool, bool]],
) -> None:
    """Each step: how many events are recorded, whether by this process, whether in a new epoch."""
    newest, reached, epoch = NOTHING, 0, 1
    expected: list[int] = []
    for count, is_own, is_new_epoch in steps:
        added = list(range(reached + 1, reached + count + 1))
        reached += count
        epoch += is_new_epoch
        if is_new_epoch or not is_own:
            expected = []
        if is_own:
            newest = newest.before(page(*added, epoch=UUID(int=epoch)))
            expected += added
            assert positions(newest) == expected
            assert newest.begin == expected[0] - 1


def test_what_is_remembered_is_limited_in_number_and_in_size() -> None:
    newest = page(1)
    for position in range(2, PAGE_MAX + 11):
        newest = newest.before(page(position))
    assert positions(newest) == list(range(11, PAGE_MAX + 11))
    assert newest.begin == 10
    large = page(PAGE_MAX + 11, state=bytes(LIGHT_BYTES_MAX + 1))
    newest = newest.before(large)
    assert newest == large
    assert positions(newest.before(page(PAGE_MAX + 12))) == [PAGE_MAX + 12]
