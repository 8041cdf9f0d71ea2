"""The commands `paysaga projections`: how far the followers have come."""

from typing import Any

import click

from application.envelope import public_record
from interface.cli.operators_database import operators_database
from interface.cli.showing import show_json, show_table
from interface.json_text import write_json
from system.positions import FollowerPosition, positions

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


@click.group()
def projections() -> None:
    """Watch the followers of the event logs."""


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
