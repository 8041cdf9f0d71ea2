"""Records how this process fares, minute by minute (contract 6, `performance.metric`)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import islice

from application.operations import Operations
from domain.event import EventContext, Metadata, acting
from domain.performance_metric import Figure

FIGURES_MAX = 100
"""The most figures that a process records at once."""

DECIMALS = 6

Source = Callable[[timedelta], Iterable[Figure]]
"""Gives figures about the window of time that has just ended."""


class PerformanceLog:
    """Writes a process's figures into the Operations log, each `interval` once.

    Events are for ever, so little is written: of the figures that are 0 none, unless they are
    `always_told`.
    """

    def __init__(
        self,
        operations: Operations,
        sources: Sequence[Source],
        *,
        process: str,
        role: str,
        interval: timedelta,
    ) -> None:
        self._operations = operations
        self._sources = sources
        self._labels = {"process": process, "role": role}
        self._interval = interval
        self._since = operations.clock.now()

    def report_if_due(self) -> int:
        """Records what there is when the interval has passed; returns how many figures. Without
        an interval nothing is ever recorded.

        Raises:
            PersistenceError: the database is away; the next report is about a longer window.
        """
        now = self._operations.clock.now()
        window = now - self._since
        if window < timedelta(0):
            self._since = now
        if not self._interval or window < self._interval:
            return 0
        metadata = Metadata(str(self._operations.ids.uuid()), source="performance")
        told = list(islice(self._figures(window), FIGURES_MAX))
        with acting(EventContext(metadata, now)):
            self._operations.record_figures(told, window // timedelta(milliseconds=1))
        self._since = now
        return len(told)

    def _figures(self, window: timedelta) -> Iterable[Figure]:
        for source in self._sources:
            for figure in source(window):
                if figure.value or figure.always_told:
                    labels = {**self._labels, **figure.labels}
                    yield replace(figure, value=round(figure.value, DECIMALS), labels=labels)
