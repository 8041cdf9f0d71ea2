"""The commands `paysaga parked`: events that a follower could not take in."""

from typing import Any
from uuid import UUID

import click

from application.envelope import public_record
from interface.cli.failures import CommandFailed
from interface.cli.operators_database import operators_database
from interface.cli.showing import show_json, show_table
from interface.json_text import write_json
from system.parking import ParkedEvent, SkipRefused, list_parked, retry_parked, skip_parked

COLUMNS = ("id", "follower", "follows", "position", "payment", "event", "attempts", "error")


@click.group()
def parked() -> None:
    """List, retry and skip events that were set aside."""


@parked.command("list")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000))
@click.option("--json", "is_json", is_flag=True, help="Print the events as JSON.")
def list_events(limit: int, is_json: bool) -> None:
    """Show parked events, oldest first.

    Those with 0 attempts only wait behind an earlier event of the same payment.
    """
    with operators_database() as (persistence, _):
        found = list_parked(persistence, limit)
    if is_json:
        show_json(write_json({"data": [public_record(event) for event in found]}))
    else:
        show_table(COLUMNS, [_row(event) for event in found])


@parked.command()
@click.argument("parked_id", type=click.UUID)
def retry(parked_id: UUID) -> None:
    """Take a parked event in again, then those of the same payment that wait behind it."""
    with operators_database() as (persistence, _):
        is_found = retry_parked(persistence, parked_id)
    _require(is_found, parked_id)
    click.echo("released: the follower takes it in; `paysaga parked list` shows if it fails again")


@parked.command()
@click.argument("parked_id", type=click.UUID)
@click.confirmation_option(
    prompt="The follower will never take this event in. Skip it?", help="Do not ask."
)
def skip(parked_id: UUID) -> None:
    """Pass a parked event over for good, and release those that wait behind it.

    The Journal passes nothing over: mend what is wrong and retry.
    """
    with operators_database() as (persistence, _):
        try:
            is_found = skip_parked(persistence, parked_id)
        except SkipRefused as refusal:
            raise CommandFailed(str(refusal)) from None
    _require(is_found, parked_id)
    click.echo("skipped")


def _require(is_found: bool, parked_id: UUID) -> None:
    if not is_found:
        raise CommandFailed(f"no parked event has the id {parked_id}: see `paysaga parked list`")


def _row(event: ParkedEvent) -> tuple[Any, ...]:
    return (
        event.parked_id,
        event.follower,
        event.leader,
        event.position,
        event.payment_id,
        event.topic.rpartition(":")[2],
        event.attempts,
        event.error,
    )
