"""Sends again what is safe to repeat, after growing random waits, within a budget (contract 8)."""

import random
import threading
import time
from collections.abc import Callable

import tenacity

from application.payment_gateway import Outcome, Unknown

BUDGET_SHARE = 0.2
"""The most extra calls, as a share of the calls made: a sick gateway is not flooded."""
BUDGET_MAX = 10.0
"""How many repetitions may be saved up in quiet times."""


class RetryBudget:
    """Every call earns a part of a repetition; a repetition costs a whole one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._saved = BUDGET_MAX

    def earn(self) -> None:
        """A call is made."""
        with self._lock:
            self._saved = min(self._saved + BUDGET_SHARE, BUDGET_MAX)

    def spend(self) -> bool:
        """True when one more repetition is in the budget."""
        with self._lock:
            if self._saved < 1:
                return False
            self._saved -= 1
            return True


class _BudgetSpent(tenacity.stop.stop_base):
    """Stops when the budget has no repetition left. Asked last, so that only one that is made is
    paid for."""

    def __init__(self, budget: RetryBudget) -> None:
        self._budget = budget

    def __call__(self, _state: tenacity.RetryCallState) -> bool:
        return not self._budget.spend()


class Retrying:
    """Repeats calls that change nothing while their outcome is unknown.

    Args:
        attempts_max: how often a call is made at the most, the first time included.
        base_delay_ms: the first wait is random between 0 and this, the next ones up to the double
            of the one before (full jitter).
        max_delay_ms: no wait is longer, unless the gateway asks for more (`Retry-After`).
        deadline_ms: after so long in all no further attempt is begun.
    """

    def __init__(
        self,
        attempts_max: int,
        base_delay_ms: int,
        max_delay_ms: int,
        deadline_ms: int,
        *,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._budget = RetryBudget()
        self._base_s = base_delay_ms / 1000
        self._max_s = max_delay_ms / 1000
        self._jitter = jitter
        self._retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(attempts_max)
            | tenacity.stop_before_delay(deadline_ms / 1000)
            | _BudgetSpent(self._budget),
            wait=self._wait,
            retry=tenacity.retry_if_result(lambda outcome: isinstance(outcome, Unknown)),
            retry_error_callback=lambda state: state.outcome and state.outcome.result(),
            sleep=sleep,
        )

    def __call__(self, ask: Callable[[], Outcome]) -> Outcome:
        """The first outcome that is not unknown, or the last one."""
        self._budget.earn()
        return self._retrying.copy()(ask)

    def _wait(self, state: tenacity.RetryCallState) -> float:
        highest = min(self._base_s * 2.0 ** (state.attempt_number - 1), self._max_s)
        outcome = state.outcome.result() if state.outcome else None
        asked_ms = outcome.retry_after_ms if isinstance(outcome, Unknown) else None
        return max(self._jitter(0.0, highest), (asked_ms or 0) / 1000)
