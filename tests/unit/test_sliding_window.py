"""The window over the outcomes of the last while."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.sliding_window import SAMPLE_MAX, SlidingWindow, nearest_rank


def test_outcomes_are_counted_by_kind() -> None:
    window = SlidingWindow(10_000, 0.0)
    window.record(0.0, 5.0, failed=True, slow=False)
    window.record(0.5, 7.0, failed=False, slow=True)
    window.record(1.0, 9.0, failed=True, slow=True)
    assert (window.requests, window.failures, window.slow) == (3, 2, 2)
    figures = window.figures(2.0)
    assert figures.total_ms == 21
    assert sorted(figures.latencies_ms) == [5, 7, 9]
    assert figures.seconds == 2


def test_an_outcome_leaves_when_its_second_leaves() -> None:
    window = SlidingWindow(3_000, 0.0)
    window.record(0.9, 1.0, failed=True, slow=False)
    window.record(1.0, 1.0, failed=True, slow=False)
    window.advance(2.999)
    assert window.failures == 2
    window.advance(3.0)
    assert window.failures == 1
    window.advance(1_000_000.0)
    assert window.requests == 0


def test_a_sum_of_floats_just_short_of_a_second_is_that_second() -> None:
    window = SlidingWindow(1_000, 0.0)
    window.record(0.0, 1.0, failed=True, slow=False)
    window.advance(sum([0.1] * 10))
    assert window.failures == 0


def test_an_outcome_that_comes_late_goes_into_the_newest_second() -> None:
    window = SlidingWindow(3_000, 0.0)
    window.advance(50.0)
    window.record(49.9, 1.0, failed=True, slow=False)
    window.advance(52.9)
    assert window.failures == 1


def test_successes_come_in_batches_and_only_those_that_bear_the_mark() -> None:
    window, mark = SlidingWindow(10_000, 0.0), object()
    window.record_successes([(0.0, 1.0, mark), (0.1, 2.0, object()), (5.0, 3.0, mark)], mark)
    assert window.requests == 2
    assert window.figures(5.0).total_ms == 4


def test_cleared_it_is_empty_and_begins_anew() -> None:
    window = SlidingWindow(10_000, 0.0)
    window.record(5.0, 1.0, failed=True, slow=True)
    window.clear(7.0)
    figures = window.figures(9.0)
    assert (figures.requests, figures.failures, figures.slow) == (0, 0, 0)
    assert (figures.total_ms, figures.latencies_ms, figures.seconds) == (0, [], 2)


@pytest.mark.parametrize("length_ms", [1_000, 60_000, 3_600_000])
def test_the_sample_of_latencies_is_bounded_and_keeps_the_latest(length_ms: int) -> None:
    window = SlidingWindow(length_ms, 0.0)
    for number in range(SAMPLE_MAX + 10):
        window.record(0.0, number, failed=False, slow=False)
    figures = window.figures(0.0)
    assert figures.requests == SAMPLE_MAX + 10
    assert 2 <= len(figures.latencies_ms) <= SAMPLE_MAX
    assert max(figures.latencies_ms) == SAMPLE_MAX + 9


def test_without_latencies_it_counts_all_the_same() -> None:
    window = SlidingWindow(60_000, 0.0, keep_latencies=False)
    window.record(0.0, 5.0, failed=True, slow=False)
    assert window.figures(0.0).latencies_ms == []
    assert window.failures == 1


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.integers(0, 3_000), st.booleans(), st.booleans()), max_size=40),
)
def test_it_agrees_with_a_list_of_all_outcomes(
    length_s: int, steps: list[tuple[int, bool, bool]]
) -> None:
    window, now_ms = SlidingWindow(length_s * 1000, 0.0), 0
    seen: list[tuple[int, bool, bool]] = []
    for wait_ms, failed, slow in steps:
        now_ms += wait_ms
        seen.append((now_ms // 1000, failed, slow))
        window.record(now_ms / 1000, 1.0, failed=failed, slow=slow)
        kept = [outcome for outcome in seen if outcome[0] > now_ms // 1000 - length_s]
        assert window.requests == len(kept)
        assert window.failures == sum(failed for _, failed, _ in kept)
        assert window.slow == sum(slow for _, _, slow in kept)
        assert window.figures(now_ms / 1000).total_ms == len(kept)


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([], 95, 0),
        ([7.0], 99, 7),
        ([float(n) for n in range(1, 101)], 95, 95),
        ([15.0, 20.0, 35.0, 40.0, 50.0], 40, 20),
        ([15.0, 20.0, 35.0, 40.0, 50.0], 100, 50),
    ],
)
def test_percentiles_are_nearest_rank(values: list[float], percent: int, expected: float) -> None:
    assert nearest_rank(values, percent) == expected


def test_the_sample_keeps_its_bound_over_the_longest_window() -> None:
    window = SlidingWindow(3_600_000, 0.0)
    for second in range(3600):
        for _ in range(5):
            window.record(float(second), 1.0, failed=False, slow=False)
    assert 3600 <= len(window.figures(3599.0).latencies_ms) <= SAMPLE_MAX
