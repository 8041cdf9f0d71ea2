"""A flood of incidents is counted, not recorded; and memory of it has a limit."""

from interface.web.incident_limit import (
    ADDRESSES_MAX,
    IN_ALL_MAX,
    PER_ADDRESS_MAX,
    WINDOW_SECONDS,
    IncidentLimit,
)


class Stopwatch:
    """A clock that stands still until it is moved on."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_ten_incidents_of_an_address_are_recorded_in_a_minute() -> None:
    limit = IncidentLimit(Stopwatch())
    admitted = [limit.admit("203.0.113.1") for _ in range(PER_ADDRESS_MAX + 2)]
    assert admitted == [0] * PER_ADDRESS_MAX + [None, None]
    assert limit.admit("203.0.113.2") == 0


def test_the_next_recorded_incident_tells_once_how_many_were_not() -> None:
    stopwatch = Stopwatch()
    limit = IncidentLimit(stopwatch)
    for _ in range(PER_ADDRESS_MAX + 3):
        limit.admit("203.0.113.1")
    stopwatch.seconds += WINDOW_SECONDS
    assert [limit.admit("203.0.113.1") for _ in range(2)] == [3, 0]


def test_the_minute_slides() -> None:
    stopwatch = Stopwatch()
    limit = IncidentLimit(stopwatch)
    limit.admit("203.0.113.1")
    stopwatch.seconds += WINDOW_SECONDS / 2
    for _ in range(PER_ADDRESS_MAX - 1):
        limit.admit("203.0.113.1")
    stopwatch.seconds += WINDOW_SECONDS / 2
    assert [limit.admit("203.0.113.1") for _ in range(2)] == [0, None]


def test_all_addresses_together_are_limited_too() -> None:
    stopwatch = Stopwatch()
    limit = IncidentLimit(stopwatch)
    admitted = [limit.admit(f"203.0.113.{number}") for number in range(IN_ALL_MAX + 1)]
    assert admitted == [0] * IN_ALL_MAX + [None]
    stopwatch.seconds += WINDOW_SECONDS
    assert limit.admit(f"203.0.113.{IN_ALL_MAX}") == 1


def test_the_address_heard_least_recently_is_forgotten() -> None:
    stopwatch = Stopwatch()
    limit = IncidentLimit(stopwatch)
    for _ in range(PER_ADDRESS_MAX + 1):
        limit.admit("kept")
        limit.admit("forgotten")
    for number in range(ADDRESSES_MAX - 1):
        limit.admit(f"2001:db8::{number:x}")
        limit.admit("kept")
    stopwatch.seconds += WINDOW_SECONDS
    assert limit.admit("forgotten") == 0
    assert limit.admit("kept") == ADDRESSES_MAX


def test_a_request_without_an_address_is_limited_like_one_with() -> None:
    limit = IncidentLimit(Stopwatch())
    assert [limit.admit(None) for _ in range(PER_ADDRESS_MAX + 1)][-1] is None
