"""One log line for each transition of a saga, written when it is recorded."""

import logging
from collections.abc import Sequence
from typing import Any

import structlog

from application.payment_sagas import PaymentSagas
from domain.payment_saga import PaymentSaga

log = structlog.get_logger(__name__)
loggers = logging.getLogger(__name__)

LEVELS: tuple[tuple[type[Any], int], ...] = (
    (PaymentSaga.StepStarted, logging.DEBUG),
    (PaymentSaga.Started, logging.INFO),
    (PaymentSaga.StepSucceeded, logging.INFO),
    (PaymentSaga.StepFailed, logging.WARNING),
    (PaymentSaga.CompensationStarted, logging.WARNING),
    (PaymentSaga.StepCompensated, logging.WARNING),
    (PaymentSaga.Completed, logging.INFO),
    (PaymentSaga.Compensated, logging.WARNING),
    (PaymentSaga.Parked, logging.ERROR),
    (PaymentSaga.Resumed, logging.WARNING),
)
"""The events that are transitions: a step has ended, or the saga goes another way. What goes well
is info, what is undone a warning, and what a person has to look at an error."""


def log_sagas(sagas: PaymentSagas) -> None:
    """From now on the transitions that this process records are logged."""
    sagas.events.heard = _tell


def _tell(events: Sequence[Any]) -> None:
    for event in events:
        level = next((level for kind, level in LEVELS if isinstance(event, kind)), None)
        if level is not None and loggers.isEnabledFor(level):
            _log(event, level)


def _log(event: PaymentSaga.Event, level: int) -> None:
    log.log(
        level,
        "saga_transition",
        transition=event.event_type.value.removeprefix("saga."),
        step=getattr(event, "step", None),
        reason=getattr(event, "detail", None) or getattr(event, "reason", None),
        payment_id=str(event.payment_id),
        saga_version=event.originator_version,
        correlation_id=event.metadata.correlation_id,
        trace_id=event.metadata.trace_id,
    )
