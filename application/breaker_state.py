"""The breaker's state machine, free of locks, clocks and windows so that each rule stands alone."""

from dataclasses import dataclass
from math import ceil, inf

from application.breaker_values import CircuitBreakerConfig, CircuitState, RejectionReason
from application.sliding_window import TICK_S


class Ticket:
    """Admission to a call. It belongs to one generation: one stay in one state."""

    __slots__ = ("generation", "is_trial")

    def __init__(self, generation: int, *, is_trial: bool = False) -> None:
        self.generation = generation
        self.is_trial = is_trial


@dataclass(frozen=True)
class Rejection:
    """A call that is not let through, and how long it takes until one may be."""

    reason: RejectionReason
    retry_after_ms: int


class BreakerState:
    """CLOSED, OPEN or HALF_OPEN, and who may pass (contract 8). All times are monotonic seconds.

    `generation` grows with every transition; `ticket` is what calls get in the closed state of
    this generation, while trials get their own. `free_pass` is that ticket as long as every call
    may take it without asking (closed and not paused), so that one attribute read admits a call.
    Not safe for threads, but for that one read: the breaker's lock guards it.
    """

    __slots__ = (
        "_left",
        "_open_s",
        "_opened_at",
        "_paused_until",
        "_reset_s",
        "_retry_at",
        "_successes",
        "_trial_s",
        "_trials",
        "_trials_max",
        "free_pass",
        "generation",
        "state",
        "ticket",
    )

    def __init__(self, config: CircuitBreakerConfig) -> None:
        self._reset_s = config.reset_timeout_ms / 1000
        self._trial_s = config.timeout_ms / 1000
        self._trials_max = config.max_concurrent_requests
        self._trials: dict[Ticket, float] = {}
        self._open_s = 0.0
        self._opened_at = self._retry_at = self._paused_until = -inf
        self._successes = 0
        self._left: CircuitState | None = None
        self.state = CircuitState.CLOSED
        self.generation = 0
        self.ticket = Ticket(self.generation)
        self.free_pass: Ticket | None = self.ticket

    def admit(self, now: float) -> Ticket | Rejection:
        """Decides about one call; the first one after the wait makes an open breaker half-open."""
        wait_s = self.wait_s(now)
        if wait_s > 0:
            return Rejection(RejectionReason.OPEN, _whole_ms(wait_s))
        if self.state is CircuitState.OPEN:
            self.enter(CircuitState.HALF_OPEN, now)
        if self.state is CircuitState.HALF_OPEN:
            return self._admit_trial(now)
        self.free_pass = self.ticket
        return self.ticket

    def is_current(self, ticket: Ticket) -> bool:
        """Whether the ticket was given in the state that the breaker is in now."""
        return ticket.generation == self.generation

    def give_back(self, ticket: Ticket) -> None:
        """Frees the place of a trial. Harmless for any other ticket, and when repeated."""
        self._trials.pop(ticket, None)

    def succeed(self, now: float) -> None:
        """One success that was not slow, of a call admitted in this state."""
        if self.state is CircuitState.HALF_OPEN:
            self._successes += 1
            if self._successes >= self._trials_max:
                self.enter(CircuitState.CLOSED, now)

    def disappoint(self, now: float, *, threshold_reached: bool) -> None:
        """One failure or slow call admitted in this state: enough to end a trial, and to end
        the closed state when the window has reached a threshold."""
        if self.state is CircuitState.HALF_OPEN or threshold_reached:
            self.enter(CircuitState.OPEN, now)

    def pause(self, now: float, pause_s: float) -> None:
        """Lets no call through for so long. A shorter pause never cuts a longer one."""
        self._paused_until = max(self._paused_until, now + pause_s)
        self.free_pass = None

    def enter(self, state: CircuitState, now: float) -> None:
        """Begins a new stay in a state, at whose wish ever; a pause goes on."""
        if self.state is CircuitState.OPEN:
            self._open_s += now - self._opened_at
        self._left = self._left or self.state
        self.state = state
        self.generation += 1
        self.ticket = Ticket(self.generation)
        self._trials.clear()
        self._successes = 0
        self._opened_at = now
        self._retry_at = now + self._reset_s
        passing = state is CircuitState.CLOSED and not self.pause_s(now)
        self.free_pass = self.ticket if passing else None

    def take_news(self) -> CircuitState | None:
        """The state that was left since this was asked last; None when none was."""
        left, self._left = self._left, None
        return left

    def end_pause(self) -> None:
        """Ends a pause at once."""
        self._paused_until = -inf
        self.free_pass = self.ticket if self.state is CircuitState.CLOSED else None

    def wait_for(self, now: float, wait_s: float) -> None:
        """Sets how long an open breaker still waits; 0 or less: no longer."""
        self._retry_at = now + wait_s

    def wait_s(self, now: float) -> float:
        """Seconds until a call may be let through; 0 when one may be."""
        retry_at = self._retry_at if self.state is CircuitState.OPEN else -inf
        return _remaining_s(max(retry_at, self._paused_until), now)

    def pause_s(self, now: float) -> float:
        """Seconds that a pause still lasts; 0 when there is none."""
        return _remaining_s(self._paused_until, now)

    def open_s(self, now: float) -> float:
        """Seconds spent open so far."""
        return self._open_s + (now - self._opened_at if self.state is CircuitState.OPEN else 0.0)

    def _admit_trial(self, now: float) -> Ticket | Rejection:
        self._reclaim(now)
        if len(self._trials) >= self._trials_max:
            oldest = next(iter(self._trials.values()))
            wait_s = _remaining_s(oldest + self._trial_s, now)
            return Rejection(RejectionReason.HALF_OPEN_LIMIT, _whole_ms(wait_s))
        ticket = Ticket(self.generation, is_trial=True)
        self._trials[ticket] = now
        return ticket

    def _reclaim(self, now: float) -> None:
        """Takes back the places of trials that never settled; they are kept oldest first."""
        while self._trials:
            ticket, admitted_at = next(iter(self._trials.items()))
            if _remaining_s(admitted_at + self._trial_s, now):
                return
            del self._trials[ticket]


def _remaining_s(until: float, now: float) -> float:
    remaining = until - now
    return remaining if remaining > TICK_S else 0.0


def _whole_ms(seconds: float) -> int:
    return ceil(round(seconds * 1000, 3))
