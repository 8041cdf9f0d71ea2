"""What an exception says about the service behind a breaker: failure, success or nothing at all."""

import logging
from asyncio import CancelledError as TaskCancelledError
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError as FutureCancelledError
from enum import Enum, auto

from circuitbreaker import CircuitBreakerError

Predicate = Callable[[type[BaseException], BaseException], bool]
Matcher = Predicate | type[BaseException] | Iterable[type[BaseException]]

ALWAYS_NEUTRAL = (TaskCancelledError, FutureCancelledError, GeneratorExit, CircuitBreakerError)
"""The caller's own doing, or a call that another breaker held back: the service had no say."""

logger = logging.getLogger(__name__)

PAUSE_MS_MAX = 3_600_000
"""No service keeps us away for longer than an hour at a time."""


class Outcome(Enum):
    """The three outcomes of contract 8."""

    SUCCESS = auto()
    FAILURE = auto()
    NEUTRAL = auto()


def predicate_of(matcher: Matcher, field: str) -> Predicate:
    """A predicate out of an exception class, several of them, or a predicate.

    Raises `ValueError` naming the field for anything else.
    """
    if isinstance(matcher, type):
        return _any_of((matcher,), field)
    if callable(matcher):
        return matcher
    if not isinstance(matcher, Iterable):
        raise ValueError(f"{field} must be a predicate or exception classes, not {matcher!r}")
    return _any_of(tuple(matcher), field)


def classify(error: BaseException, is_failure: Predicate, is_neutral: Predicate) -> Outcome:
    """What came of a call that raised.

    Neutral is asked first. An `Exception` that is neither neutral nor a failure is a success (a
    declined card: the service works); any other `BaseException` that is no failure is neutral.
    When a predicate itself fails the call counts as a failure: the error that it raised is logged.
    """
    try:
        return _classify(error, is_failure, is_neutral)
    except Exception:
        logger.exception("A predicate failed on %r, which counts as a failure", error)
        return Outcome.FAILURE


def holds(predicate: Predicate, error: BaseException) -> bool:
    """What a predicate says; False when it fails itself, which is logged."""
    try:
        return predicate(type(error), error)
    except Exception:
        logger.exception("A predicate failed on %r", error)
        return False


def _classify(error: BaseException, is_failure: Predicate, is_neutral: Predicate) -> Outcome:
    kind = type(error)
    if issubclass(kind, ALWAYS_NEUTRAL) or is_neutral(kind, error):
        return Outcome.NEUTRAL
    if is_failure(kind, error):
        return Outcome.FAILURE
    return Outcome.SUCCESS if issubclass(kind, Exception) else Outcome.NEUTRAL


def pause_ms_of(error: BaseException) -> float:
    """How long a neutral exception asks to be left alone: its `retry_after_ms`, an hour at most.

    0 when it does not ask, and for a rejection by another breaker, whose wait is not ours.
    """
    asked = getattr(error, "retry_after_ms", None)
    if isinstance(error, CircuitBreakerError) or not isinstance(asked, int | float):
        return 0.0
    return min(float(asked), PAUSE_MS_MAX) if asked > 0 else 0.0


def _any_of(classes: tuple[object, ...], field: str) -> Predicate:
    kinds = tuple(c for c in classes if isinstance(c, type) and issubclass(c, BaseException))
    if len(kinds) != len(classes):
        raise ValueError(f"{field} must name exception classes, not {classes!r}")
    return lambda kind, _error: issubclass(kind, kinds)
