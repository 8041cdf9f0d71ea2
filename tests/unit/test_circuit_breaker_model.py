"""The breaker against a plain model of contract 8 that keeps every outcome it ever saw."""

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from application.circuit_breaker import CircuitOpenError
from tests.unit.circuit_breaker_kit import Declined, OurMistake, Trial, bench

MINIMUM, VOLUME, PLACES = 3, 5, 2
RESET_MS, TIMEOUT_MS, SLOW_MS, WINDOW_S = 5_000, 7_000, 1_000, 10


@dataclass(eq=False)
class Call:
    """A call as the model knows it."""

    stay: int
    began_ms: int


@dataclass
class Model:
    """The machine, as plainly as it can be said."""

    now_ms: int
    state: str = "CLOSED"
    stay: int = 0
    retry_ms: int = 0
    pause_ms: int = 0
    good_trials: int = 0
    places: list[Call] = field(default_factory=list)
    outcomes: list[tuple[int, bool, bool]] = field(default_factory=list)
    succeeded: int = 0
    failed: int = 0
    slow: int = 0
    rejected: int = 0
    story: list[str] = field(default_factory=list)

    def go(self, state: str) -> None:
        self.state, self.stay, self.good_trials, self.places = state, self.stay + 1, 0, []
        self.retry_ms = self.now_ms + RESET_MS
        self.story.append(state)
        if state == "CLOSED":
            self.outcomes = []

    def admit(self) -> Call | str:
        if self.now_ms < self.pause_ms or (self.state == "OPEN" and self.now_ms < self.retry_ms):
            self.rejected += 1
            return "open"
        if self.state == "OPEN":
            self.go("HALF_OPEN")
        call = Call(self.stay, self.now_ms)
        if self.state == "HALF_OPEN":
            self.places = [p for p in self.places if self.now_ms - p.began_ms < TIMEOUT_MS]
            if len(self.places) == PLACES:
                self.rejected += 1
                return "half_open_limit"
            self.places.append(call)
        return call

    def settle(self, call: Call, failed: bool) -> None:
        slow = self.now_ms - call.began_ms > SLOW_MS
        self.failed += failed
        self.succeeded += not failed
        self.slow += slow
        if call.stay != self.stay:
            return
        self.let_go(call)
        self.outcomes.append((self.now_ms // 1000, failed, slow))
        if self.state == "CLOSED":
            if (failed or slow) and self.too_bad():
                self.go("OPEN")
        elif failed or slow:
            self.go("OPEN")
        else:
            self.good_trials += 1
            if self.good_trials == PLACES:
                self.go("CLOSED")

    def let_go(self, call: Call) -> None:
        self.places = [place for place in self.places if place is not call]

    def pause(self, call: Call, for_ms: int) -> None:
        self.let_go(call)
        if call.stay == self.stay:
            self.pause_ms = max(self.pause_ms, self.now_ms + for_ms)

    def window(self) -> list[tuple[int, bool, bool]]:
        return [o for o in self.outcomes if o[0] > self.now_ms // 1000 - WINDOW_S]

    def too_bad(self) -> bool:
        window = self.window()
        if len(window) < max(MINIMUM, VOLUME):
            return False
        failures = sum(failed for _, failed, _ in window)
        slow = sum(slow for _, _, slow in window)
        return failures / len(window) >= 0.5 or slow / len(window) >= 0.5


class BreakerAgainstModel(RuleBasedStateMachine):
    """Does the same to both and compares all that can be seen."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = bench(
            minimum_requests=MINIMUM,
            volume_threshold=VOLUME,
            max_concurrent_requests=PLACES,
            reset_timeout_ms=RESET_MS,
            timeout_ms=TIMEOUT_MS,
            slow_call_threshold_ms=SLOW_MS,
            window_ms=WINDOW_S * 1000,
        )
        self.model = Model(self.bench.time.ms)
        self.under_way: list[tuple[Trial, Call]] = []

    def admit(self) -> None:
        verdict = self.model.admit()
        if isinstance(verdict, Call):
            self.under_way.append((self.bench.trial(), verdict))
        else:
            with pytest.raises(CircuitOpenError) as refusal:
                self.bench.trial()
            assert refusal.value.reason == verdict
            assert refusal.value.retry_after_ms > 0

    @rule(times=st.integers(1, 4))
    def calls_begin(self, times: int) -> None:
        for _ in range(times):
            self.admit()

    @rule(times=st.integers(1, 6), failing=st.booleans())
    def quick_calls(self, times: int, failing: bool) -> None:
        for _ in range(times):
            before = len(self.under_way)
            self.admit()
            if len(self.under_way) > before:
                self.end(*self.under_way.pop(), failing)

    def end(self, trial: Trial, call: Call, failing: bool) -> None:
        self.model.settle(call, failing)
        if failing:
            trial.fail()
        else:
            trial.succeed()

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 9), failing=st.booleans())
    def one_ends(self, which: int, failing: bool) -> None:
        self.end(*self.taken(which), failing)

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 9))
    def one_is_declined(self, which: int) -> None:
        trial, call = self.taken(which)
        self.model.settle(call, failed=False)
        trial.end_with(Declined())

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 9), pause_ms=st.sampled_from([0, 700, 7_000]))
    def one_is_neutral(self, which: int, pause_ms: int) -> None:
        trial, call = self.taken(which)
        self.model.pause(call, pause_ms)
        trial.end_with(OurMistake(retry_after_ms=pause_ms))

    def taken(self, which: int) -> tuple[Trial, Call]:
        return self.under_way.pop(which % len(self.under_way))

    @rule(ms=st.sampled_from([1, 300, 999, 1_000, 1_001, 4_000, 9_000]))
    def some_time_passes(self, ms: int) -> None:
        self.time_passes(ms)

    def time_passes(self, ms: int) -> None:
        self.bench.time.advance_ms(ms)
        self.model.now_ms += ms

    @rule(short_by_ms=st.sampled_from([0, 0, 1]))
    def the_wait_is_over(self, short_by_ms: int) -> None:
        model = self.model
        until_ms = max(model.pause_ms, model.retry_ms if model.state == "OPEN" else 0)
        self.time_passes(max(until_ms - short_by_ms - model.now_ms, 0))

    @rule()
    def an_operator_opens_it(self) -> None:
        model = self.model
        if model.state == "OPEN":
            model.retry_ms = model.now_ms + RESET_MS
        else:
            model.go("OPEN")
        self.bench.breaker.force_open()

    @rule()
    def an_operator_resets_it(self) -> None:
        self.model.pause_ms = 0
        self.model.outcomes = []
        if self.model.state != "CLOSED":
            self.model.go("CLOSED")
        self.bench.breaker.reset()

    @invariant()
    def both_show_the_same(self) -> None:
        model, breaker = self.model, self.bench.breaker
        window, metrics = model.window(), breaker.metrics()
        failures = sum(failed for _, failed, _ in window)
        rate = failures * 100 / len(window) if len(window) >= MINIMUM else None
        assert breaker.state == model.state
        assert metrics.error_rate == rate
        assert breaker.failure_count == failures
        assert metrics.successful_requests == model.succeeded
        assert metrics.failed_requests == model.failed
        assert metrics.slow_calls == model.slow
        assert metrics.rejected_requests == model.rejected
        assert [change.new_state for change in self.bench.changes] == model.story
        held_back = model.now_ms < model.pause_ms or model.state == "OPEN"
        assert (breaker.next_retry_time is not None) == held_back


BreakerAgainstModel.TestCase.settings = settings(
    max_examples=200, stateful_step_count=50, deadline=None
)
TestBreakerAgainstModel = BreakerAgainstModel.TestCase
