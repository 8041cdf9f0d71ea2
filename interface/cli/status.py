"""The command `paysaga status`: how the whole fleet stands, on one screen."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import click

from interface.cli.failures import EXIT_FAILED
from interface.cli.operators_database import operators_database
from interface.cli.showing import printable, show_json, show_table
from interface.json_text import write_json
from system.status import FleetStatus, fleet_status

CLOSED = "CLOSED"
ROWS_MAX = 20
"""The most rows of a table that are shown, so that all fits on one screen."""


@click.command()
@click.option("--json", "is_json", is_flag=True, help="Print the status as JSON.")
def status(is_json: bool) -> None:
    """Show processes, breakers, followers, agenda, and what was set aside.

    Exits 1 when something needs a look, and says what.
    """
    with operators_database() as (persistence, applications):
        found = fleet_status(applications, persistence)
    if is_json:
        show_json(write_json(found.as_document()))
    else:
        _show(found)
    if found.problems:
        raise SystemExit(EXIT_FAILED)


def _show(found: FleetStatus) -> None:
    _show_part("processes", ("role", "state", "version", "since", "process"), _processes(found))
    _show_part("breakers", ("service", "state", "errors %", "calls/s"), _breakers(found))
    _show_part("followers behind or not running", FOLLOWER_COLUMNS, _followers(found))
    agenda = [
        (each.kind, each.depth, each.due, each.claimed, round(each.oldest_due_seconds, 1))
        for each in found.agenda
    ]
    _show_part("agenda", ("kind", "planned", "due", "in hand", "oldest due s"), agenda)
    told = found.confirmations
    click.echo(f"parked: {found.parked_events} events, {found.parked_sagas} sagas")
    click.echo(
        f"confirmations: {told.exhausted} exhausted, {told.failing} failing, {told.pending} pending"
    )
    click.echo()
    for problem in found.problems:
        click.echo(f"problem  {printable(problem)}")
    if not found.problems:
        click.echo("ok       all is well")


FOLLOWER_COLUMNS = ("follower", "furthest behind", "state", "lag", "seconds", "parked")


def _show_part(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    if not rows:
        click.echo(f"{title}: none\n")
        return
    click.echo(f"{title}:")
    show_table(columns, rows[:ROWS_MAX])
    more = len(rows) - ROWS_MAX
    click.echo(f"and {more} more: see --json\n" if more > 0 else "")


def _processes(found: FleetStatus) -> list[tuple[Any, ...]]:
    return [
        (
            each.role,
            "running" if each.is_alive else "dead",
            each.version,
            each.started_at.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
            each.process,
        )
        for each in found.processes
    ]


def _breakers(found: FleetStatus) -> list[tuple[Any, ...]]:
    """The gateway's, and those that are not closed."""
    shown = [each for n, each in enumerate(found.breakers) if n == 0 or each.status != CLOSED]
    return [
        (
            each.service,
            each.status.value,
            each.metrics.get("errorRate"),
            round(each.metrics.get("throughput", 0.0), 2),
        )
        for each in shown
    ]


def _followers(found: FleetStatus) -> list[tuple[Any, ...]]:
    """One row each, with the log on which it is furthest behind, however many it follows."""
    by_lag = sorted(found.followers, key=lambda each: (each.lag_seconds, each.lag_events))
    worst = {each.follower: each for each in by_lag}
    parked = Counter[str]()
    for each in found.followers:
        parked[each.follower] += each.parked_events
    return [
        (
            name,
            each.leader,
            each.state,
            each.lag_events,
            round(each.lag_seconds, 1),
            parked[name],
        )
        for name, each in sorted(worst.items())
        if each.state != "running" or each.lag_events or parked[name]
    ]
