"""The commands `paysaga projections`: how far followers have come; read models made anew."""

import gc
import time
from collections.abc import Iterable
from typing import Any

import click

from application.envelope import public_record
from interface.cli.failures import CommandFailed
from interface.cli.operators_database import operators_database
from interface.cli.progress import progress_bar
from interface.cli.showing import printable, show_json, show_table
from interface.json_text import write_json
from system.applications import Applications
from system.persistence.postgres import PostgresPersistence
from system.positions import FollowerPosition, positions
from system.rebuild import Rebuild, RebuildRefused, rebuildable, require_rebuildable

COLUMNS = (
    "follower",
    "follows",
    "position",
    "head",
    "lag",
    "seconds",
    "parked",
    "state",
    "process",
)

OBJECTS_BETWEEN_COLLECTIONS = 50_000
"""How many objects a rebuild may hold anew before Python looks for rings among them. It makes none
worth speaking of, and the usual 700 would cost it a fifth of its time."""


@click.group()
def projections() -> None:
    """Watch the followers of the event logs, and rebuild read models."""


@projections.command("list")
@click.option("--json", "is_json", is_flag=True, help="Print the positions as JSON.")
def list_projections(is_json: bool) -> None:
    """Show each follower's position, its lag in events and seconds, and whether it runs."""
    with operators_database() as (persistence, applications):
        found = positions(applications, persistence)
    if is_json:
        show_json(write_json({"data": [public_record(position) for position in found]}))
    else:
        show_table(COLUMNS, [_row(position) for position in found])


@projections.command()
@click.argument("names", metavar="NAME...", nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="Rebuild all of them, one after another.")
def rebuild(names: tuple[str, ...], is_all: bool) -> None:
    """Make read models anew from the events while the service runs.

    New tables are filled beside the live ones, catch up and take their places at once. Interrupt
    it whenever you like: the same command goes on where it stopped.
    """
    if bool(names) == is_all:
        raise click.UsageError("name what to rebuild, or give --all")
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    with operators_database() as (persistence, applications):
        _require_rebuildable(applications, names)
        for name in names or rebuildable(applications):
            _rebuild(persistence, applications, name)


def _require_rebuildable(applications: Applications, names: Iterable[str]) -> None:
    """A name that is none is refused before the first rebuild, which may take long."""
    try:
        require_rebuildable(applications, names)
    except RebuildRefused as refusal:
        raise CommandFailed(printable(refusal)) from None


def _rebuild(persistence: PostgresPersistence, applications: Applications, name: str) -> None:
    began = time.monotonic()
    try:
        with progress_bar(name) as tell:
            rebuilt = Rebuild(persistence, applications, name).run(tell)
    except RebuildRefused as refusal:
        raise CommandFailed(printable(refusal)) from None
    except KeyboardInterrupt:
        raise CommandFailed("interrupted: the same command goes on where it stopped") from None
    seconds = time.monotonic() - began
    how = "rebuilt, going on with an interrupted rebuild" if rebuilt.is_resumed else "rebuilt"
    click.echo(f"{name}: {how}, from {rebuilt.events} positions of its logs in {seconds:.1f} s")


def _row(position: FollowerPosition) -> tuple[Any, ...]:
    return (
        position.follower,
        position.leader,
        position.position,
        position.head,
        position.lag_events,
        round(position.lag_seconds, 1),
        position.parked_events,
        position.state,
        position.process,
    )
