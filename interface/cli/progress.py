"""How far a long command has come: a bar on a terminal, with its rate and the time left."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

Tell = Callable[[int, int], None]
"""Told how much is done, and how much there is to do."""


class RateColumn(ProgressColumn):
    """How many are done in a second."""

    def render(self, task: Task) -> Text:
        """See `rich.progress.ProgressColumn`."""
        return Text(f"{task.finished_speed or task.speed or 0:,.0f}/s")


@contextmanager
def progress_bar(what: str) -> Iterator[Tell]:
    """Shows a bar on stderr for the length of the block; on anything but a terminal nothing."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
