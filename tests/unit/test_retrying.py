"""Queries are sent again while their outcome is unknown, within attempts, time and budget."""

import pytest

from application.payment_gateway import NotAttempted, Outcome, Succeeded, Unknown
from application.retrying import BUDGET_MAX, RetryBudget, Retrying


class Gateway:
    """Answers with the outcomes given, then succeeds."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.calls = 0

    def __call__(self) -> Outcome:
        self.calls += 1
        return self.outcomes.pop(0) if self.outcomes else Succeeded()


def retrying(waits: list[float], attempts_max: int = 4, deadline_ms: int = 60_000) -> Retrying:
    """Waits in no time, and always as long as it may."""
    return Retrying(
        attempts_max,
        base_delay_ms=200,
        max_delay_ms=500,
        deadline_ms=deadline_ms,
        sleep=waits.append,
        jitter=lambda _low, high: high,
    )


def test_an_unknown_outcome_is_asked_for_again() -> None:
    gateway = Gateway(Unknown("time-out"), Unknown("reset"))
    assert retrying([])(gateway) == Succeeded()
    assert gateway.calls == 3


def test_the_waits_double_up_to_the_longest() -> None:
    waits: list[float] = []
    retrying(waits, attempts_max=5)(Gateway(*[Unknown("time-out")] * 4))
    assert waits == [0.2, 0.4, 0.5, 0.5]


def test_the_wait_is_random_from_nothing_up() -> None:
    seen: list[tuple[float, float]] = []

    def note(low: float, high: float) -> float:
        seen.append((low, high))
        return 0.0

    Retrying(2, 200, 500, 60_000, sleep=lambda _s: None, jitter=note)(Gateway(Unknown("x")))
    assert seen == [(0.0, 0.2)]


def test_after_the_last_attempt_the_outcome_is_as_it_is() -> None:
    gateway = Gateway(*[Unknown("time-out")] * 9)
    assert retrying([], attempts_max=3)(gateway) == Unknown("time-out")
    assert gateway.calls == 3


def test_no_attempt_is_begun_after_the_deadline() -> None:
    gateway = Gateway(*[Unknown("time-out")] * 9)
    retrying([], attempts_max=9, deadline_ms=100)(gateway)
    assert gateway.calls == 1


def test_what_was_not_let_through_is_not_tried_again() -> None:
    def refuse() -> Outcome:
        raise NotAttempted("open", 1000)

    with pytest.raises(NotAttempted):
        retrying([])(refuse)


def test_a_sick_gateway_gets_a_fifth_more_calls_and_no_more() -> None:
    gateway = Gateway(*[Unknown("time-out")] * 10_000)
    patient = retrying([])
    for _ in range(1000):
        patient(gateway)
    assert gateway.calls <= 1000 * 1.2 + BUDGET_MAX


def test_a_budget_never_saves_up_more_than_its_limit() -> None:
    budget = RetryBudget()
    for _ in range(1000):
        budget.earn()
    assert sum(budget.spend() for _ in range(1000)) == BUDGET_MAX


def test_a_repetition_that_is_not_made_costs_nothing() -> None:
    gateway = Gateway(*[Unknown("time-out")] * 1000)
    once_more = retrying([], attempts_max=2)
    for _ in range(10):
        once_more(gateway)
    assert gateway.calls == 20


def test_the_gateway_is_not_asked_again_before_it_wants_to_be() -> None:
    waits: list[float] = []
    gateway = Gateway(Unknown("HTTP 503", retry_after_ms=3_000), Unknown("time-out"))
    assert retrying(waits)(gateway) == Succeeded()
    assert waits == [3.0, 0.4]


def test_a_gateway_that_wants_to_be_left_alone_past_the_deadline_is_not_asked_again() -> None:
    waits: list[float] = []
    outcome = Unknown("HTTP 503", retry_after_ms=60_000)
    gateway = Gateway(outcome)
    assert retrying(waits, deadline_ms=30_000)(gateway) == outcome
    assert (gateway.calls, waits) == (1, [])
